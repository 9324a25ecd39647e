//! A mesh of processes under steady load in which everything changes all the time: no request is lost, and nothing grows.
//!
//! By itself a few rounds. By hand for as long as is said, at a rate that is said, in a release build:
//!
//! ```text
//! SQUALL_SOAK=30m SQUALL_SOAK_RATE=4000 cargo test --release -p squall-cli --test soak
//! ```
//!
//! What was seen is in `soak.csv` under `CARGO_TARGET_TMPDIR/soak`: a line per round.

#[path = "deploy/load.rs"]
mod load;
#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;
#[path = "deploy/town.rs"]
mod town;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use squall_control::units;
use squall_net::tcp::Tcp;
use squall_net::{Host, after, process};
use stage::{post, write};
use tokio::io::AsyncWriteExt as _;
use town::{Pod, Town};

/// Rounds, if no time is said.
const ROUNDS: u32 = 4;
/// From so many rounds on, it is looked at whether memory grows.
const ENOUGH: usize = 60;
/// Each client takes a new connection after so many requests.
const REQUESTS_PER_CONNECTION: usize = 200;

/// What was taken from a process at the end of a round.
#[derive(Clone, Copy)]
struct Taken {
    resident_kib: u64,
    descriptors: usize,
}

impl Taken {
    fn from(process: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        let resident_kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
        Self { resident_kib, descriptors }
    }
}

/// Callers who do not behave: at the side for applications, and at that for the mesh.
async fn rude(host: &Host, outbound: SocketAddr, inbound: [u16; 2]) {
    let words: [&[u8]; 6] = [
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: stock\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: cart\r\ncontent-length: 100000\r\n\r\nnot all",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a ClientHello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04",
        b"\x00\xff\r\n\r\n\x00",
    ];
    let [stock, cart] = inbound.map(|port| SocketAddr::new(outbound.ip(), port));
    for words in words {
        for to in [outbound, stock, cart] {
            let mut conn = host.net().connect(to).await.expect("it listens");
            // Some are gone before anything is read, some after.
            let _ = conn.write_all(words).await;
            if words.len() % 2 == 0 {
                after(host.clock().as_ref(), Duration::from_millis(5)).await;
            }
        }
    }
}

fn said<T>(name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let said = std::env::var(name).ok()?;
    Some(read(&said).unwrap_or_else(|| panic!("{name}: `{said}` says nothing")))
}

#[test]
fn whatever_changes_no_request_is_lost_and_nothing_grows() {
    let until = said("SQUALL_SOAK", |text| units::duration(text).ok()).map(|time| Instant::now() + time);
    let rate = said("SQUALL_SOAK_RATE", |text| text.parse().ok()).unwrap_or(1_000);
    let mut town = Town::start("soak", "10s");
    let (mut servers, mut pods): (Vec<_>, Vec<Pod>) =
        (0..3).map(|number| town.server(&format!("pod-{number}"))).unzip();
    town.publish(&pods);
    let outbound: SocketAddr = town.outbound.parse().expect("an address");
    let load = town.load(rate, REQUESTS_PER_CONNECTION);
    let mut seen: Vec<[Taken; 2]> = Vec::new();
    let mut table = "round,front_rss_kib,front_fds,control_rss_kib,control_fds\n".to_owned();
    let is_over = |round: u32| until.map_or(round > ROUNDS, |until| Instant::now() >= until);
    for round in 1.. {
        if is_over(round) {
            break;
        }
        let place = round as usize % servers.len();
        let (server, pod) = town.server(&format!("pod-{}", round + 2));
        let mut old = std::mem::replace(&mut servers[place], server);
        pods[place] = pod;
        old.terminate();
        town.publish(&pods);
        assert_eq!(old.ends(), Some(0), "round {round}");
        town.repeat(2 + round % 2);
        process::run(rude(&Tcp::host(), outbound, [pods[place].stock, pods[place].cart])).expect("a runtime");
        if round % 20 == 3 {
            // 409: the last change is not over.
            let status = post(&town.pages, "/change-root").status;
            assert!(matches!(status, 200 | 409), "round {round}: {status}");
        }
        let taken = [Taken::from(town.front.id()), Taken::from(town.plane.id())];
        let [front, control] = taken;
        let _ = writeln!(
            table,
            "{round},{},{},{},{}",
            front.resident_kib, front.descriptors, control.resident_kib, control.descriptors
        );
        write(&town.dir.join("soak.csv"), &table);
        seen.push(taken);
    }
    let sent = load.end_with_none_lost();
    write(&town.dir.join("soak.csv"), &format!("{table}# {sent} requests, all answered by an application\n"));
    for process in [&mut town.front, &mut town.plane] {
        process.terminate();
        assert_eq!(process.ends(), Some(0));
    }
    if seen.len() < ENOUGH {
        return;
    }
    // The first third is for pools and tables to find their size.
    let thirds: Vec<&[[Taken; 2]]> = seen.chunks(seen.len().div_ceil(3)).collect();
    for (number, name) in ["front", "control"].into_iter().enumerate() {
        let middle = |of: fn(&Taken) -> u64, third: &[[Taken; 2]]| {
            let mut all: Vec<u64> = third.iter().map(|taken| of(&taken[number])).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let kib = |third| middle(|taken| taken.resident_kib, third);
        let fds = |third| middle(|taken| taken.descriptors as u64, third);
        let (second, last) = (thirds[1], thirds[2]);
        assert!(kib(last) <= kib(second) * 21 / 20 + 512, "{name}: {} KiB, then {}", kib(second), kib(last));
        assert!(fds(last) <= fds(second) + 16, "{name}: {} descriptors, then {}", fds(second), fds(last));
    }
}
