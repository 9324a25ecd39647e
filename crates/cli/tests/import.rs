//! `squall import`, by sample files and by a round trip: what a known scenario leaves behind (spans, an access log) becomes a scenario
//! again, which must be the one it came from.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runner::{directory, squall, write};
use serde_json::Value;
use squall_net::Wall;
use squall_policy::Instant;
use squall_proxy::{AccessLog, AccessLogFormat, HowEnded, Record, Recorder, RequestNumber, Side};
use squall_sim::Scenario;
use squall_sim::scenario::{Arrivals, Disk, Distribution, IsotopeLoad, Step, load_file};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import");

fn scenario(path: &Path) -> Scenario {
    load_file(path, &Disk, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Imports into a directory of the test's, checks and runs what was written; what was said and the scenario.
#[track_caller]
fn imported(test: &str, args: &[&str]) -> (String, Scenario) {
    let dir = directory(test);
    let made = dir.join("made");
    let mut all = vec!["import"];
    all.extend(args);
    all.extend(["--out", made.to_str().expect("UTF-8")]);
    let (code, said, err) = squall(Path::new(SAMPLES), &all);
    assert_eq!(code, Some(0), "{said}{err}");
    let (code, out, err) = squall(&dir, &["check", "made"]);
    assert_eq!(code, Some(0), "{out}{err}");
    // What needs connections runs in the full world, the rest where it is quick.
    let model = if args[0] == "k8s" { "full" } else { "fast" };
    let (code, out, err) = squall(&dir, &["test", "made", "--model", model]);
    assert_eq!(code, Some(0), "{out}{err}");
    (said, scenario(&made.join("scenario.yaml")))
}

/// Who calls whom how often: `(times, at once, millionths)`.
fn calls(of: &Scenario, service: &str) -> Vec<(String, u32, u32)> {
    fn all(steps: &[Step], found: &mut Vec<(String, u32, u32)>) {
        for step in steps {
            match step {
                Step::Call(call) => {
                    found.push((call.host.value.clone(), call.repeat * call.fan_out, call.probability_ppm))
                }
                Step::Parallel(branches) => branches.iter().for_each(|branch| all(branch, found)),
                Step::Sleep(_) => {}
            }
        }
    }
    let spec = of.service(service).unwrap_or_else(|| panic!("there is no {service}"));
    let mut found = Vec::new();
    all(&spec.versions[0].routes[0].steps, &mut found);
    found
}

fn rate(of: &Scenario, load: usize) -> f64 {
    let Arrivals::Open { phases, .. } = &of.load[load].arrivals else { panic!("it is an open loop") };
    phases[0].first.per_second()
}

#[test]
fn manifests_become_services_and_calls_are_guessed_from_the_environment() {
    let (said, found) = imported("import-k8s", &["k8s", "shop.yaml"]);
    for words in ["read 3 workloads and 4 Services", "elsewhere selects no pods", "go in a circle", "1 ConfigMap"] {
        assert!(said.contains(words), "{said}");
    }
    let pods: Vec<(&str, u32)> =
        found.services.iter().map(|service| (service.name.value.as_str(), service.versions[0].replicas)).collect();
    assert_eq!(pods, [("frontend", 3), ("catalog-v1", 2), ("cart", 1), ("redis-cart", 2)]);
    let to = |service| calls(&found, service).into_iter().map(|(to, _, _)| to).collect::<Vec<_>>();
    assert_eq!(to("frontend"), ["catalog:3550", "cart"]);
    assert_eq!(to("cart"), ["redis-cart:6379"]);
    assert_eq!(found.load.len(), 1);
    let frontend = found.service("frontend").expect("a workload");
    assert_eq!(
        (frontend.port, frontend.port_name.as_deref()),
        (8080, Some("web")),
        "a named port is that of the container"
    );
    assert!(found.mesh[0].text.contains("targetPort: web"), "the manifest stays as it is");
    assert!(found.mesh[0].text.contains("timeouts: {request: 1s}"), "routes are part of the mesh");
}

#[test]
fn an_isotope_graph_is_written_out_as_it_runs() {
    let graph = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/isotope/tree-13.yaml");
    let (_, found) = imported("import-isotope", &["isotope", graph, "--rate", "50/s"]);
    let direct = scenario(Path::new(graph));
    assert_eq!(found.services.len(), direct.services.len());
    for (one, other) in found.services.iter().zip(&direct.services) {
        assert_eq!(one.name.value, other.name.value);
        assert_eq!(calls(&found, &one.name.value), calls(&direct, &other.name.value));
        let work = |spec: &squall_sim::scenario::ServiceSpec| {
            let version = &spec.versions[0];
            (
                version.replicas,
                version.routes[0].work.response_bytes,
                version.routes[0].work.error_ppm,
                spec.entry,
                spec.port,
            )
        };
        assert_eq!(work(one), work(other), "{}", one.name.value);
    }
    assert!((rate(&found, 0) - 50.0).abs() < 1e-9);
}

#[test]
fn an_access_log_of_envoy_gives_arrivals_errors_and_times_by_path() {
    let (said, found) = imported("import-envoy", &["access-log", "envoy.log"]);
    assert!(said.contains("read 4 requests of Envoy's default format"), "{said}");
    assert!(said.contains("1 line could not be read") && said.contains("envoy.log:3"), "{said}");
    let cart = found.service("cart").expect("the log has it");
    let route = &cart.versions[0].routes[0];
    assert_eq!(route.matches.path.as_deref(), Some("/cart/id"));
    assert_eq!((route.weight, route.work.error_ppm, route.work.error_status), (3, 333_300, 503));
    assert!((rate(&found, 0) - 1.5).abs() < 1e-9, "three in two seconds");
}

#[test]
fn a_combined_log_says_no_times_and_so_does_the_scenario() {
    let (said, found) = imported("import-combined", &["access-log", "combined.log"]);
    assert!(said.contains("read 3 requests of the common or combined log format"), "{said}");
    let routes = &found.services[0].versions[0].routes;
    assert_eq!(routes.iter().map(|route| route.weight).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((routes[0].work.error_ppm, routes[1].work.error_ppm), (500_000, 0), "404 is the caller's doing");
    assert_eq!(routes[0].work.time, Distribution::Constant(Duration::ZERO));
}

#[test]
fn a_trace_of_jaeger_gives_the_graph_and_own_times() {
    let (said, found) = imported("import-jaeger", &["traces", "jaeger.json"]);
    assert!(said.contains("read 6 spans of 1 trace") && said.contains("1 span could not be read"), "{said}");
    let names: Vec<&str> = found.services.iter().map(|service| service.name.value.as_str()).collect();
    assert_eq!(names, ["front-end", "ads", "catalog", "postgresql"]);
    let front = &found.services[0].versions[0].routes[0];
    assert!(
        matches!(front.steps.as_slice(), [Step::Parallel(branches)] if branches.len() == 2),
        "they overlap: {:?}",
        front.steps
    );
    // 50 ms, of which the calls cover 5 to 27 ms.
    let Distribution::Constant(own) = front.work.time else { panic!("{:?}", front.work.time) };
    assert!((own.as_secs_f64() / 0.028 - 1.0).abs() < 0.02, "{own:?}");
    assert_eq!(calls(&found, "catalog"), [("postgresql".to_owned(), 1, 1_000_000)]);
}

#[test]
fn what_is_no_such_file_is_refused_and_nothing_is_written() {
    let dir = directory("import-wrong");
    let file = |name: &str, text: &str| {
        write(&dir.join(name), text);
        name.to_owned()
    };
    let cases = [
        (vec!["traces".to_owned(), file("a.json", "{\"data\": [")], "a.json:1:"),
        (vec!["traces".to_owned(), file("b.json", "{\"x\": 1}")], "there are no spans in it"),
        (vec!["access-log".to_owned(), file("c.log", "hello\nworld\n")], "no access log that is known"),
        (vec!["access-log".to_owned(), file("d.log", "")], "there are no lines"),
        (
            vec!["k8s".to_owned(), file("e.yaml", "kind: Service\nmetadata: {name: x}\nspec: {}\n")],
            "no Service that selects pods",
        ),
        (vec!["k8s".to_owned(), file("f.yaml", "a: [\n")], "f.yaml:"),
        (vec!["isotope".to_owned(), file("g.yaml", "services: []\n")], "not a graph that runs"),
        (vec!["traces".to_owned(), "gone.json".to_owned()], "cannot read gone.json"),
    ];
    for (args, words) in cases {
        let mut all = vec!["import", args[0].as_str(), args[1].as_str(), "--out", "made"];
        let (code, out, err) = squall(&dir, &all);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{all:?}");
        assert!(err.contains(words), "{all:?}: {err}");
        all.clear();
    }
    assert!(!dir.join("made").exists());
}

#[test]
fn a_line_that_no_scenario_could_say_is_counted_and_spoils_nothing() {
    let dir = directory("import-odd");
    let line = |method: &str, micros: &str, status: &str| {
        format!(
            "{{\"time\":\"2026-11-06T08:49:37.250Z\",\"side\":\"inbound\",\"method\":\"{method}\",\"authority\":\"stock\",\
             \"path\":\"/items\",\"status\":{status},\"duration_us\":{micros},\"ended\":\"complete\"}}\n"
        )
    };
    let odd = [line("GE{T", "5", "200"), line("G\\\"T", "5", "200"), line("get", "5", "200"), line("", "5", "200")];
    let long = [line("GET", "18446744073709551615", "200"), line("GET", "86400000001", "200")];
    let status = [line("GET", "5", "42"), line("GET", "5", "999")];
    let good = line("GET", "4000", "200").repeat(20);
    write(&dir.join("odd.log"), [&odd[..], &long, &status, &[good]].concat().concat());
    let (said, found) = imported("import-odd-made", &["access-log", dir.join("odd.log").to_str().expect("UTF-8")]);
    assert!(said.contains("read 20 requests of Squall's JSON"), "{said}");
    assert!(said.contains("8 lines could not be read") && said.contains("odd.log:1: `GE{T` is no method"), "{said}");
    assert_eq!(found.services[0].versions[0].routes.len(), 1);
}

#[test]
fn what_cannot_be_written_is_the_machines_fault() {
    let (code, out, err) = squall(Path::new(SAMPLES), &["import", "k8s", "shop.yaml", "--out", "/dev/full/x"]);
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.contains("error: cannot make /dev/full/x: "), "{err}");
}

const KNOWN: &str = "\
# A scenario whose spans and access log are imported again.
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: known}
spec:
  mesh: [mesh.yaml]
  duration: 20s
  network: {links: [{latency: 2ms}]}
  services:
    gate:
      entry: true
      time: {p50: 3ms, p99: 30ms}
      steps:
        - [{call: ads}, {call: catalog}]
        - {call: cart, repeat: 2}
        - {call: audit, probability: 30%}
    ads: {replicas: 2, time: {p50: 8ms, p99: 24ms}}
    catalog: {time: {p50: 5ms, p99: 50ms}, steps: [{call: db, fanOut: 3, optional: true}]}
    cart: {time: {exponential: 2ms}}
    audit: {time: 1ms}
    db: {replicas: 3, time: {p50: 10ms, p99: 60ms}, errorRate: 4%}
  load: [{rate: 120/s}]
  expect: [{overall: successRate == 1.0}]
";

/// Runs the known scenario; the file of its spans.
fn spans_of_known(dir: &Path) -> PathBuf {
    let services = ["gate", "ads", "catalog", "cart", "audit", "db"];
    let manifest = |name: &&str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: n}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
        )
    };
    write(&dir.join("mesh.yaml"), services.iter().map(manifest).collect::<Vec<_>>().join("---\n"));
    write(&dir.join("known.yaml"), KNOWN);
    let (code, out, err) = squall(dir, &["test", "known.yaml", "--model", "fast", "--otlp", "spans.jsonl"]);
    assert_eq!(code, Some(0), "{out}{err}");
    dir.join("spans.jsonl")
}

/// What a sidecar served: the service, when (nanoseconds since 1970), how long, with which status.
fn served(spans: &Path) -> Vec<(String, u64, u64, u16)> {
    let text = fs::read_to_string(spans).expect("it was written");
    let mut found = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON object per line");
        for resource in line["resourceSpans"].as_array().expect("OTLP") {
            let service = attribute(&resource["resource"], "service.name");
            for span in resource["scopeSpans"][0]["spans"].as_array().expect("OTLP") {
                if attribute(span, "squall.kind") == "serve" {
                    let nanos =
                        |name: &str| span[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a time");
                    let (start, end) = (nanos("startTimeUnixNano"), nanos("endTimeUnixNano"));
                    let status = attribute(span, "http.response.status_code").parse().expect("a status");
                    found.push((service.clone(), start, end, status));
                }
            }
        }
    }
    found
}

fn attribute(of: &Value, key: &str) -> String {
    let list = of["attributes"].as_array().expect("it has attributes");
    let found = list.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"]);
    let typed = found.and_then(|value| value.as_object()?.values().next()).unwrap_or(&Value::Null);
    typed.as_str().map_or_else(|| typed.to_string(), str::to_owned)
}

fn quantiles(time: &Distribution) -> (f64, f64) {
    if let Distribution::LogNormal { p50, p99 } = time {
        (p50.as_secs_f64(), p99.as_secs_f64())
    } else if let Distribution::Exponential { mean } = time {
        (mean.as_secs_f64() * 2.0_f64.ln(), mean.as_secs_f64() * 100.0_f64.ln())
    } else {
        (time.mean().as_secs_f64(), time.mean().as_secs_f64())
    }
}

/// Within this share: of 2400 requests the median is known to some 5 %, the 99th percentile to some 20 % (three standard errors).
const MEDIAN: f64 = 0.05;
const TAIL: f64 = 0.2;

#[test]
fn the_spans_of_a_known_scenario_become_that_scenario_again() {
    let dir = directory("import-round");
    let spans = spans_of_known(&dir);
    let (said, found) = imported("import-round-made", &["traces", spans.to_str().expect("UTF-8")]);
    let known = scenario(&dir.join("known.yaml"));
    assert!(said.contains(" of 2") && !said.contains("could not be read"), "{said}");
    let of = |scenario: &Scenario, name: &str| {
        let mut all = calls(scenario, name);
        all.sort();
        all.into_iter().map(|(to, times, _)| (to, times)).collect::<Vec<_>>()
    };
    let mut names: Vec<&str> = known.services.iter().map(|service| service.name.value.as_str()).collect();
    names.sort_unstable();
    let mut again: Vec<&str> = found.services.iter().map(|service| service.name.value.as_str()).collect();
    again.sort_unstable();
    assert_eq!(again, names);
    for name in names {
        assert_eq!(of(&found, name), of(&known, name), "whom {name} calls, and how often");
        let (one, other) = (known.service(name).expect("it is known"), found.service(name).expect("it was found"));
        assert_eq!(one.versions[0].replicas, other.versions[0].replicas, "{name}");
        let (want, got) =
            (quantiles(&one.versions[0].routes[0].work.time), quantiles(&other.versions[0].routes[0].work.time));
        assert!((got.0 / want.0 - 1.0).abs() < MEDIAN, "the median of {name}: {} for {}", got.0, want.0);
        assert!((got.1 / want.1 - 1.0).abs() < TAIL, "the 99th percentile of {name}: {} for {}", got.1, want.1);
        let (want, got) = (one.versions[0].routes[0].work.error_ppm, other.versions[0].routes[0].work.error_ppm);
        assert!(want.abs_diff(got) < 5000, "errors of {name}: {got} for {want} in a million");
    }
    let gate = &found.service("gate").expect("it was found").versions[0].routes[0].steps;
    assert!(
        matches!(gate.as_slice(), [Step::Parallel(both), Step::Call(cart), Step::Call(audit)]
            if both.len() == 2 && cart.host.value == "cart" && cart.repeat == 2
                && audit.host.value == "audit" && audit.probability_ppm.abs_diff(300_000) < 25_000),
        "{gate:?}"
    );
    assert!(
        matches!(found.service("catalog").expect("it was found").versions[0].routes[0].steps.as_slice(),
            [Step::Call(db)] if db.fan_out == 3 && db.repeat == 1),
        "three at once"
    );
    assert!((rate(&found, 0) / 120.0 - 1.0).abs() < 0.05, "{}", rate(&found, 0));
    let link = &found.network.links[0].setting.latency;
    assert!(
        matches!(link, Some(squall_sim::engine::Delay::Constant(one_way)) if (one_way.as_secs_f64() / 0.002 - 1.0).abs() < 0.05),
        "{link:?}"
    );
}

/// The time at which a request ended.
struct At(Arc<Mutex<Duration>>);

impl Wall for At {
    fn since_epoch(&self) -> Duration {
        *self.0.lock().expect("no panic while locked")
    }
}

#[test]
fn the_access_log_of_a_known_scenario_gives_its_arrivals_and_times_again() {
    let dir = directory("import-log");
    let served = served(&spans_of_known(&dir));
    let (now, lines) = (Arc::new(Mutex::new(Duration::ZERO)), Arc::new(Mutex::new(String::new())));
    let kept = Arc::clone(&lines);
    let sink = move |line: &str| {
        let mut lines = kept.lock().expect("no panic while locked");
        lines.push_str(line);
        lines.push('\n');
    };
    // As the sidecars of the services write it, with production's own recorder.
    let log = AccessLog::new(AccessLogFormat::Json, Arc::new(At(Arc::clone(&now))), Box::new(sink));
    for (nth, (service, start, end, status)) in served.iter().enumerate() {
        let (request, authority) = (RequestNumber(nth as u64 + 1), service.as_str());
        let (side, method, path) = (Side::Inbound, "GET", "/");
        log.record(
            Instant::ZERO,
            &Record::Started { request, side, method, authority, path, request_id: "r", peer: None },
        );
        *now.lock().expect("no panic while locked") = Duration::from_nanos(*end);
        let (total, how) = (Duration::from_nanos(end - start), HowEnded::Complete);
        let ended = Record::Ended {
            request,
            side,
            status: *status,
            grpc: None,
            attempts: 1,
            total,
            bytes_up: 0,
            bytes_down: 128,
            how,
        };
        log.record(Instant::ZERO, &ended);
    }
    let file = dir.join("access.jsonl");
    write(&file, lines.lock().expect("no panic while locked").as_bytes());
    let (said, found) = imported("import-log-made", &["access-log", file.to_str().expect("UTF-8")]);
    assert!(said.contains("of Squall's JSON") && !said.contains("could not be read"), "{said}");
    let known = scenario(&dir.join("known.yaml"));
    // Of those that call nobody, what the log measures is their own time.
    for (name, visits) in [("ads", 1.0), ("cart", 2.0), ("audit", 0.3), ("db", 3.0)] {
        let at =
            found.load.iter().position(|load| load.to.value == name).unwrap_or_else(|| panic!("no load at {name}"));
        assert!((rate(&found, at) / (120.0 * visits) - 1.0).abs() < 0.06, "{name}: {}", rate(&found, at));
        let work =
            |scenario: &Scenario| scenario.service(name).expect("it is there").versions[0].routes[0].work.clone();
        let (want, got) = (quantiles(&work(&known).time), quantiles(&work(&found).time));
        assert!((got.0 / want.0 - 1.0).abs() < MEDIAN, "the median of {name}: {} for {}", got.0, want.0);
        assert!((got.1 / want.1 - 1.0).abs() < TAIL, "the 99th percentile of {name}: {} for {}", got.1, want.1);
        assert!(work(&known).error_ppm.abs_diff(work(&found).error_ppm) < 5000, "errors of {name}");
    }
}
