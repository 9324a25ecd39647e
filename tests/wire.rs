//! What the RFCs demand of an HTTP intermediary, row by row: raw bytes go in at a client, and what an upstream sees and the
//! client gets is compared. Every row runs in the simulator and on real sockets.

#[path = "wire/client.rs"]
mod client;
#[path = "wire/frames.rs"]
mod frames;
#[path = "wire/h1.rs"]
mod h1;
#[path = "wire/hpack.rs"]
mod hpack;
#[path = "wire/row.rs"]
mod row;
#[path = "wire/upstream.rs"]
mod upstream;
#[path = "wire/world.rs"]
mod world;

#[path = "wire/cases/answers.rs"]
mod answers;
#[path = "wire/cases/framing.rs"]
mod framing;
#[path = "wire/cases/h2_frames.rs"]
mod h2_frames;
#[path = "wire/cases/h2_heads.rs"]
mod h2_heads;
#[path = "wire/cases/h2_upstream.rs"]
mod h2_upstream;
#[path = "wire/cases/heads.rs"]
mod heads;
#[path = "wire/cases/hops.rs"]
mod hops;
#[path = "wire/cases/upgrades.rs"]
mod upgrades;

use row::Row;

/// All rows.
fn rows() -> Vec<Row> {
    [
        framing::rows(),
        heads::rows(),
        hops::rows(),
        upgrades::rows(),
        answers::rows(),
        h2_heads::rows(),
        h2_frames::rows(),
        h2_upstream::rows(),
    ]
    .concat()
}

/// Fails with every row that does not hold.
#[track_caller]
fn hold(run: impl Fn(&Row) -> Result<(), String>) {
    let only = std::env::var("WIRE_ROW").unwrap_or_default();
    let rows = rows().into_iter().filter(|row| format!("{} {}", row.section, row.claim).contains(&only));
    let wrong: Vec<String> = rows.filter_map(|row| run(&row).err()).collect();
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_holds_in_the_simulator() {
    hold(|row| {
        let (verdict, history) = world::event(row);
        let (_, again) = world::event(row);
        assert_eq!(history, again, "{} happens the same way twice", row.claim);
        verdict
    });
}

#[test]
fn every_row_holds_on_real_sockets() {
    hold(world::real);
}

/// The table of `reports/wire.md`.
fn report() -> String {
    let rows = rows();
    let exceptions = rows.iter().filter(|row| row.exception.is_some()).count();
    let mut text = format!("{REPORT}{} rows, of which {exceptions} are exceptions.\n\n", rows.len());
    text.push_str("| RFC | client | upstream | claim |\n|---|---|---|---|\n");
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.sort();
    text.push_str(&lines.concat());
    text
}

fn line(row: &Row) -> String {
    let Row { section, claim, client, upstream, exception, .. } = row;
    let exception = exception.map(|why| format!(" **Exception:** {why}.")).unwrap_or_default();
    let version = |is_h1: bool| if is_h1 { "h1" } else { "h2" };
    let client = version(*client == squall_net::http::Version::Http1);
    let upstream = version(*upstream == squall_policy::Protocol::Http1);
    format!("| {section} | {client} | {upstream} | {claim}.{exception} |\n").replace("|  |", "| |")
}

const REPORT: &str = "\
# Correct on the wire

What the RFCs demand of an HTTP intermediary (9110 semantics, 9112 HTTP/1.1, 9113 HTTP/2), as rows of `tests/wire`: raw bytes in at
a client, what the upstream sees, what the client gets. `cargo test --test wire` runs each in the simulator (twice, with the
same history) and on real sockets. An exception is a row that shows what happens instead, and why. This file is written by that
test.

";

#[test]
fn the_report_tells_every_row() {
    assert!(rows().len() >= 150);
    let want = report();
    let there = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/reports/wire.md")).unwrap_or_default();
    let made = concat!(env!("CARGO_TARGET_TMPDIR"), "/wire.md");
    std::fs::write(made, &want).expect("the build directory can be written");
    assert!(there == want, "reports/wire.md is not what the rows say; cp {made} reports/wire.md");
}
