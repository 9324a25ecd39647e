//! No secret leaves a process by what it says: not by its log with everything in it, its access log, its pages or its help.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use squall_control::Authority;
use squall_net::http::{Version, connect};
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{pem, process};
use stage::{App, Process, control, directory, get, member, port_of, service, slice, write};

const TOKENS: [&str; 3] = ["7c1f0d9ab24e66f3front", "7c1f0d9ab24e66f3stock", "7c1f0d9ab24e66f3nobody"];
const BEARER: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl";
const COOKIE: &str = "session-5f3c9b7e1a";
const QUERY: &str = "reset-link-83a1";

fn services() -> String {
    service("front", "port: 80") + &service("stock", "port: 80, appProtocol: kubernetes.io/h2c")
}

/// The lines of a PEM file that are the key, and the first bytes of the key as they are shown when bytes are: in hexadecimal and as a list.
fn spellings(pem: &str) -> Vec<String> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 16);
    let mut spellings: Vec<String> = lines.map(str::to_owned).collect();
    let key = pem::private_key(pem).expect("a key");
    // The secret number of a P-256 key lies behind the 36 bytes that say what it is (RFC 5958, RFC 5915).
    let bytes = &key.as_pkcs8()[36..44];
    spellings.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    spellings.push(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    spellings
}

/// Sends secrets through the mesh, over this version of HTTP.
fn send_secrets(at: &str, version: Version) -> u16 {
    process::run(async {
        let host = Tcp::host();
        let conn = host.net().connect(at.parse().expect("an address")).await.expect("it listens");
        let mut sender = connect(&host, conn, version).await.expect("HTTP");
        let path = format!("/items?token={QUERY}");
        let request = match version {
            Version::Http1 => Request::get(path).header("host", "stock"),
            Version::Http2 => Request::get(format!("http://stock{path}")).version(http::Version::HTTP_2),
        };
        let request =
            request.header("authorization", format!("Bearer {BEARER}")).header("cookie", format!("id={COOKIE}"));
        let answer = sender.send(request.body(Full::<Bytes>::default()).expect("a request")).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        if status == 200 {
            assert!(String::from_utf8_lossy(&body).contains(BEARER), "the application gets what is its own");
        }
        status
    })
    .expect("a runtime")
}

#[test]
fn no_secret_is_in_what_processes_say() {
    let dir = directory("secrets");
    let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let app = App::start();
    write(&dir.join("mesh/services.yaml"), &services());
    write(&dir.join("tokens"), &format!("{} shop/front\n{} shop/stock\n", TOKENS[0], TOKENS[1]));
    for (name, token) in ["front", "stock", "nobody"].into_iter().zip(TOKENS) {
        write(&dir.join(format!("{name}.token")), &format!("{token}\n"));
    }
    let all = "RUST_LOG=trace exec \"$0\" \"$@\"";
    let mut plane = Process::start_in(all, "control", &control(&dir, "127.0.0.1:0", &[]));
    let plane_admin = plane.line("the admin pages are served").text("at");
    let plane_at = plane.line("the control plane listens").text("at");
    let inbound = format!("127.0.0.1:0={}", app.address);
    let sidecar = |name: &str, more: &[&str]| {
        let pod = format!("{name}-0");
        let own = ["--pod", &pod, "--outbound", "127.0.0.1:0", "--access-log", "json"];
        Process::start_in(all, "proxy", &member(&dir, &plane_at, name, &[&own[..], more].concat()))
    };
    let (mut front, mut stock) = (sidecar("front", &[]), sidecar("stock", &["--inbound", &inbound]));
    let mut nobody = sidecar("nobody", &[]);
    let listens = stock.line("the proxy listens");
    let (stock_port, stock_admin) = (listens.text("inbound"), listens.text("admin"));
    let listens = front.line("the proxy listens");
    let (outbound, front_admin) = (listens.text("outbound"), listens.text("admin"));
    front.line("the proxy is ready");
    stock.line("the proxy is ready");
    write(&dir.join("mesh/slices.yaml"), &slice("stock", "stock", "stock-0", port_of(&stock_port)));
    front.line("a mesh is in force");
    plane.line("a caller is refused");
    nobody.line("no control plane");
    while send_secrets(&outbound, Version::Http1) != 200 {}
    assert_eq!(send_secrets(&outbound, Version::Http2), 200);
    // Mistakes are shown with their places; a line of the file of tokens is not.
    write(
        &dir.join("tokens"),
        &format!("{} shop/front\n{} shop/stock\nshort a/b\n{}\n", TOKENS[0], TOKENS[1], TOKENS[2]),
    );
    plane.line("the files are refused");

    // A proxy with a key from a file, and one whose key is none, which is refused with words about it.
    let host = Tcp::host();
    let wall = Arc::clone(host.wall());
    let authority = Authority::new(KeyAlgorithm::P256, wall, host.rng("authority"), Duration::from_secs(3600));
    let identity = authority.expect("a root").identity(&host, &squall_control::spiffe_id("shop", "front"));
    let identity = identity.expect("a certificate");
    let key = pem::encode("PRIVATE KEY", identity.key.as_pkcs8());
    write(&dir.join("files.key"), &key);
    write(&dir.join("torn.key"), &key.replace("-----END", "----END"));
    write(&dir.join("files.pem"), &pem::encode("CERTIFICATE", &identity.chain[0]));
    let with_key = |key: &str| {
        let (mesh, cert, key, trust) = (at("mesh/services.yaml"), at("files.pem"), at(key), at("state/root.pem"));
        let args =
            ["--mesh", &mesh, "--cert", &cert, "--key", &key, "--trust", &trust, "--service-account", "shop/front"];
        Process::start_in(all, "proxy", &[&args[..], &["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"]].concat())
    };
    let mut files = with_key("files.key");
    let files_admin = files.line("the proxy listens").text("admin");
    let mut torn = with_key("torn.key");
    assert!(torn.ends().is_some_and(|code| code != 0), "half a key is none");

    let mut said = Vec::new();
    for admin in [&front_admin, &stock_admin, &files_admin] {
        for page in ["/", "/ready", "/config", "/clusters", "/metrics", "/log-level"] {
            said.push(get(admin, "x", page).body);
        }
    }
    for page in ["/", "/ready", "/metrics", "/root.pem", "/log-level"] {
        said.push(get(&plane_admin, "x", page).body);
    }
    for command in ["proxy", "control"] {
        let help = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args([command, "--help"])
            .env("SQUALL_TOKEN_FILE", at("front.token"))
            .env("SQUALL_TOKENS", at("tokens"))
            .env("SQUALL_KEY", at("files.key"))
            .output()
            .expect("squall can be started");
        said.push(String::from_utf8_lossy(&help.stdout).into_owned());
    }
    let mut is_traced = false;
    for process in [&mut plane, &mut front, &mut stock, &mut nobody, &mut files] {
        process.terminate();
        process.ends();
    }
    for process in [&mut plane, &mut front, &mut stock, &mut nobody, &mut files, &mut torn] {
        let written = process.written();
        is_traced |= written.iter().any(|line| line.contains("\"level\":\"TRACE\""));
        said.extend(written);
    }
    assert!(is_traced, "everything is in the log");
    assert!(said.iter().any(|line| line.contains("\"path\":\"/items\"")), "the access log is among it");

    let root_key = std::fs::read_to_string(dir.join("state/root-key.pem")).expect("it is kept there");
    let mut secrets: Vec<String> = TOKENS.iter().map(|token| (*token).to_owned()).collect();
    secrets.extend([BEARER, COOKIE, QUERY].map(str::to_owned));
    secrets.extend(spellings(&root_key));
    secrets.extend(spellings(&key));
    for secret in secrets {
        let found: Vec<&String> = said.iter().filter(|line| line.contains(&secret)).collect();
        assert!(found.is_empty(), "{secret} is in\n{found:#?}");
    }
}

#[test]
fn a_mistake_in_the_file_of_tokens_is_drawn_without_its_line() {
    let dir = directory("secrets-drawn");
    let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    write(&dir.join("mesh/services.yaml"), &services());
    let (mesh, tokens, state) = (at("mesh"), at("tokens"), at("state"));
    for (text, place) in [
        (format!("{}\n", TOKENS[0]), ":1:1"),
        (format!("{} front\n", TOKENS[0]), ":1:23"),
        (format!("shop/front {}\n", TOKENS[0]), ":1:12"),
        (format!("0123456789abcdef {}\n", TOKENS[0]), ":1:18"),
        (format!("0123456789abcdef shop/front {}\n", TOKENS[0]), ":1:29"),
        (format!("{0} shop/front\n{0} shop/stock\n", TOKENS[0]), ":2:1"),
    ] {
        write(&dir.join("tokens"), &text);
        let ended = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(["control", "--from", &mesh, "--tokens", &tokens, "--state", &state, "--listen", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0", "--log", "text"])
            .env("RUST_LOG", "trace")
            .output()
            .expect("squall can be started");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&format!("tokens{place}")), "{text}: {said}");
        assert!(!said.contains(TOKENS[0]), "{text}: {said}");
    }
}
