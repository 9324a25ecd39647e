//! What goes on in production under load, on real sockets, and no caller notices: sidecars that end while others take their
//! place, and certificates that are renewed.

#[path = "deploy/load.rs"]
mod load;
#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;
#[path = "deploy/town.rs"]
#[expect(dead_code, reason = "shared with the soak, which uses the rest")]
mod town;

use town::Town;

#[test]
fn a_rolling_restart_loses_no_request() {
    let mut town = Town::start("rolling", "24h");
    let (mut servers, mut pods): (Vec<_>, Vec<_>) = (0..3).map(|number| town.server(&format!("pod-{number}"))).unzip();
    town.publish(&pods);
    let load = town.load(2000, usize::MAX);
    for number in 0..3 {
        // The new one is there first, as a Deployment's `maxUnavailable: 0` has it. The old one is asked to end before anybody
        // hears of it.
        let (server, pod) = town.server(&format!("pod-{}", number + 3));
        let mut old = std::mem::replace(&mut servers[number], server);
        pods[number] = pod;
        old.terminate();
        town.publish(&pods);
        assert_eq!(old.ends(), Some(0));
    }
    load.end_with_none_lost();
}

#[test]
fn certificates_that_change_lose_no_request() {
    let mut town = Town::start("renewal", "2s");
    let (mut server, pod) = town.server("pod-0");
    town.publish(&[pod]);
    let load = town.load(2000, usize::MAX);
    for _ in 0..3 {
        server.line("a certificate was issued");
        town.front.line("a certificate was issued");
    }
    load.end_with_none_lost();
}
