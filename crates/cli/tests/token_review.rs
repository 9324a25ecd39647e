//! Tokens of Kubernetes service accounts as processes: `squall control` asks an API server by HTTPS whose they are. The API server is one
//! of our own, which knows some tokens and looks at all that it is sent.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use squall_net::edge::{Certificates, EdgeAcceptor, ServerCertificate};
use squall_net::http::{BodyError, Incoming, ServeLimits, serve};
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{pem, process};
use stage::{Process, beside, directory, write};

const PATIENCE: Duration = Duration::from_secs(60);
/// The control plane's own.
const OWN: &str = "control-plane.own.token";

/// What the API server says of a token, and how it says it.
fn review(token: &str) -> (StatusCode, Value) {
    let of = |username: &str, audience: &str| {
        let user =
            json!({"username": username, "uid": "7", "groups": ["system:serviceaccounts"], "extra": {"a": ["b"]}});
        (StatusCode::CREATED, json!({"status": {"authenticated": true, "user": user, "audiences": [audience]}}))
    };
    match token {
        "front.first.token" | "front.second.token" => of("system:serviceaccount:shop:front", "squall"),
        "front.elsewhere.token" => of("system:serviceaccount:shop:front", "https://kubernetes.default.svc"),
        "node.squall.token" => of("system:node:worker-1", "squall"),
        "odd.squall.token" => of("system:serviceaccount:shop:../front", "squall"),
        "broken.server.token" => (StatusCode::INTERNAL_SERVER_ERROR, json!({"kind": "Status"})),
        "forbidden.server.token" => (StatusCode::FORBIDDEN, json!({"kind": "Status"})),
        "odd.server.token" => (StatusCode::OK, json!(["no", "review"])),
        // Without audiences: a server that knows of none takes any token for ours.
        "front.old.server" => {
            let user = json!({"username": "system:serviceaccount:shop:front"});
            (StatusCode::CREATED, json!({"status": {"authenticated": true, "user": user}}))
        }
        _ => (StatusCode::CREATED, json!({"status": {"user": {}, "error": "invalid bearer token"}})),
    }
}

struct One(ServerCertificate);

impl Certificates for One {
    fn of(&self, _server_name: Option<&str>) -> Vec<ServerCertificate> {
        vec![self.0.clone()]
    }
}

/// Where it listens, and the tokens it was asked about. Its certificate is for `localhost`, and signed by what it writes to `ca`.
fn api_server(ca: &Path) -> (SocketAddr, Receiver<String>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("the OS has entropy");
    write(ca, &pem::encode("CERTIFICATE", params.self_signed(&key).expect("good parameters").der()));
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().expect("the OS has entropy");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).and_then(|params| params.signed_by(&own, &issuer));
    let chain = pem::encode("CERTIFICATE", leaf.expect("good parameters").der());
    let certificate = ServerCertificate::from_pem(&chain, &own.serialize_pem()).expect("a certificate and its key");
    let ((told, at), (heard, tokens)) = (channel(), channel());
    beside(move || process::run(answer(certificate, told, heard)));
    (at.recv_timeout(PATIENCE).expect("it listens"), tokens)
}

async fn answer(certificate: ServerCertificate, told: Sender<SocketAddr>, heard: Sender<String>) {
    let host = Tcp::host();
    let mut listener = host.net().listen("127.0.0.1:0".parse().expect("an address")).await.expect("loopback");
    told.send(listener.local()).expect("the test waits for it");
    let certificates = Arc::new(One(certificate));
    let acceptor = EdgeAcceptor::new(&host, KeyAlgorithm::P256, certificates, &[b"http/1.1"]).expect("ciphers");
    while let Ok(accepted) = listener.accept().await {
        let (of_host, heard, acceptor) = (host.clone(), heard.clone(), acceptor.clone());
        host.spawn("API server", async move {
            // Who does not trust it goes away.
            let Ok(secured) = acceptor.accept(accepted.conn).await else { return };
            let service = move |request: Request<Incoming>| {
                let heard = heard.clone();
                async move {
                    let (head, body) = request.into_parts();
                    assert_eq!(
                        (head.method.as_str(), head.uri.path()),
                        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
                    );
                    assert_eq!(head.headers["authorization"], format!("Bearer {OWN}"));
                    assert_eq!(head.headers["content-type"], "application/json");
                    let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                    let token = body["spec"]["token"].as_str().expect("a token").to_owned();
                    let spec = json!({"token": token, "audiences": ["squall"]});
                    assert_eq!(
                        body,
                        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})
                    );
                    let (status, said) = review(&token);
                    let is_slow = token == "slow.server.token";
                    let _ = heard.send(token);
                    if is_slow {
                        std::future::pending::<()>().await;
                    }
                    let response = Response::builder().status(status).header("content-type", "application/json");
                    Ok::<_, BodyError>(response.body(Full::new(Bytes::from(said.to_string())))?)
                }
            };
            let limits = ServeLimits::default();
            let _ = serve(&of_host, secured.conn, None, limits, service, std::future::pending()).await;
        });
    }
}

/// A stage with a control plane that asks the API server called so.
struct Cluster {
    dir: std::path::PathBuf,
    plane: Process,
    plane_at: String,
    tokens: Receiver<String>,
}

impl Cluster {
    fn start(test: &str, server: &str, life: &str) -> Self {
        let dir = directory(test);
        let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
        let (address, tokens) = api_server(&dir.join("ca.pem"));
        write(
            &dir.join("mesh/services.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: front, namespace: shop}\nspec: {ports: [{port: 80}]}\n",
        );
        write(&dir.join("own.token"), &format!("{OWN}\n"));
        let url = format!("https://{server}:{}", address.port());
        let (mesh, state, ca, own) = (at("mesh"), at("state"), at("ca.pem"), at("own.token"));
        let args = ["--from", &mesh, "--state", &state, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let more =
            ["--api-server", &url, "--api-server-ca", &ca, "--api-server-token", &own, "--certificate-life", life];
        let mut plane = Process::start("control", &[&args[..], &more].concat());
        let plane_at = plane.line("the control plane listens").text("at");
        Self { dir, plane, plane_at, tokens }
    }

    fn proxy(&self, token: &str) -> Process {
        let at = |name: &str| self.dir.join(name).to_str().expect("UTF-8").to_owned();
        write(&self.dir.join("token"), token);
        let (trust, token) = (at("state/root.pem"), at("token"));
        let args = ["--control", &self.plane_at, "--trust", &trust, "--token-file", &token];
        let more = ["--service-account", "shop/front", "--pod", "front-0", "--outbound", "127.0.0.1:0"];
        Process::start("proxy", &[&args[..], &more, &["--admin", "127.0.0.1:0"]].concat())
    }
}

#[test]
fn a_service_account_s_token_is_worth_a_certificate_and_is_read_anew_for_the_next_one() {
    let mut cluster = Cluster::start("review", "localhost", "2s");
    let mut proxy = cluster.proxy("front.first.token\n");
    proxy.line("the proxy is ready");
    assert_eq!(cluster.tokens.recv_timeout(PATIENCE).as_deref(), Ok("front.first.token"));
    cluster.plane.line("spiffe://cluster.local/ns/shop/sa/front");

    // As Kubernetes does it, long before the first one ends.
    write(&cluster.dir.join("token"), "front.second.token\n");
    while cluster.tokens.recv_timeout(PATIENCE).expect("the certificate is renewed") == "front.first.token" {}
    let written = [proxy.written(), cluster.plane.written()].concat();
    for secret in ["front.first.token", "front.second.token", OWN] {
        assert!(!written.iter().any(|line| line.contains(secret)), "{written:#?}");
    }
}

#[test]
fn a_token_that_does_not_prove_the_service_account_is_refused_and_the_reason_is_told() {
    let mut cluster = Cluster::start("review-refused", "localhost", "24h");
    for (token, why) in [
        ("nobody.knows.it", "the API server does not know the token"),
        ("front.elsewhere.token", "the token is not for the audience `squall`"),
        ("front.old.server", "the token is not for the audience `squall`"),
        ("node.squall.token", "the token is none of a service account"),
        ("odd.squall.token", "the token is none of a service account"),
        ("0123456789abcdef", "the token is unknown, and none of a service account"),
        ("broken.server.token", "the API server cannot be asked: it answers 500"),
        ("forbidden.server.token", "the control plane's service account may not create tokenreviews"),
        ("odd.server.token", "the API server cannot be asked: its answer is no TokenReview"),
        ("slow.server.token", "the API server cannot be asked: no answer within 3s"),
    ] {
        let mut proxy = cluster.proxy(token);
        // Both are told, and the proxy goes on asking.
        assert!(proxy.line("no control plane").text("why").contains(why), "{token}");
        cluster.plane.line(why);
        assert!(proxy.line("no control plane").text("why").contains(why), "{token}");
    }
    write(&cluster.dir.join("token"), "front.first.token");
    let asked: Vec<String> = cluster.tokens.try_iter().collect();
    assert!(!asked.iter().any(|token| token == "0123456789abcdef"), "what is no JWT is not sent around: {asked:?}");
    let other = cluster.dir.join("token");
    let (trust, token) = (cluster.dir.join("state/root.pem"), other.to_str().expect("UTF-8").to_owned());
    let trust = trust.to_str().expect("UTF-8").to_owned();
    let args = ["--control", &cluster.plane_at, "--trust", &trust, "--token-file", &token, "--outbound", "127.0.0.1:0"];
    let mut thief = Process::start("proxy", &[&args[..], &["--service-account", "shop/stock", "--pod", "x"]].concat());
    assert!(
        thief.line("no control plane").text("why").contains("the token proves spiffe://cluster.local/ns/shop/sa/front")
    );
}

#[test]
fn an_api_server_of_another_name_is_not_given_a_token() {
    // Its certificate is for `localhost` alone.
    let mut cluster = Cluster::start("review-name", "127.0.0.1", "24h");
    let _proxy = cluster.proxy("front.first.token");
    let why = cluster.plane.line("a caller is refused").text("why");
    assert!(why.contains("the API server cannot be asked: 127.0.0.1: TLS handshake failed"), "{why}");
    assert!(cluster.tokens.try_recv().is_err());
}
