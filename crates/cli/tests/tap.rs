//! `squall tap` beside `squall proxy`, both as processes.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "the tests of deployments use the rest")]
mod stage;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use stage::{App, Process, directory, get, service, slice, write};

/// A sidecar of an application: the process, its outbound side and its admin pages.
fn sidecar(test: &str, app: &App) -> (Process, String, String) {
    let mesh = directory(test).join("mesh.yaml");
    let port = app.address.port();
    let services = service("stock", "port: 80") + &slice("stock", "stock", "stock-0", port);
    let nobody = service("gone", "port: 80") + &slice("gone", "gone", "gone-0", 1);
    write(&mesh, &(services + &nobody));
    let args = ["--mesh", mesh.to_str().expect("UTF-8"), "--plaintext", "--service-account", "shop/front"];
    let more = ["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut proxy = Process::start("proxy", &[&args[..], &more].concat());
    let listens = proxy.line("the proxy listens");
    proxy.line("the proxy is ready");
    (proxy, listens.text("outbound"), listens.text("admin"))
}

/// A `squall tap` that watches already.
struct Watcher(Child, BufReader<std::process::ChildStderr>);

impl Watcher {
    fn start(admin: &str, args: &[&str]) -> Self {
        let mut child = tap(admin, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it can be read");
        assert_eq!(line, format!("watching {admin}; Ctrl-C ends it\n"));
        Self(child, said)
    }

    /// Its exit code, and what it wrote.
    fn ends(mut self) -> (Option<i32>, String, String) {
        let Output { status, stdout, .. } = self.0.wait_with_output().expect("it ends");
        let mut said = String::new();
        self.1.read_to_string(&mut said).expect("UTF-8");
        (status.code(), String::from_utf8(stdout).expect("UTF-8"), said)
    }
}

fn tap(admin: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(["tap", "--admin", admin]).args(args).stdin(Stdio::null());
    command
}

#[test]
fn requests_are_seen_as_they_end_if_they_fit() {
    let app = App::start();
    let (mut proxy, outbound, admin) = sidecar("tap", &app);
    get(&outbound, "stock", "/before");
    let slow = Watcher::start(&admin, &["--path", "/cart*", "--max", "2", "--json"]);
    let bad = Watcher::start(&admin, &["--status", "5xx", "--endpoint", "*", "--max", "1"]);
    let nothing = Watcher::start(&admin, &["--slower", "1h"]);
    assert_eq!(get(&outbound, "stock", "/cart?secret=1").status, 200);
    assert_eq!(get(&outbound, "stock", "/items").status, 200);
    assert_eq!(get(&outbound, "gone", "/cart/b").status, 503);

    let (code, out, said) = slow.ends();
    assert_eq!((code, &*said), (Some(0), "2 seen; enough was seen\n"));
    let seen: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let fields = |value: &serde_json::Value| (value["path"].clone(), value["status"].clone(), value["backend"].clone());
    assert_eq!(fields(&seen[0]), ("/cart".into(), 200.into(), "shop/stock:80".into()));
    assert_eq!(fields(&seen[1]), ("/cart/b".into(), 503.into(), "shop/gone:80".into()));
    assert_eq!(seen[0]["tries"][0]["status"], 200);
    assert_eq!(seen[1]["tries"][0]["failed"], "connect-refused");
    assert!(!out.contains("secret"), "{out}");

    let (code, out, said) = bad.ends();
    assert_eq!((code, &*said), (Some(0), "1 seen; enough was seen\n"));
    assert!(out.contains("GET gone/cart/b") && out.contains(": connect-refused after "), "{out}");

    proxy.terminate();
    assert_eq!(proxy.ends(), Some(0));
    assert_eq!(nothing.ends(), (Some(0), String::new(), "0 seen; the proxy ended\n".to_owned()));
}

#[test]
fn a_watcher_that_is_killed_leaves_its_place_and_its_reader_may_go() {
    let app = App::start();
    let (_proxy, outbound, admin) = sidecar("tap-leaves", &app);
    let mut watchers: Vec<Watcher> = (0..8).map(|_| Watcher::start(&admin, &[])).collect();
    let refused = tap(&admin, &[]).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("says 503: 8 watch already"), "{refused:?}");

    let Watcher(mut killed, _) = watchers.pop().expect("eight");
    killed.kill().expect("it runs");
    killed.wait().expect("it is ours");
    // Its place is free when the proxy has seen it go.
    while tap(&admin, &["--for", "1ms"]).output().expect("it starts").status.code() != Some(0) {}

    let Watcher(mut unread, _said) = watchers.pop().expect("seven");
    drop(unread.stdout.take());
    while unread.try_wait().expect("it is ours").is_none() {
        get(&outbound, "stock", "/");
    }
    assert_eq!(unread.wait().expect("it is ours").code(), Some(0));
    for Watcher(mut other, _) in watchers {
        other.kill().expect("it runs");
        other.wait().expect("it is ours");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let app = App::start();
    let (_proxy, outbound, admin) = sidecar("tap-wrong", &app);
    for (at, args, code, words) in [
        (&*admin, &["--status", "6xx"][..], 2, "`6xx` is no status; say one such as 503, 5xx, or 0 for none"),
        (&admin, &["--side", "left"], 2, "`left` is no `side`; there are outbound, inbound"),
        (&admin, &["--path", ""], 2, "`path` says nothing"),
        (&admin, &["--max", "0"], 2, "--max"),
        ("127.0.0.1:1", &[], 4, "help: is a proxy's --admin there?"),
        (&outbound, &[], 4, &format!("{outbound} says 404")),
    ] {
        let output = tap(at, args).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{args:?}: {said}");
    }
}
