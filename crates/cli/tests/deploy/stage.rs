//! What the tests of processes stand on: processes whose log is read, an application, and a client.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use squall_net::http::{BodyError, Incoming, ServeLimits, Version, connect, serve};
use squall_net::tcp::Tcp;
use squall_net::{process, timeout};

/// The longest wait for a line or an answer; a machine with much else to do is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty directory of the test's own.
pub(crate) fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(path.join("mesh")).expect("the target directory can be written");
    path
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file of the test's own; that it may be seen half written is part of the test"
)]
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the target directory can be written");
}

/// The port of an address as the log has it.
#[track_caller]
pub(crate) fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("no port in {address}"))
}

/// A file of a directory, as an argument.
fn text(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().expect("UTF-8").to_owned()
}

/// What a control plane is told whose files are `mesh`, `tokens` and `state` of a directory.
pub(crate) fn control(dir: &Path, listen: &str, more: &[&str]) -> Vec<String> {
    let (mesh, tokens, state) = (text(dir, "mesh"), text(dir, "tokens"), text(dir, "state"));
    let args = ["--from", &mesh, "--tokens", &tokens, "--state", &state, "--listen", listen, "--admin", "127.0.0.1:0"];
    args.iter().chain(more).map(|&arg| arg.to_owned()).collect()
}

/// What a sidecar or gateway of that control plane is told, whose account is one of `shop` and whose token is `ACCOUNT.token` there.
pub(crate) fn member(dir: &Path, control: &str, account: &str, more: &[&str]) -> Vec<String> {
    let (trust, token) = (text(dir, "state/root.pem"), text(dir, &format!("{account}.token")));
    let account = format!("shop/{account}");
    let args = ["--control", control, "--trust", &trust, "--token-file", &token, "--service-account", &account];
    args.iter().chain(&["--admin", "127.0.0.1:0"]).chain(more).map(|&arg| arg.to_owned()).collect()
}

/// A Service of the namespace `shop` with one port, as a document of YAML: `port: 80, appProtocol: http`.
pub(crate) fn service(name: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{{port}}}]}}\n"
    )
}

/// Where a pod of a Service is, and as whom it runs, as a document of YAML.
pub(crate) fn slice(service: &str, account: &str, pod: &str, port: u16) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{pod}\n  namespace: shop\n  \
         labels: {{kubernetes.io/service-name: {service}}}\n  annotations: {{squall.dev/service-account: {account}}}\n\
         addressType: IPv4\nports: [{{port: {port}}}]\nendpoints:\n  - addresses: [127.0.0.1]\n    \
         targetRef: {{kind: Pod, name: {pod}}}\n"
    )
}

#[expect(clippy::disallowed_methods, reason = "the thread ends with the process it listens to, or with the test's own")]
pub(crate) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(work)
}

/// Every line that comes, until the end.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    beside(move || BufReader::new(from).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    receiver
}

/// The binary whose processes are started: this build's, or the one that `SQUALL_BIN` names.
fn squall() -> OsString {
    std::env::var_os("SQUALL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_squall").into())
}

/// A `squall` that runs. It is killed when the test is over, however that ends.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: Receiver<String>,
    out: Receiver<String>,
    /// What it has logged, as far as it was read.
    pub(crate) seen: Vec<String>,
}

/// A line of its log.
#[derive(Debug)]
pub(crate) struct Line(serde_json::Value);

impl Line {
    /// A field of it.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        self.0[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {}", self.0)).to_owned()
    }
}

impl Process {
    pub(crate) fn start(command: &str, args: &[impl AsRef<OsStr>]) -> Self {
        Self::start_by(Command::new(squall()).arg(command).args(args), [Stdio::piped(), Stdio::piped()])
    }

    /// Through a shell that says under which circumstances: `ulimit -n 64; exec "$0" "$@"`.
    pub(crate) fn start_in(shell: &str, command: &str, args: &[impl AsRef<OsStr>]) -> Self {
        let mut shell_command = Command::new("sh");
        shell_command.args(["-c", shell]).arg(squall()).arg(command).args(args);
        Self::start_by(&mut shell_command, [Stdio::piped(), Stdio::piped()])
    }

    /// With its stdout and stderr elsewhere: of those nothing is heard.
    pub(crate) fn start_to(outputs: [Stdio; 2], command: &str, args: &[impl AsRef<OsStr>]) -> Self {
        Self::start_by(Command::new(squall()).arg(command).args(args), outputs)
    }

    fn start_by(command: &mut Command, [stdout, stderr]: [Stdio; 2]) -> Self {
        let mut child = command
            .args(["--log", "json"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("squall can be started");
        let log = child.stderr.take().map_or_else(|| channel().1, lines);
        let out = child.stdout.take().map_or_else(|| channel().1, lines);
        Self { name: format!("{command:?}"), child, log, out, seen: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written until now, to both.
    pub(crate) fn written(&mut self) -> Vec<String> {
        self.seen.extend(self.log.try_iter());
        self.seen.iter().cloned().chain(self.out.try_iter()).collect()
    }

    /// The next line of its log that holds these words.
    #[track_caller]
    pub(crate) fn line(&mut self, words: &str) -> Line {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("{} never said `{words}`; it said\n{}", self.name, self.seen.join("\n"));
            };
            let found = line.contains(words);
            // What is wrong with arguments is said to people, whatever the log looks like.
            let value = serde_json::from_str(&line).unwrap_or_else(|_| serde_json::Value::String(line.clone()));
            self.seen.push(line);
            if found {
                return Line(value);
            }
        }
    }

    /// The next line of its access log.
    #[track_caller]
    pub(crate) fn access_log(&mut self) -> serde_json::Value {
        let line = self.out.recv_timeout(PATIENCE).expect("a line of the access log");
        serde_json::from_str(&line).expect("JSON")
    }

    pub(crate) fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }

    /// Its exit code, once it has ended by itself.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        // Its log ends with it.
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < until, "{} does not end; it said\n{}", self.name, self.seen.join("\n"));
        self.child.wait().expect("it is ours").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An application that knows nothing of the mesh: it answers with what it was asked. `/slow` is answered when it is released.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    /// A request for `/slow` is there.
    held: Receiver<()>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl App {
    pub(crate) fn start() -> Self {
        let (told, address) = channel();
        let (holds, held) = channel();
        let released = Arc::new((Mutex::new(false), Condvar::new()));
        let releases = Arc::clone(&released);
        beside(move || process::run(run(told, holds, releases)));
        Self { address: address.recv_timeout(PATIENCE).expect("it listens"), held, released }
    }

    /// A request for `/slow` that has come through to the application.
    pub(crate) fn hold(&self, outbound: &str) -> JoinHandle<Answer> {
        let outbound = outbound.to_owned();
        let request = beside(move || get(&outbound, "stock", "/slow"));
        self.held.recv_timeout(PATIENCE).expect("the request comes through");
        request
    }

    /// Waits for a request for `/slow`.
    pub(crate) fn holds(&self) {
        self.held.recv_timeout(PATIENCE).expect("the request comes through");
    }

    pub(crate) fn release(&self) {
        *self.released.0.lock().expect("nobody panics with it") = true;
        self.released.1.notify_all();
    }
}

async fn run(told: Sender<SocketAddr>, holds: Sender<()>, released: Arc<(Mutex<bool>, Condvar)>) {
    let host = Tcp::host();
    let mut listener = host.net().listen("127.0.0.1:0".parse().expect("an address")).await.expect("loopback");
    told.send(listener.local()).expect("the test waits for it");
    while let Ok(accepted) = listener.accept().await {
        let (of_host, holds, released) = (host.clone(), holds.clone(), Arc::clone(&released));
        host.spawn("app", async move {
            let service = move |request: Request<Incoming>| {
                if request.uri().path() == "/slow" {
                    let _ = holds.send(());
                    // The application has nothing else to do meanwhile, so its only thread may wait.
                    let released = released.1.wait_while(released.0.lock().expect("nobody panics"), |over| !*over);
                    drop(released.expect("nobody panics with it"));
                }
                let mut text = format!("path: {}\n", request.uri().path());
                for (name, value) in request.headers() {
                    text.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or("?")));
                }
                async move { Ok::<_, BodyError>(Response::new(Full::new(Bytes::from(text)))) }
            };
            let limits = ServeLimits::default();
            let _ = serve(&of_host, accepted.conn, None, limits, service, std::future::pending()).await;
        });
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What the application saw.
    pub(crate) fn line(&self, name: &str) -> String {
        let found = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_default().to_owned()
    }
}

#[track_caller]
pub(crate) fn get(at: &str, host: &str, path: &str) -> Answer {
    ask(Method::GET, at, host, path, "").unwrap_or_else(|| panic!("no answer to GET {path} of {host} at {at}"))
}

#[track_caller]
pub(crate) fn post(at: &str, path: &str) -> Answer {
    send(Method::POST, at, path, "")
}

/// The status of a request without a body.
#[track_caller]
pub(crate) fn status(method: &Method, at: &str, host: &str, path: &str) -> u16 {
    let answer = ask(method.clone(), at, host, path, "");
    answer.unwrap_or_else(|| panic!("no answer to {method} {path} of {host} at {at}")).status
}

/// A request with a body, to an admin page.
#[track_caller]
pub(crate) fn send(method: Method, at: &str, path: &str, body: &str) -> Answer {
    let asked = format!("{method} {path} at {at}");
    ask(method, at, "x", path, body).unwrap_or_else(|| panic!("no answer to {asked}"))
}

/// `None`: no HTTP answer came.
pub(crate) fn try_get(at: &str, host: &str, path: &str) -> Option<Answer> {
    ask(Method::GET, at, host, path, "")
}

fn ask(method: Method, at: &str, authority: &str, path: &str, body: &str) -> Option<Answer> {
    let address: SocketAddr = at.parse().expect("an address");
    let asking = async {
        let host = Tcp::host();
        let until = host.now() + PATIENCE;
        let asking = async {
            let conn = host.net().connect(address).await.ok()?;
            let mut sender = connect(&host, conn, Version::Http1).await.ok()?;
            let request = Request::builder().method(method).uri(path).header("host", authority);
            let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
            let answer = sender.send(request).await.ok()?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Some(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        timeout(host.clock().as_ref(), until, asking).await.expect("an answer in time")
    };
    process::run(asking).expect("a runtime")
}
