//! `squall gateway` as a process: requests from outside come in over HTTP and HTTPS, certificates and routes change while it runs.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "the tests of deployments use the rest")]
mod stage;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use squall_net::edge::EdgeConnector;
use squall_net::http::{Version, connect};
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{pem, process};
use stage::{Answer, App, Process, control, directory, get, member, write};

/// An authority of the world outside.
struct Authority {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the OS has entropy");
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// Writes a certificate for a name, and its key.
    fn write(&self, name: &str, chain: &Path, key: &Path) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        let own = KeyPair::generate().expect("the OS has entropy");
        let leaf = params.signed_by(&own, &self.issuer).expect("a leaf of good parameters");
        write(chain, &pem::encode("CERTIFICATE", leaf.der()));
        write(key, &own.serialize_pem());
    }

    /// A request over TLS by one who trusts this authority and connects to the server called `sni`.
    fn get(&self, at: &str, sni: &str, host: &str, version: Version) -> Result<Answer, String> {
        let address: SocketAddr = at.parse().expect("an address");
        let asking = async {
            let machine = Tcp::host();
            let alpn: &[u8] = if version == Version::Http2 { b"h2" } else { b"http/1.1" };
            let roots = [self.root.clone()];
            let connector = EdgeConnector::new(&machine, KeyAlgorithm::P256, &roots, &[alpn]).expect("a good root");
            let conn = machine.net().connect(address).await.map_err(|error| error.to_string())?;
            let secured = connector.connect(conn, sni).await.map_err(|error| error.to_string())?;
            assert_eq!(secured.alpn.as_deref(), Some(alpn));
            let mut sender = connect(&machine, secured.conn, version).await.map_err(|error| error.to_string())?;
            let request = match version {
                Version::Http1 => Request::get("/items").header("host", host),
                Version::Http2 => Request::get(format!("https://{host}/items")).version(http::Version::HTTP_2),
            };
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            let (head, body) = sender.send(request).await.map_err(|error| error.to_string())?.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        process::run(asking).expect("a runtime")
    }
}

fn mesh(app: SocketAddr) -> String {
    format!(
        "\
apiVersion: v1
kind: Service
metadata: {{name: stock, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: stock, namespace: shop, labels: {{kubernetes.io/service-name: stock}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: shop}}
spec:
  gatewayClassName: squall
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - name: shop
      port: 443
      protocol: HTTPS
      hostname: shop.example.com
      tls: {{certificateRefs: [{{name: shop-tls}}]}}
    - name: rest
      port: 443
      protocol: HTTPS
      hostname: \"*.example.com\"
      tls: {{mode: Terminate, certificateRefs: [{{kind: Secret, name: rest-tls}}]}}
",
        port = app.port()
    )
}

fn route(hostname: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: stock, namespace: shop}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.example.com, {hostname}]
  rules: [{{backendRefs: [{{name: stock, port: 80}}]}}]
"
    )
}

/// A Secret with what two files hold.
fn secret(name: &str, chain: &Path, key: &Path) -> String {
    let indented = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("just written");
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let (chain, key) = (indented(chain), indented(key));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n{chain}  tls.key: |\n{key}"
    )
}

#[test]
fn a_gateway_of_files_takes_what_comes_from_outside_and_follows_them() {
    let dir = directory("gateway");
    let (app, authority) = (App::start(), Authority::new());
    let (chain, key, rest) = (dir.join("shop.pem"), dir.join("shop.key"), dir.join("rest"));
    authority.write("*.example.com", &rest.with_extension("pem"), &rest.with_extension("key"));
    let written = secret("rest-tls", &rest.with_extension("pem"), &rest.with_extension("key"));
    let of_rest = std::fs::read_to_string(rest.with_extension("key")).expect("just written");
    write(&dir.join("mesh/secret.yaml"), &written);
    authority.write("shop.example.com", &chain, &key);
    write(&dir.join("mesh/mesh.yaml"), &mesh(app.address));
    write(&dir.join("mesh/route.yaml"), &route("pay.example.com"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (mesh, certificate) = (text(&dir.join("mesh")), format!("shop-tls={},{}", text(&chain), text(&key)));
    let args = ["--mesh", &mesh, "--plaintext", "--service-account", "shop/edge", "--admin", "127.0.0.1:0"];
    let more = ["--listen", "127.0.0.1:0=80", "--listen", "127.0.0.1:0=443", "--certificate", &certificate];
    let mut gateway = Process::start("gateway", &[&args[..], &more].concat());
    let listens = gateway.line("the gateway listens");
    let (entrances, admin) = (listens.text("entrances"), listens.text("admin"));
    let (http, https) = entrances.split_once(' ').expect("two of them");
    gateway.line("the proxy is ready");

    let answer = get(http, "shop.example.com", "/items");
    assert_eq!((answer.status, answer.line("x-forwarded-proto").as_str()), (200, "http"), "{answer:?}");
    assert_eq!(get(http, "example.org", "/").status, 404);
    for version in [Version::Http1, Version::Http2] {
        for name in ["shop.example.com", "pay.example.com"] {
            let answer = authority.get(https, name, name, version).expect("a certificate for it");
            assert_eq!((answer.status, answer.line("x-forwarded-proto").as_str()), (200, "https"), "{answer:?}");
            assert_eq!(
                (answer.line("x-forwarded-host"), answer.line("x-forwarded-for")),
                (name.into(), "127.0.0.1".into())
            );
        }
        let answer = authority.get(https, "pay.example.com", "shop.example.com", version).expect("an answer");
        assert_eq!(answer.status, 421, "another listener's");
        let answer = authority.get(https, "cart.example.com", "cart.example.com", version).expect("an answer");
        assert_eq!(answer.status, 404, "no route's");
    }
    authority.get(https, "example.org", "example.org", Version::Http2).expect_err("nobody's name");

    // Another authority's certificate replaces the one in files, and a route the one before.
    let next = Authority::new();
    next.write("shop.example.com", &chain, &key);
    gateway.line("the files of the gateway are in force");
    authority.get(https, "shop.example.com", "shop.example.com", Version::Http2).expect_err("not the old one's");
    assert_eq!(
        next.get(https, "shop.example.com", "shop.example.com", Version::Http2).expect("the new one's").status,
        200
    );
    write(&dir.join("mesh/route.yaml"), &route("cart.example.com"));
    gateway.line("the files of the gateway are in force");
    assert_eq!(get(http, "cart.example.com", "/").status, 200);
    assert_eq!(get(http, "pay.example.com", "/").status, 404);

    // What does not belong together changes nothing.
    authority.write("shop.example.com", &chain, &rest.with_extension("other"));
    let refused = gateway.line("certificate or key cannot be used").text("place");
    assert!(refused.contains("shop.pem"), "{refused}");
    gateway.line("the files of the gateway are refused");
    assert_eq!(next.get(https, "shop.example.com", "shop.example.com", Version::Http1).expect("still").status, 200);

    // Nobody is shown a key.
    let config = get(&admin, "x", "/config").body;
    assert!(
        config.contains("\"name\":\"shop/edge rest\"") && config.contains("\"name\":\"shop/shop-tls\""),
        "{config}"
    );
    let secret = of_rest.lines().nth(1).expect("a line of the key");
    assert!(!config.contains("PRIVATE KEY") && !config.contains(secret));
    assert!(get(&admin, "x", "/metrics").body.contains("squall_peers_refused_total"));
    gateway.terminate();
    assert_eq!(gateway.ends(), Some(0));
    assert!(!gateway.seen.join("\n").contains(secret) && !gateway.seen.join("\n").contains("PRIVATE KEY"));
}

/// What is answered to these bytes, until the end.
#[expect(clippy::disallowed_types, reason = "a load balancer is no program of ours")]
fn say(at: &str, bytes: &[u8]) -> String {
    let mut conn = std::net::TcpStream::connect(at).expect("it listens");
    conn.write_all(bytes).expect("the kernel has room");
    let mut answer = Vec::new();
    // A reset is no answer either.
    let _ = conn.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_gateway_behind_a_load_balancer_takes_the_balancers_word_for_who_the_client_is() {
    let dir = directory("gateway-balanced");
    let (app, file) = (App::start(), dir.join("gateway.yaml"));
    let text = mesh(app.address);
    let (before, _) = text.split_once("    - name: shop").expect("the listeners with TLS come last");
    write(&dir.join("mesh/mesh.yaml"), before);
    write(&dir.join("mesh/route.yaml"), &route("pay.example.com"));
    write(&file, "proxyProtocol: true\nserviceAccount: shop/edge\nadmin: 127.0.0.1:0\nplaintext: true\n");
    let (mesh, file) = (dir.join("mesh"), file.to_str().expect("UTF-8").to_owned());
    let args = ["--config", &file, "--mesh", mesh.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0=80"];
    let mut gateway = Process::start("gateway", &args);
    let listens = gateway.line("the gateway listens");
    let (at, admin) = (listens.text("entrances"), listens.text("admin"));
    gateway.line("the proxy is ready");
    let request = "GET /items HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n";
    let line = "PROXY TCP4 198.51.100.8 203.0.113.1 56324 80\r\n";
    let answer = say(&at, format!("{line}{request}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-forwarded-for: 198.51.100.8\n"), "{answer}");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\xcb\0\x71\x01\xdc\x04\x01\xbb";
    let answer = say(&at, &[&binary[..], request.as_bytes()].concat());
    assert!(answer.contains("x-forwarded-for: 198.51.100.7\n"), "{answer}");
    assert_eq!(say(&at, request.as_bytes()), "", "nobody said who it is");
    gateway.line("it does not begin with a header of the PROXY protocol");
    let page = get(&admin, "x", "/metrics").body;
    assert!(page.contains("squall_peers_refused_total{reason=\"proxy-protocol\"} 1\n"), "{page}");
    gateway.terminate();
    assert_eq!(gateway.ends(), Some(0));
}

/// What a gateway says that does not start.
#[track_caller]
fn refused(dir: &Path, more: &[&str], want: &str) {
    let mesh = dir.join("mesh");
    let args = ["--mesh", mesh.to_str().expect("UTF-8"), "--plaintext", "--admin", "127.0.0.1:0"];
    let mut gateway = Process::start("gateway", &[&args[..], more].concat());
    gateway.line(want);
    assert_eq!(gateway.ends(), Some(2), "{want}");
    assert!(!gateway.seen.join("\n").contains("PRIVATE KEY"));
}

#[test]
fn a_gateway_that_could_not_do_as_it_is_told_does_not_start() {
    let dir = directory("gateway-refused");
    let (authority, rest) = (Authority::new(), dir.join("rest"));
    authority.write("*.example.com", &rest.with_extension("pem"), &rest.with_extension("key"));
    write(&dir.join("mesh/mesh.yaml"), &mesh("127.0.0.1:1".parse().expect("an address")));
    let account = ["--service-account", "shop/edge"];
    let ports = ["--listen", "127.0.0.1:0=80", "--listen", "127.0.0.1:0=443"];
    let (chain, key) = (rest.with_extension("pem"), rest.with_extension("key"));
    let files = format!("{},{}", chain.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let (shop, typo) = (format!("shop-tls={files}"), format!("shop-tsl={files}"));
    refused(
        &dir,
        &["--service-account", "shop/front", ports[0], ports[1], ports[2], ports[3]],
        "no Gateway runs as `shop/front`",
    );
    refused(&dir, &[&account[..], &ports[..2]].concat(), "nothing listens for this listener's port 443");
    let third = ["--listen", "127.0.0.1:0=8080"];
    refused(&dir, &[&account[..], &ports, &third].concat(), "the Gateway has no listener of port 8080");
    refused(&dir, &[&account[..], &ports].concat(), "no certificate `shop/shop-tls` is given");
    let given = ["--certificate", shop.as_str(), "--certificate", typo.as_str()];
    refused(&dir, &[&account[..], &ports, &given].concat(), "no listener names the certificate `shop/shop-tsl`");
    // A file with a key in it is never shown, whatever is wrong with it.
    let secret = secret("rest-tls", &rest.with_extension("pem"), &rest.with_extension("key"));
    write(&dir.join("mesh/secret.yaml"), &secret.replace("stringData:", "stringDta:"));
    refused(&dir, &[&account[..], &ports].concat(), "`stringDta` is not a field of Secret");
}

#[test]
fn a_gateway_follows_a_control_plane_and_calls_as_itself() {
    let dir = directory("gateway-control");
    let (app, authority) = (App::start(), Authority::new());
    let (chain, key) = (dir.join("shop.pem"), dir.join("shop.key"));
    authority.write("shop.example.com", &chain, &key);
    write(&dir.join("tokens"), "0123456789abcdef0 shop/edge\n0123456789abcdef1 shop/stock\n");
    write(&dir.join("edge.token"), "0123456789abcdef0\n");
    write(&dir.join("stock.token"), "0123456789abcdef1\n");
    let manifests = |port: u16| {
        let labels = "labels: {kubernetes.io/service-name: stock}}";
        let account = format!("annotations: {{squall.dev/service-account: stock}}, {labels}");
        let mesh = mesh(SocketAddr::from(([127, 0, 0, 1], port))).replace(labels, &account);
        mesh.replace("[{addresses: [127.0.0.1]}]", "[{addresses: [127.0.0.1], targetRef: {kind: Pod, name: stock-0}}]")
    };
    write(&dir.join("mesh/mesh.yaml"), &manifests(1));
    let mut plane = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    let plane_at = plane.line("the control plane listens").text("at");
    let start =
        |command: &str, name: &str, more: &[&str]| Process::start(command, &member(&dir, &plane_at, name, more));
    let inbound = format!("127.0.0.1:0={}", app.address);
    let mut stock = start("proxy", "stock", &["--pod", "stock-0", "--inbound", &inbound]);
    let stock_at = stock.line("the proxy listens").text("inbound");
    let port = stock_at.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let certificate = format!("shop/shop-tls={},{}", chain.display(), key.display());
    let listen = ["--listen", "127.0.0.1:0=80", "--listen", "127.0.0.1:0=443", "--certificate", &certificate];
    let mut edge = start("gateway", "edge", &listen);
    let entrances = edge.line("the gateway listens").text("entrances");
    let (http, https) = entrances.split_once(' ').expect("two of them");
    edge.line("the proxy is ready");
    stock.line("the proxy is ready");
    assert_eq!(get(http, "shop.example.com", "/").status, 404, "there is no route yet");

    write(&dir.join("mesh/mesh.yaml"), &manifests(port));
    write(&dir.join("mesh/route.yaml"), &route("pay.example.com"));
    edge.line("a mesh is in force");
    let mut answer = get(http, "shop.example.com", "/items");
    // The two files may come one after the other, and to the sidecar later than to the gateway.
    while matches!(
        (answer.status, answer.header("squall-reason")),
        (404, _) | (503, "no-endpoints" | "unknown-port" | "connect-failure")
    ) {
        answer = get(http, "shop.example.com", "/items");
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.line("x-forwarded-client-cert"), "URI=spiffe://cluster.local/ns/shop/sa/edge", "by mutual TLS");
    let answer = authority.get(https, "shop.example.com", "shop.example.com", Version::Http2).expect("a certificate");
    assert_eq!((answer.status, answer.line("x-forwarded-proto")), (200, "https".to_owned()));
    authority
        .get(https, "pay.example.com", "pay.example.com", Version::Http2)
        .expect_err("its certificate is not given");

    // A private key is nothing for a control plane.
    write(&dir.join("mesh/secret.yaml"), &secret("rest-tls", &chain, &key));
    let refused = plane.line("a control plane has no use for a Secret");
    assert!(refused.text("help").contains("--certificate shop/rest-tls=CERT,KEY"), "{refused:?}");
    edge.terminate();
    assert_eq!(edge.ends(), Some(0));
    assert!(!plane.seen.join("\n").contains("PRIVATE KEY"));
}
