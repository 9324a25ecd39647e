//! A relay between real connections carries every byte, both ways, through the kernel and through buffers alike.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use squall_net::tcp::Tcp;
use squall_net::{Carried, Conn, Host, Io, RelayEnd, RelayLimits, RelayOutcome, relay};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// The same connection, which the kernel cannot move bytes of by itself.
struct Veiled(Conn);

impl AsyncRead for Veiled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Veiled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Io for Veiled {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn abort(&mut self) {
        self.0.abort();
    }

    fn peer(&self) -> SocketAddr {
        self.0.peer()
    }

    fn local(&self) -> SocketAddr {
        self.0.local()
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    squall_net::process::run(work).expect("a runtime")
}

/// Two ends of one connection.
async fn pair(host: &Host) -> (Conn, Conn) {
    let mut listener = host.net().listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let (near, far) = tokio::join!(host.net().connect(listener.local()), listener.accept());
    (near.expect("it listens"), far.expect("somebody connects").conn)
}

/// A caller and an endpoint with a relay between them, in the background.
async fn relayed(
    host: &Host,
    spliced: bool,
    already: &[u8],
    limits: RelayLimits,
) -> (Conn, Conn, tokio::sync::oneshot::Receiver<(RelayOutcome, Arc<Carried>)>) {
    let ((caller, near), (far, endpoint)) = (pair(host).await, pair(host).await);
    assert!(near.kernel().is_some() && far.kernel().is_some(), "real connections are the kernel's");
    let (near, far): (Conn, Conn) = if spliced { (near, far) } else { (Box::new(Veiled(near)), Box::new(Veiled(far))) };
    let (tell, told) = tokio::sync::oneshot::channel();
    let (clock, already) = (Arc::clone(host.clock()), Bytes::copy_from_slice(already));
    host.spawn("relay", async move {
        let carried = Arc::<Carried>::default();
        let outcome = relay(&clock, near, already, far, limits, &carried).await;
        let _ = tell.send((outcome, carried));
    });
    (caller, endpoint, told)
}

/// Says `parts`, ends, and hears all.
async fn talk(conn: Conn, parts: &[Vec<u8>]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(conn);
    let mut heard = Vec::new();
    let (said, read) = tokio::join!(
        async {
            for part in parts {
                writer.write_all(part).await?;
            }
            writer.shutdown().await
        },
        reader.read_to_end(&mut heard)
    );
    said.expect("the relay reads");
    read.expect("the relay answers");
    heard
}

/// Parts of pseudo-random bytes: sizes around those of buffers, pipes and segments.
fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![Just(0), 1..100_usize, 1000..3000_usize, 30_000..70_000_usize, 100_000..700_000_usize];
    let part = (size, any::<u64>()).prop_map(|(size, seed)| {
        let mut state = seed | 1;
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..size).map(byte).collect()
    });
    prop::collection::vec(part, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_byte_arrives_both_ways(
        up in parts(), down in parts(), already in prop::collection::vec(any::<u8>(), 0..3000), spliced in any::<bool>(),
    ) {
        run(async {
            let host = Tcp::host();
            let (caller, endpoint, told) = relayed(&host, spliced, &already, RelayLimits::default()).await;
            let (heard_below, heard_above) = tokio::join!(talk(caller, &up), talk(endpoint, &down));
            let (outcome, carried) = told.await.expect("the relay tells");
            prop_assert!(matches!(outcome, RelayOutcome::Complete), "{:?}", outcome);
            let sent = [already, up.concat()].concat();
            let so_far = carried.so_far();
            prop_assert_eq!((so_far.sent_bytes, so_far.received_bytes), (sent.len() as u64, down.concat().len() as u64));
            prop_assert!(heard_above == sent, "the endpoint heard something else");
            prop_assert!(heard_below == down.concat(), "the caller heard something else");
            Ok(())
        })?;
    }
}

#[test]
fn a_half_close_is_passed_on_and_the_other_way_stays_open() {
    for spliced in [true, false] {
        run(async {
            let (mut caller, mut endpoint, told) = relayed(&Tcp::host(), spliced, b"", RelayLimits::default()).await;
            caller.write_all(b"question").await.expect("open");
            caller.shutdown().await.expect("open");
            let mut heard = Vec::new();
            endpoint.read_to_end(&mut heard).await.expect("ended, not broken");
            assert_eq!(heard, b"question");
            endpoint.write_all(b"answer").await.expect("still open");
            drop(endpoint);
            heard.clear();
            caller.read_to_end(&mut heard).await.expect("ended, not broken");
            assert_eq!(heard, b"answer");
            assert!(matches!(told.await.expect("told").0, RelayOutcome::Complete));
        });
    }
}

#[test]
fn who_breaks_off_breaks_the_other_side_off() {
    for spliced in [true, false] {
        run(async {
            let (mut caller, mut endpoint, told) = relayed(&Tcp::host(), spliced, b"", RelayLimits::default()).await;
            endpoint.write_all(b"part").await.expect("open");
            let mut part = [0; 4];
            caller.read_exact(&mut part).await.expect("open");
            endpoint.abort();
            let broken = caller.read(&mut part).await.expect_err("a part must not look like the whole");
            assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
            assert!(matches!(told.await.expect("told").0, RelayOutcome::Broken(RelayEnd::Endpoint, _)));
        });
    }
}

#[test]
fn silence_and_length_are_cut_off() {
    let span = Duration::from_millis(30);
    for spliced in [true, false] {
        for long in [true, false] {
            run(async {
                let host = Tcp::host();
                let until = Some(host.now() + span);
                let limits = if long {
                    RelayLimits { idle: None, until }
                } else {
                    RelayLimits { idle: Some(span), until: None }
                };
                let (mut caller, _endpoint, told) = relayed(&host, spliced, b"x", limits).await;
                let outcome = told.await.expect("told").0;
                assert_eq!(matches!(outcome, RelayOutcome::TooLong), long, "{outcome:?}");
                assert_eq!(matches!(outcome, RelayOutcome::Idle), !long, "{outcome:?}");
                let broken = caller.read(&mut [0]).await.expect_err("reset");
                assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
            });
        }
    }
}
