//! `squall control`: the control plane as a process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use squall_control::watch::{self, Taker, Texts};
use squall_control::{
    Authority, Control, ControlConfig, Mistake, Registry, Report, Resources, ReviewConfig, TokenReview, tokens, units,
};
use squall_net::page::{Answer, Asked, Page, serve_pages};
use squall_net::process::{self, StopSignals};
use squall_net::tcp::Tcp;
use squall_net::{Host, pem};

use crate::disk::{self, Followed, Shown};
use crate::exit::Exit;
use crate::logs::{self, Log, LogFormat};
use crate::out::Lines;
use crate::screen::Screen;
use crate::state;

/// Run the control plane: follow a directory of manifests, push the mesh to every proxy, sign their certificates
///
/// The directory holds the mesh as Kubernetes YAML: Service, EndpointSlice, HTTPRoute, TrafficPolicy, FaultInjection. It is looked at four times
/// a second; what changes is in force within a second. A file with a mistake, or half a file, turns nothing off: the last good
/// mesh stays, and the mistake is shown with its place.
///
/// An EndpointSlice says who is where. Its annotation `squall.dev/service-account` says as whom these pods run, which is whom
/// their sidecars must prove to be; without it they run as `default`.
///
/// The control plane is the mesh's certificate authority. It makes a root at its first start and keeps it in --state:
/// `root.pem`, which every proxy is given as --trust, and `root-key.pem`, which never leaves it. A proxy makes its own key and
/// gets a certificate for it by a join token from --tokens, or by the token of its Kubernetes service account, about which --api-server
/// is asked (a TokenReview): it must be for the audience --audience.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  openssl rand -hex 16                               a token
  echo '4f0c… shop/front' >> tokens                  who has it may be `front` of namespace `shop`
  squall control --from mesh/ --tokens tokens --state /var/lib/squall
  squall control --from /mesh --api-server in-cluster --state /state       service accounts, as Kubernetes knows them

Pages of --admin: /ready  /live  /metrics  /root.pem (the roots, for --trust)  /log-level, and on loopback POST /change-root and
PUT or POST /log-level

A changed root is trusted beside the old one for a life of a certificate, signs for another while the old one is still trusted, and
then is the only one. Running proxies learn of it with their next certificate, and no request fails. Who starts a proxy needs the
`root.pem` of that time.

SIGTERM or SIGINT end it. Proxies keep what they have, and look for it until it is back.

Exit codes:
  0  it was asked to end
  2  the arguments or the files are wrong
  4  the machine failed: a port is taken, a disk is full")]
pub(crate) struct ControlArgs {
    /// The mesh: a directory of Kubernetes YAML, or one file
    #[arg(long, value_name = "DIR", env = "SQUALL_FROM")]
    from: PathBuf,

    /// Join tokens, one a line: TOKEN NAMESPACE/SERVICE-ACCOUNT. Followed as the directory is
    #[arg(long, value_name = "FILE", env = "SQUALL_TOKENS", required_unless_present = "api_server")]
    tokens: Option<PathBuf>,

    #[command(flatten)]
    review: ReviewArgs,

    /// Where the root is kept; made at the first start
    #[arg(long, value_name = "DIR", env = "SQUALL_STATE", default_value = "squall-state")]
    state: PathBuf,

    /// Where proxies connect (TLS, HTTP/2)
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_LISTEN", default_value = "0.0.0.0:15010")]
    listen: SocketAddr,

    /// Where probes and Prometheus ask
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_ADMIN", default_value = "127.0.0.1:15014")]
    admin: SocketAddr,

    /// How long certificates last; proxies renew at half of it
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = life)]
    certificate_life: Duration,

    /// Change the root when it is so old, at least four lives of a certificate; without this only when POST /change-root asks for it
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    root_life: Option<Duration>,

    /// How the log on stderr looks; RUST_LOG says what is in it
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "SQUALL_LOG")]
    log: LogFormat,
}

/// Whom to ask about the tokens of service accounts.
#[derive(clap::Args)]
struct ReviewArgs {
    /// A Kubernetes API server that says whose service-account tokens are: https://HOST:PORT, or `in-cluster` for that of the pod's own
    /// cluster. The control plane's service account needs leave to create `tokenreviews`
    #[arg(long, value_name = "URL", env = "SQUALL_API_SERVER")]
    api_server: Option<String>,

    /// Who signs the API server's certificate, PEM [default in-cluster: that of the pod's service account]
    #[arg(long, value_name = "FILE", env = "SQUALL_API_SERVER_CA", requires = "api_server")]
    api_server_ca: Option<PathBuf>,

    /// The control plane's own token for the API server; read anew each time [default in-cluster: that of the pod's service account]
    #[arg(long, value_name = "FILE", env = "SQUALL_API_SERVER_TOKEN", requires = "api_server")]
    api_server_token: Option<PathBuf>,

    /// The audience that the tokens of proxies must be for
    #[arg(long, value_name = "NAME", env = "SQUALL_AUDIENCE", default_value = "squall")]
    audience: String,
}

/// Where Kubernetes puts what a pod needs for the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl ReviewArgs {
    /// What it all means; `None`: no API server is asked.
    fn config(&self) -> Result<Option<ReviewConfig>, String> {
        let Some(server) = &self.api_server else { return Ok(None) };
        let own = |name: &str| (server == IN_CLUSTER).then(|| Path::new(SERVICE_ACCOUNT).join(name));
        let file = |given: &Option<PathBuf>, flag: &str, name: &str| {
            let found = given.clone().or_else(|| own(name));
            found.ok_or_else(|| format!("{flag} FILE is missing: only --api-server {IN_CLUSTER} has one of its own"))
        };
        let (host, port) = if server == IN_CLUSTER { in_cluster()? } else { host_and_port(server)? };
        let ca = file(&self.api_server_ca, "--api-server-ca", "ca.crt")?;
        let text = disk::read(&ca).map_err(|mistake| format!("--api-server-ca {mistake}"))?;
        let roots = pem::certificates(&text).map_err(|error| format!("--api-server-ca {}: {error}", ca.display()))?;
        let token = file(&self.api_server_token, "--api-server-token", "token")?;
        disk::secret(&token).map_err(|why| format!("--api-server-token {why}"))?;
        if self.audience.trim().is_empty() {
            return Err("--audience must not be empty".to_owned());
        }
        let own_token = disk::secret_source(&token);
        Ok(Some(ReviewConfig { host, port, roots, own_token, audience: self.audience.clone() }))
    }
}

const IN_CLUSTER: &str = "in-cluster";

/// What Kubernetes tells every pod.
fn in_cluster() -> Result<(String, u16), String> {
    let told = |name: &str| {
        std::env::var(name).map_err(|_| format!("--api-server {IN_CLUSTER}: {name} is not set; is this a pod?"))
    };
    let port = told("KUBERNETES_SERVICE_PORT")?;
    let port = port.parse().map_err(|_| format!("KUBERNETES_SERVICE_PORT `{port}` is no port"))?;
    Ok((told("KUBERNETES_SERVICE_HOST")?, port))
}

fn host_and_port(url: &str) -> Result<(String, u16), String> {
    let said = format!("say https://HOST:PORT, or `{IN_CLUSTER}`");
    let uri: http::Uri = url.parse().map_err(|_| format!("--api-server `{url}` is no URL; {said}"))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("--api-server `{url}`: tokens are only sent by https; {said}"));
    }
    let is_bare = uri.path() == "/" && uri.query().is_none() && !url.contains(['@', '#']);
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = if uri.port().is_some() { uri.port_u16() } else { Some(443) };
    match port {
        Some(port) if is_bare && port > 0 && !host.is_empty() => Ok((host, port)),
        _ => Err(format!("--api-server `{url}` is more or less than host and port; {said}")),
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = units::duration(text)?;
    let (least, most) = (Duration::from_secs(2), Duration::from_secs(365 * 24 * 3600));
    if (least..=most).contains(&life) { Ok(life) } else { Err("must be between 2s and 8760h".into()) }
}

pub(crate) fn run(args: &ControlArgs, mut screen: Screen) -> Exit {
    let report = Arc::new(Report::new());
    let counts = Arc::clone(&report);
    let lines = match Lines::to_stderr(Arc::new(move |lines| counts.log_lines_dropped(lines))) {
        Ok(lines) => lines,
        Err(error) => {
            screen.aside(&format!("error: the machine gives no descriptor: {error}"));
            return Exit::Infrastructure;
        }
    };
    let log = logs::start(args.log, screen.color_stderr, &lines);
    process::give_memory_back_soon();
    if let Err(error) = process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    let shown = Shown { log: log.clone(), format: args.log, color: screen.color_stderr, secret: args.tokens.clone() };
    let exit = match process::run(serve(args, log, shown, report)) {
        Ok(exit) => exit,
        Err(error) => fail(&format!("the machine gives no runtime: {error}"), Exit::Infrastructure),
    };
    lines.end();
    exit
}

fn fail(why: &str, exit: Exit) -> Exit {
    tracing::error!("{why}");
    exit
}

async fn serve(args: &ControlArgs, log: Log, shown: Shown, report: Arc<Report>) -> Exit {
    let host = Tcp::host();
    let mut signals = match StopSignals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot take signals: {error}"), Exit::Infrastructure),
    };
    if args.root_life.is_some_and(|life| life < args.certificate_life * 4) {
        return fail(
            "--root-life must be at least four times --certificate-life: changing a root takes two",
            Exit::BadInput,
        );
    }
    let authority = match state::authority(&args.state, &host, args.certificate_life) {
        Ok(authority) => Arc::new(authority),
        Err(why) => return fail(&why, Exit::BadInput),
    };
    let review = match args.review.config() {
        Ok(config) => config.map(|config| TokenReview::new(&host, config)).transpose(),
        Err(why) => return fail(&why, Exit::BadInput),
    };
    let review = match review {
        Ok(review) => review,
        Err(error) => return fail(&format!("--api-server-ca: {error}"), Exit::BadInput),
    };
    let config = ControlConfig {
        listen: args.listen,
        resources: Resources::default(),
        registry: Arc::new(Registry::new()),
        authority: Arc::clone(&authority),
        tokens: BTreeMap::new(),
        review,
        recorder: Arc::clone(&report) as _,
    };
    let control = Control::new(host.clone(), config);
    let files = Arc::new(Followed { mesh: args.from.clone(), also: args.tokens.clone() });
    let taker = Arc::new(Told {
        control: control.clone(),
        tokens: args.tokens.as_ref().map(|file| file.to_string_lossy().into()),
        report: Arc::clone(&report),
        shown,
    });
    let first = match watch::first(files.as_ref(), taker.as_ref()) {
        Ok(first) => first,
        Err((mistakes, texts)) => {
            taker.shown.show(&mistakes, &texts);
            return fail("no mesh to begin with", Exit::BadInput);
        }
    };
    taker.taken(&first);
    if let Err(error) = admin(&host, args, log, &authority, Arc::clone(&report)).await {
        return fail(&format!("cannot listen at {}: {error}", args.admin), Exit::Infrastructure);
    }
    host.spawn("control root", state::follow(args.state.clone(), authority, host.clone(), args.root_life));
    host.spawn("control watch", watch::follow(host.clone(), files, Arc::clone(&taker) as _, first));
    let asked = async { Ended::Asked(signals.next().await) };
    // Dropping it ends every stream.
    let served = async { Ended::Died(control.run().await.map_or_else(|error| error.to_string(), |()| String::new())) };
    match process::first_of(asked, served).await {
        Ended::Asked(signal) => {
            tracing::info!(signal, "the control plane ends");
            Exit::Pass
        }
        Ended::Died(why) => fail(&why, Exit::Infrastructure),
    }
}

/// Why it ends.
enum Ended {
    /// By this signal.
    Asked(&'static str),
    /// It cannot go on.
    Died(String),
}

async fn admin(
    host: &Host,
    args: &ControlArgs,
    log: Log,
    authority: &Arc<Authority>,
    report: Arc<Report>,
) -> std::io::Result<()> {
    let listener = host.net().listen(args.admin).await?;
    let (directory, authority, of_pages) = (args.state.clone(), Arc::clone(authority), host.clone());
    let is_private = args.admin.ip().is_loopback();
    tracing::info!(at = %listener.local(), "the admin pages are served");
    let answer: Answer = Arc::new(move |&Asked { method, path, words, .. }| {
        if path == "/log-level" {
            let is_question = method == "GET" || method == "HEAD";
            if !is_private && !is_question {
                return Page::text(403, "only where --admin is a loopback address");
            }
            return log.page(method, words);
        }
        if path == "/change-root" {
            if !is_private {
                return Page::text(403, "only where --admin is a loopback address");
            }
            if method != "POST" {
                return Page::wrong_method("POST");
            }
            return match state::change_root(&directory, &authority, &of_pages) {
                Ok(()) => Page::text(200, "a new root is trusted, and signs after one life of a certificate"),
                Err(why) => Page::text(409, why),
            };
        }
        if method != "GET" && method != "HEAD" {
            return Page::wrong_method("GET, HEAD");
        }
        match path {
            "/" => Page::text(200, "/ready  /live  /metrics  /root.pem  /log-level  POST /change-root"),
            "/root.pem" => {
                let roots = authority.roots();
                Page::text(200, roots.iter().map(|root| pem::encode("CERTIFICATE", root)).collect::<String>())
            }
            "/ready" if report.is_listening() => Page::text(200, "ready"),
            "/ready" => Page::text(503, "does not listen yet"),
            "/live" => Page::text(200, "live"),
            "/metrics" => Page::metrics(report.render()),
            _ => Page::text(404, format!("there is no {path:?} here; see /")),
        }
    });
    host.spawn("admin", serve_pages(host.clone(), listener, answer));
    Ok(())
}

/// Takes what the files say.
struct Told {
    control: Control,
    /// The name of the token file among them.
    tokens: Option<Arc<str>>,
    report: Arc<Report>,
    shown: Shown,
}

impl Taker for Told {
    fn take(&self, files: &Texts) -> Result<(), Vec<Mistake>> {
        let mesh: Vec<(&str, &str)> = files
            .iter()
            .filter(|(name, _)| Some(*name) != self.tokens.as_ref())
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let proven = self
            .tokens
            .as_ref()
            .and_then(|name| Some(tokens::read(name, files.get(name)?)))
            .unwrap_or(Ok(BTreeMap::new()));
        // Both are read, so that every mistake is shown; neither is taken without the other.
        let (resources, proven) = match (Resources::read(&mesh), proven) {
            (Ok(resources), Ok(proven)) => (resources, proven),
            (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => return Err(mistakes),
            (Err(mut mistakes), Err(more)) => {
                mistakes.extend(more);
                return Err(mistakes);
            }
        };
        let secrets = resources.given_certificates().map(|secret| {
            let mistake = Mistake::new(
                secret.place,
                "a control plane has no use for a Secret: no private key is sent to a proxy",
            );
            mistake.help(format!("give the file to the gateway: --certificate {}=CERT,KEY", secret.name))
        });
        let secrets: Vec<Mistake> = secrets.collect();
        if !secrets.is_empty() {
            return Err(secrets);
        }
        self.control.update(resources)?;
        self.control.set_tokens(proven);
        Ok(())
    }

    fn taken(&self, files: &Texts) {
        self.report.files_taken(files.len());
    }

    fn refused(&self, mistakes: &[Mistake], files: &Texts) {
        self.shown.show(mistakes, files);
        self.report.files_refused(mistakes.len());
    }
}
