//! What every world's connections do, as TCP does it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use squall_net::{BoxFuture, Conn, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Case, Party};

/// Long enough for anything under way to arrive, in every world.
const SETTLED: Duration = Duration::from_millis(100);

/// All of them; the names are what worlds refer to.
pub const CASES: &[Case] = &[
    Case::new("connects_and_echoes", &[echoes, sends_and_reads_back]),
    Case::new("refuses_where_nothing_listens", &[meets_refusal]),
    Case::new("connects_into_silence_until_the_callers_timeout", &[gives_up_on_silence]),
    Case::new("a_reset_is_a_connection_reset", &[aborts, meets_a_reset]),
    Case::new("a_half_closed_connection_still_answers", &[answers_after_eof, half_closes]),
    Case::new("data_before_eof_is_read_first", &[writes_and_goes, reads_late]),
    Case::new("a_drop_with_unread_data_resets", &[goes_without_reading, meets_a_reset_after_writing]),
    Case::new("a_writer_waits_for_its_reader", &[reads_when_stalled, writes_until_stalled]),
    Case::new("many_pending_connects_all_succeed", &[accepts_many, connects_many]),
    Case::new("a_connect_into_silence_can_be_cancelled", &[echoes, cancels_a_silent_connect]),
    Case::new("a_connect_can_be_cancelled", &[echoes_each, cancels_a_connect]),
    Case::new("a_cancelled_read_loses_nothing", &[writes_on_cue, cancels_a_read]),
    Case::new("a_writer_hears_that_its_reader_is_gone", &[writes_until_it_fails, reads_a_little_and_goes]),
    Case::new("readable_means_data_or_eof", &[writes_then_closes, waits_until_readable]),
    Case::new("readable_means_a_reset_too", &[aborts, waits_until_reset]),
    Case::new("a_port_is_free_again_after_its_drop", &[listens_twice, connects_twice]),
    Case::new("a_dropped_listener_resets_what_waits", &[goes_without_accepting, waits_to_be_accepted]),
    Case::new("an_accept_can_be_cancelled", &[cancels_an_accept, sends_and_reads_back]),
    Case::new("each_host_has_a_loopback_of_its_own", &[greets_itself, greets_itself]),
    Case::new("sleeps_end_and_not_early", &[sleeps]),
    Case::new("an_aborted_task_is_dropped", &[aborts_a_task]),
];

async fn listen(party: &Party) -> Box<dyn Listener> {
    let listener = party.host.net().listen(SocketAddr::new(party.me, 0)).await.expect("a free port");
    party.board.pin("server", listener.local());
    listener
}

async fn accept(party: &Party) -> Conn {
    listen(party).await.accept().await.expect("a connection").conn
}

async fn connect(party: &Party) -> Conn {
    let server = party.board.pinned("server").await;
    party.host.net().connect(server).await.expect("it listens")
}

async fn readable(conn: &mut Conn) {
    std::future::poll_fn(|cx| conn.poll_readable(cx)).await.expect("readable tells errors to the reader");
}

async fn is_readable_now(conn: &mut Conn) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(conn.poll_readable(cx).is_ready())).await
}

/// A pattern in which a lost, doubled or swapped part shows.
fn pattern(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at % 251) as u8).collect()
}

async fn echo(conn: Conn) {
    let (mut reader, mut writer) = tokio::io::split(conn);
    tokio::io::copy(&mut reader, &mut writer).await.expect("both ways are open");
    writer.shutdown().await.expect("the peer still reads");
}

fn echoes(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut listener = listen(&party).await;
        let accepted = listener.accept().await.expect("a connection");
        assert_eq!(accepted.dialed, listener.local());
        assert_eq!(accepted.conn.local(), listener.local());
        assert_eq!(accepted.conn.peer(), accepted.peer);
        party.board.pin("client", accepted.peer);
        echo(accepted.conn).await;
    })
}

fn sends_and_reads_back(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let conn = connect(&party).await;
        assert_eq!(conn.peer(), party.board.pinned("server").await);
        assert_eq!(conn.local(), party.board.pinned("client").await);
        send_and_read_back(conn).await;
    })
}

async fn send_and_read_back(conn: Conn) {
    let sent = pattern(0, 300_000);
    let (mut reader, mut writer) = tokio::io::split(conn);
    let mut back = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut back)
    );
    written.expect("the peer reads");
    read.expect("the peer answers");
    assert!(back == sent, "{} of {} bytes came back, or others", back.len(), sent.len());
}

fn meets_refusal(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let port = listen(&party).await.local();
        let refused = party.host.net().connect(port).await.err().expect("nothing listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    })
}

fn gives_up_on_silence(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let patience = Duration::from_millis(300);
        let begun = party.host.now();
        let connected = party.within(patience, party.host.net().connect(party.silent)).await;
        assert!(connected.is_none(), "silence answered: {:?}", connected.map(|result| result.err()));
        assert!(party.host.now().since(begun) >= patience);
    })
}

fn aborts(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        conn.write_all(b"hi").await.expect("the peer reads");
        conn.read_exact(&mut [0; 2]).await.expect("the peer writes");
        conn.abort();
        assert!(conn.read(&mut [0; 1]).await.is_err(), "read after its own reset");
        assert!(conn.write(&[0; 1]).await.is_err(), "wrote after its own reset");
    })
}

fn meets_a_reset(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        conn.read_exact(&mut [0; 2]).await.expect("the peer writes");
        conn.write_all(b"ho").await.expect("the peer reads");
        let error = conn.read(&mut [0; 1]).await.expect_err("the peer resets");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = conn.write_all(b"anyone?").await.expect_err("it is gone");
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
    })
}

fn answers_after_eof(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        let mut asked = Vec::new();
        conn.read_to_end(&mut asked).await.expect("EOF");
        assert_eq!(asked, b"question");
        party.pause(SETTLED).await;
        conn.write_all(b"answer").await.expect("the peer still reads");
    })
}

fn half_closes(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        conn.write_all(b"question").await.expect("the peer reads");
        conn.shutdown().await.expect("closed one way");
        let error = conn.write_all(b"more").await.expect_err("this way is closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await.expect("EOF");
        assert_eq!(answer, b"answer");
    })
}

fn writes_and_goes(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        conn.write_all(&pattern(0, 10_000)).await.expect("there is room");
        drop(conn);
        party.pause(SETTLED).await;
        party.board.raise("gone");
    })
}

fn reads_late(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        party.board.raised("gone").await;
        let mut read = Vec::new();
        conn.read_to_end(&mut read).await.expect("EOF");
        assert_eq!(read, pattern(0, 10_000));
        assert_eq!(conn.read(&mut [0; 1]).await.expect("EOF stays"), 0);
    })
}

fn goes_without_reading(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        readable(&mut conn).await;
    })
}

fn meets_a_reset_after_writing(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        conn.write_all(b"for nobody").await.expect("there is room");
        let error = conn.read(&mut [0; 1]).await.expect_err("the peer went without reading");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    })
}

/// More than any world keeps under way between a writer and a reader.
const FLOOD: usize = 64 << 20;

fn writes_until_stalled(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        // 251 × 256 bytes, so that every chunk begins the pattern anew.
        let chunk = pattern(0, 64_256);
        let (mut written, mut stalled) = (0, false);
        while written < FLOOD {
            let rest = &chunk[written % chunk.len()..];
            let write = conn.write(rest);
            let mut write = std::pin::pin!(write);
            let count = match party.within(SETTLED, write.as_mut()).await {
                Some(count) => count,
                None => {
                    stalled = true;
                    party.board.raise("stalled");
                    write.await
                }
            };
            written += count.expect("the peer is there");
        }
        assert!(stalled, "{FLOOD} bytes were taken with nobody reading");
        conn.shutdown().await.expect("the peer reads");
        party.board.pin("written", SocketAddr::from((Ipv4Addr::from(u32::try_from(written).expect("< 4 GiB")), 0)));
        assert_eq!(conn.read(&mut [0; 1]).await.expect("EOF"), 0);
    })
}

fn reads_when_stalled(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        party.board.raised("stalled").await;
        let mut buf = vec![0; 251 * 1024];
        let mut count = 0;
        loop {
            let read = conn.read(&mut buf).await.expect("the peer writes");
            if read == 0 {
                break;
            }
            assert!(buf[..read] == pattern(count, read), "bytes after {count} are wrong");
            count += read;
        }
        let written = party.board.pinned("written").await;
        assert_eq!(written.ip(), Ipv4Addr::from(u32::try_from(count).expect("< 4 GiB")));
    })
}

const MANY: usize = 200;

fn accepts_many(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut listener = listen(&party).await;
        party.board.raised("all begun").await;
        party.pause(SETTLED).await;
        let mut seen = Vec::new();
        for _ in 0..MANY {
            let mut conn = listener.accept().await.expect("a connection").conn;
            let number = conn.read_u32().await.expect("the peer writes");
            conn.write_u32(number + 1).await.expect("the peer reads");
            seen.push(number as usize);
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..MANY), "{seen:?}");
    })
}

fn connects_many(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let server = party.board.pinned("server").await;
        let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..MANY as u32 {
            let (net, done) = (Arc::clone(party.host.net()), done.clone());
            party.host.spawn("one of many", async move {
                let mut conn = net.connect(server).await.expect("it listens");
                conn.write_u32(number).await.expect("the peer reads");
                let answer = conn.read_u32().await.expect("the peer answers");
                done.send((number, answer)).expect("somebody counts");
            });
        }
        party.board.raise("all begun");
        for _ in 0..MANY {
            let (number, answer) = all_done.recv().await.expect("one sender is here");
            assert_eq!(answer, number + 1);
        }
    })
}

fn cancels_a_silent_connect(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        for _ in 0..3 {
            let connected = party.within(Duration::from_millis(20), party.host.net().connect(party.silent)).await;
            assert!(connected.is_none());
        }
        send_and_read_back(connect(&party).await).await;
    })
}

fn echoes_each(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut listener = listen(&party).await;
        loop {
            // Connections that were given up at once may or may not arrive; the one that matters ends with EOF.
            let mut conn = listener.accept().await.expect("a connection").conn;
            let mut read = Vec::new();
            if conn.read_to_end(&mut read).await.is_ok() && read == b"kept" {
                return conn.write_all(b"seen").await.expect("the peer reads");
            }
        }
    })
}

fn cancels_a_connect(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let server = party.board.pinned("server").await;
        for _ in 0..3 {
            let mut connect = party.host.net().connect(server);
            let _ = std::future::poll_fn(|cx| Poll::Ready(connect.as_mut().poll(cx).is_ready())).await;
        }
        let mut conn = connect(&party).await;
        conn.write_all(b"kept").await.expect("the peer reads");
        conn.shutdown().await.expect("closed one way");
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await.expect("EOF");
        assert_eq!(answer, b"seen");
    })
}

fn writes_on_cue(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        party.board.raised("cancelled").await;
        conn.write_all(&pattern(0, 1000)).await.expect("the peer reads");
        assert_eq!(conn.read(&mut [0; 1]).await.expect("EOF"), 0);
    })
}

fn cancels_a_read(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        let mut buf = [0; 1000];
        assert!(party.within(Duration::from_millis(20), conn.read(&mut buf)).await.is_none());
        party.board.raise("cancelled");
        conn.read_exact(&mut buf).await.expect("the peer writes");
        assert_eq!(buf[..], pattern(0, 1000));
    })
}

fn writes_until_it_fails(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        let chunk = pattern(0, 10_000);
        let mut written = 0;
        let error = loop {
            match conn.write(&chunk).await {
                Ok(count) => written += count,
                Err(error) => break error,
            }
            assert!(written < FLOOD, "wrote {written} bytes to nobody");
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
    })
}

fn reads_a_little_and_goes(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        conn.read_exact(&mut [0; 100]).await.expect("the peer writes");
    })
}

fn writes_then_closes(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = accept(&party).await;
        party.board.raised("was idle").await;
        conn.write_all(b"xyz").await.expect("the peer reads");
        party.board.raised("has read").await;
        drop(conn);
    })
}

fn waits_until_readable(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        party.pause(SETTLED).await;
        assert!(!is_readable_now(&mut conn).await, "idle, yet readable");
        party.board.raise("was idle");
        readable(&mut conn).await;
        readable(&mut conn).await;
        let mut buf = [0; 3];
        conn.read_exact(&mut buf).await.expect("readable");
        assert_eq!(&buf, b"xyz");
        assert!(!is_readable_now(&mut conn).await, "all was read, yet readable");
        party.board.raise("has read");
        readable(&mut conn).await;
        assert_eq!(conn.read(&mut [0; 8]).await.expect("EOF"), 0);
    })
}

fn waits_until_reset(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        conn.read_exact(&mut [0; 2]).await.expect("the peer writes");
        conn.write_all(b"ho").await.expect("the peer reads");
        readable(&mut conn).await;
        let error = conn.read(&mut [0; 1]).await.expect_err("the peer resets");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    })
}

fn listens_twice(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut listener = listen(&party).await;
        let at = listener.local();
        let taken = party.host.net().listen(at).await.err().expect("taken");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let mut first = listener.accept().await.expect("a connection").conn;
        drop(listener);
        // A connection that was accepted outlives its listener, and does not keep the port.
        let mut listener = party.host.net().listen(at).await.expect("free again");
        party.board.raise("again");
        first.write_all(b"1").await.expect("the peer reads");
        drop(first);
        let mut second = listener.accept().await.expect("a connection").conn;
        second.write_all(b"2").await.expect("the peer reads");
    })
}

fn connects_twice(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut first = connect(&party).await;
        party.board.raised("again").await;
        assert_eq!(first.read_u8().await.expect("the peer writes"), b'1');
        drop(first);
        assert_eq!(connect(&party).await.read_u8().await.expect("the peer writes"), b'2');
    })
}

fn goes_without_accepting(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let listener = listen(&party).await;
        party.board.raised("connected").await;
        party.pause(SETTLED).await;
        drop(listener);
        party.pause(SETTLED).await;
        party.board.raise("gone");
    })
}

fn waits_to_be_accepted(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = connect(&party).await;
        party.board.raise("connected");
        let error = conn.read(&mut [0; 1]).await.expect_err("nobody accepts");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        party.board.raised("gone").await;
        let server = party.board.pinned("server").await;
        let refused = party.host.net().connect(server).await.err().expect("nothing listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    })
}

fn cancels_an_accept(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let at = SocketAddr::new(party.me, 0);
        let mut listener = party.host.net().listen(at).await.expect("a free port");
        assert!(party.within(Duration::from_millis(20), listener.accept()).await.is_none());
        party.board.pin("server", listener.local());
        let accepted = listener.accept().await.expect("a connection");
        party.board.pin("client", accepted.peer);
        echo(accepted.conn).await;
    })
}

fn greets_itself(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let at = SocketAddr::from(([127, 0, 0, 1], 18_080));
        let mut listener = party.host.net().listen(at).await.expect("every host has its own");
        assert_eq!(listener.local(), at);
        let net = party.host.net();
        let (accepted, conn) = tokio::join!(listener.accept(), net.connect(at));
        let (mut accepted, mut conn) = (accepted.expect("a connection"), conn.expect("it listens"));
        assert_eq!(conn.peer(), at);
        assert_eq!(accepted.dialed, at);
        assert!(accepted.peer.ip().is_loopback() && conn.local().ip().is_loopback());
        conn.write_all(&party.me.to_string().into_bytes()).await.expect("the peer reads");
        conn.shutdown().await.expect("closed one way");
        let mut read = String::new();
        accepted.conn.read_to_string(&mut read).await.expect("EOF");
        assert_eq!(read, party.me.to_string());
        // The other host greets itself at the same time and port.
        party.pause(SETTLED).await;
    })
}

fn sleeps(party: Party) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let begun = party.host.now();
        let sleep = async |ms: u64| {
            let until = begun + Duration::from_millis(ms);
            party.host.clock().sleep_until(until).await;
            assert!(party.host.now() >= until, "woke early from a sleep of {ms} ms");
        };
        let given_up = party.within(Duration::from_millis(10), sleep(3_600_000)).await;
        assert!(given_up.is_none(), "an hour is longer than 10 ms");
        tokio::join!(sleep(60), sleep(20), sleep(0), sleep(40));
    })
}

fn aborts_a_task(party: Party) -> BoxFuture<'static, ()> {
    struct Dropped {
        dropped: Arc<AtomicBool>,
        _held: tokio::sync::mpsc::UnboundedSender<()>,
    }
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.dropped.store(true, Ordering::SeqCst);
        }
    }
    Box::pin(async move {
        let dropped = Arc::new(AtomicBool::new(false));
        let (_held, mut all_gone) = tokio::sync::mpsc::unbounded_channel();
        let guard = Dropped { dropped: Arc::clone(&dropped), _held };
        let task = party.host.spawn("for ever", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        party.pause(Duration::from_millis(5)).await;
        assert!(!dropped.load(Ordering::SeqCst), "dropped too early");
        task.abort();
        assert_eq!(all_gone.recv().await, None);
        assert!(dropped.load(Ordering::SeqCst));
        task.abort();
    })
}
