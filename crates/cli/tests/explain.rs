//! `squall explain`, as people see it, and the guide's reference, which is made by it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use squall_control::reference::{
    AUTHORIZATION_POLICY, FAULT_INJECTION, GATEWAY, GRPC_ROUTE, HTTP_ROUTE, PEER_AUTHENTICATION, Reference, SERVICE,
    TRAFFIC_POLICY,
};
use squall_sim::reference::{DISTRIBUTION, SCENARIO, TUNING};

/// What is explained, with its chapter of the guide.
const CHAPTERS: [(&str, &str); 12] = [
    ("Scenario", "scenario.md"),
    ("Distribution", "distribution.md"),
    ("measures", "measures.md"),
    ("Tuning", "tuning.md"),
    ("TrafficPolicy", "traffic-policy.md"),
    ("HTTPRoute", "http-route.md"),
    ("GRPCRoute", "grpc-route.md"),
    ("AuthorizationPolicy", "authorization-policy.md"),
    ("PeerAuthentication", "peer-authentication.md"),
    ("FaultInjection", "fault-injection.md"),
    ("Gateway", "gateway.md"),
    ("Service", "service.md"),
];

const ALL: [&Reference; 11] = [
    &SCENARIO,
    &TUNING,
    &SERVICE,
    &HTTP_ROUTE,
    &GRPC_ROUTE,
    &TRAFFIC_POLICY,
    &AUTHORIZATION_POLICY,
    &PEER_AUTHENTICATION,
    &FAULT_INJECTION,
    &GATEWAY,
    &DISTRIBUTION,
];

fn explain(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let Output { status, stdout, stderr } =
        command.arg("explain").args(args).env("CI", "true").output().expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[track_caller]
fn says(args: &[&str], words: &[&str]) {
    let (code, out, err) = explain(args);
    assert_eq!(code, Some(0), "{err}");
    for word in words {
        assert!(out.contains(word), "no `{word}` in:\n{out}");
    }
}

#[test]
fn a_field_is_explained_with_its_range_its_default_and_the_peers() {
    says(
        &["retries.budget.percent"],
        &[
            "Retries per hundred requests.",
            "a whole number, 0 to 1000",
            "default       20",
            "Linkerd       20",
            "attempts: 2\n      budget:\n",
        ],
    );
    says(&["circuitBreaker"], &["consecutiveFailures", "slowCalls", "Its fields:"]);
    says(&["faults.slow"], &["target\n      Whose (required)", "by\n"]);
    says(&["serviceCircuitBreaker.open.min"], &["serviceCircuitBreaker.open.min  (TrafficPolicy)", "default       1s"]);
    says(&["faults[0].slow.by"], &["faults.slow.by  (Scenario)"]);
    says(&["TrafficPolicy.timeouts.request"], &["Istio         none"]);
    says(&["consecutive5xx"], &["2 fields end with `consecutive5xx`"]);
    says(&["amplification"], &["amplification(\"a\", \"b\")"]);
    says(&[], &["Scenario", "TrafficPolicy", "measures"]);
}

#[test]
fn what_is_not_a_field_is_refused_with_what_was_meant() {
    for (asked, meant) in
        [("retries.atempts", "retries.attempts"), ("scenrio", "Scenario"), ("ampliffication", "amplification")]
    {
        let (code, out, err) = explain(&[asked]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{asked}");
        assert!(err.contains(&format!("did you mean `{meant}`?")), "{err}");
    }
    let (code, _, err) = explain(&["quantum"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("`squall explain` shows what there is"), "{err}");
}

#[test]
fn everything_fits_a_terminal_of_80_columns() {
    // Examples of a scenario's fields may be wider: they are YAML to copy.
    let is_part = |kind: &Reference, path: &str| kind.kind != "Scenario" || !path.contains('.');
    let fields = ALL.into_iter().flat_map(|kind| kind.fields().map(move |field| (kind, field.path)));
    let parts = fields.filter(|(kind, path)| is_part(kind, path)).map(|(kind, path)| format!("{}.{path}", kind.kind));
    let whole = CHAPTERS.iter().map(|(kind, _)| (*kind).to_owned());
    for asked in parts.chain(whole).chain(["services.routes.match".to_owned()]) {
        let (code, out, err) = explain(&[&asked]);
        assert_eq!(code, Some(0), "{asked}: {err}");
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{asked}: {line}");
        }
    }
}

#[test]
fn the_reference_in_the_guide_is_what_explain_prints() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference");
    for (kind, file) in CHAPTERS {
        let (code, now, err) = explain(&[kind, "--markdown"]);
        assert_eq!(code, Some(0), "{err}");
        let path: PathBuf = guide.join(file);
        if env::var_os("SQUALL_REWRITE").is_some() {
            rewrite(&path, &now);
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == now,
            "{} is not what `squall explain {kind} --markdown` prints: run this test with SQUALL_REWRITE=1",
            path.display()
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a file of the repository, not a result")]
fn rewrite(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in the guide")).expect("the guide can be written");
    fs::write(path, text).expect("the guide can be written");
}

#[test]
fn a_result_that_cannot_be_written_to_stdout_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let output = command.args(["explain", "TrafficPolicy"]).stdout(full).output().expect("squall can be started");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("error: cannot write the result to stdout: "), "{err}");
}
