//! `squall proxy`: a sidecar as a process.

mod args;
mod gateway;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use squall_control::units;
use squall_control::watch::{self, Files, Taker, Texts};
use squall_control::{CONTROL_ID, Mistake, NodeInfo, RegistrySnapshot, Resources, compile};
use squall_net::http::ServeLimits;
use squall_net::page::serve_pages;
use squall_net::process::{self, StopSignals, first_of};
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after, pem};
use squall_policy::{BackendName, Mesh};
use squall_proxy::{
    AccessLog, ControlSource, Exporter, IdentitySource, InboundListener, Lifecycle, Metrics, Node, Proxy, ProxyConfig,
    Recorder, Sampling, Several, Source, Tap, pages, probes,
};

pub(crate) use args::ProxyArgs;
pub(crate) use gateway::GatewayArgs;
use settings::{Certificate, From, Settings};

use crate::disk::{self, Followed, Shown};
use crate::exit::Exit;
use crate::logs::{self, Log};
use crate::mistakes;
use crate::out::Lines;
use crate::screen::Screen;
use crate::threads;

/// How long is waited before a name that is not found is looked up again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// How long the last spans may take to get to their collector when everything else has ended.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// Where redirected connections come in, if nothing else is said: the application's own, and those for it (Istio's).
pub(crate) const INTERCEPT_OUTBOUND: u16 = 15001;
pub(crate) const INTERCEPT_INBOUND: u16 = 15006;

pub(crate) fn run(args: ProxyArgs, screen: Screen) -> Exit {
    start("proxy", settings::of(args), screen)
}

/// `squall gateway`.
pub(crate) fn run_gateway(args: GatewayArgs, screen: Screen) -> Exit {
    start("gateway", gateway::of(args), screen)
}

fn start(command: &str, settings: Result<Settings, settings::Wrong>, mut screen: Screen) -> Exit {
    let settings = match settings {
        Ok(settings) => settings,
        Err(settings::Wrong::Words(why)) => {
            screen.aside(&format!("error: {why}\n\nFor more information, try 'squall {command} --help'."));
            return Exit::BadInput;
        }
        Err(settings::Wrong::File(refusal)) => {
            mistakes::show(&mut screen, &refusal);
            return Exit::BadInput;
        }
    };
    let metrics = Arc::new(Metrics::new());
    let [of_log, of_access_log] = [Arc::clone(&metrics), Arc::clone(&metrics)];
    let (logged, accessed) = match (
        Lines::to_stderr(Arc::new(move |lines| of_log.log_lines_dropped(lines))),
        Lines::to_stdout("the access log", Arc::new(move |lines| of_access_log.lines_dropped(lines))),
    ) {
        (Ok(logged), Ok(accessed)) => (logged, accessed),
        (Err(error), _) | (_, Err(error)) => {
            screen.aside(&format!("error: the machine gives no descriptor: {error}"));
            return Exit::Infrastructure;
        }
    };
    let log = logs::start(settings.log, screen.color_stderr, &logged);
    process::give_memory_back_soon();
    if let Err(error) = process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    let shown = Shown { log: log.clone(), format: settings.log, color: screen.color_stderr, secret: None };
    let exit = threads::beside(|spawn| {
        let served = process::run(serve(&settings, log, shown, &accessed, metrics, spawn));
        served.unwrap_or_else(|error| infrastructure(&format!("the machine gives no runtime: {error}")))
    });
    accessed.end();
    logged.end();
    exit
}

fn infrastructure(why: &str) -> Exit {
    tracing::error!("{why}");
    Exit::Infrastructure
}

fn bad_input(why: &str) -> Exit {
    tracing::error!("{why}");
    Exit::BadInput
}

/// Starts a thread that is joined before the process ends.
type Spawn<'s> = dyn Fn(Box<dyn FnOnce() + Send>) + 's;

async fn serve(
    settings: &Settings,
    log: Log,
    shown: Shown,
    lines: &Lines,
    metrics: Arc<Metrics>,
    spawn: &Spawn<'_>,
) -> Exit {
    let mut signals = match StopSignals::new() {
        Ok(signals) => signals,
        Err(error) => return infrastructure(&format!("cannot take signals: {error}")),
    };
    let host = if settings.workers > 1 { Tcp::sharing_host() } else { Tcp::host() };
    let tap = Arc::new(Tap::new(Arc::clone(host.wall())));
    let mut recorders: Vec<Arc<dyn Recorder>> =
        vec![Arc::clone(&metrics) as _, Arc::new(Lifecycle::default()), Arc::clone(&tap) as _];
    if let Some(format) = settings.access_log {
        let sink = lines.sink();
        let sink = Box::new(move |line: &str| sink.send(line.as_bytes()));
        recorders.push(Arc::new(AccessLog::new(format, Arc::clone(host.wall()), sink)));
    }
    let node = node(settings);
    let traces = settings.traces.as_ref().map(|(collector, _)| {
        let told = Several::new(vec![Arc::clone(&metrics) as _, Arc::new(Lifecycle::default())]);
        Exporter::start(&host, collector.clone(), &node, Arc::new(told))
    });
    recorders.extend(traces.as_ref().map(|traces| traces.spans() as Arc<dyn Recorder>));
    let starting = async {
        let Found { source, identity, certificates, follow } = match source(settings, &host, shown).await {
            Ok(found) => found,
            Err(why) => return Err(bad_input(&why)),
        };
        let entrances = settings.outside.as_ref().map(|outside| outside.entrances.clone());
        let config = ProxyConfig {
            node,
            outbound: settings.outbound,
            inbound: settings.inbound.clone(),
            streams: settings.streams.clone(),
            entrances: entrances.unwrap_or_default(),
            certificates,
            interception: settings.interception.clone(),
            detect_timeout: settings.detect_timeout,
            handshakes: settings.handshakes,
            source,
            identity,
            key_algorithm: KeyAlgorithm::P256,
            limits: ServeLimits::default(),
            tracing: settings.traces.as_ref().map(|(_, sampling)| *sampling),
            recorder: Arc::new(Several::new(recorders)),
        };
        let proxy = Proxy::start(&host, config).await.map_err(|error| infrastructure(&error.to_string()))?;
        Ok(Some((Arc::new(proxy), follow)))
    };
    // A name that is never found must not keep the process from ending.
    let stopped = async {
        signals.next().await;
        Ok(None)
    };
    let (proxy, follow) = match first_of(starting, stopped).await {
        Ok(Some(started)) => started,
        Ok(None) => return Exit::Pass,
        Err(exit) => return exit,
    };
    if let Some(follow) = follow {
        follow.begin(&host, &proxy);
    }
    for _ in 1..settings.workers {
        let proxy = Arc::clone(&proxy);
        spawn(Box::new(move || worker(&proxy)));
    }
    let drain = Arc::new(Wanted::default());
    let asked = Arc::clone(&drain);
    let admin = match host.net().listen(settings.admin).await {
        Ok(listener) => listener,
        Err(error) => {
            proxy.drain(Duration::ZERO).await;
            return infrastructure(&format!("cannot listen at {}: {error}", settings.admin));
        }
    };
    let probed = match settings.probes {
        Some(at) => match host.net().listen(at).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                proxy.drain(Duration::ZERO).await;
                return infrastructure(&format!("cannot listen at {at}: {error}"));
            }
        },
        None => None,
    };
    say_where(&proxy, admin.local(), settings.workers);
    let log_level = move |method: &http::Method, words: &str| log.page(method, words);
    let answer = pages(Arc::clone(&proxy), metrics, tap, move || asked.raise(), log_level);
    host.spawn("admin", serve_pages(host.clone(), admin, answer));
    if let Some(listener) = probed {
        tracing::info!(at = %listener.local(), "probes are answered");
        host.spawn("probes", serve_pages(host.clone(), listener, probes(Arc::clone(&proxy))));
    }
    let told = Arc::clone(&proxy);
    host.spawn("proxy readiness", async move {
        told.ready().await;
        tracing::info!("the proxy is ready");
    });
    let why = first_of(signals.next(), async {
        drain.wait().await;
        "POST /drain"
    });
    let why = why.await;
    let limit_s = settings.drain_time.as_secs();
    tracing::info!(why, limit_s, "the proxy drains");
    let drained = async {
        proxy.drain(settings.drain_time).await;
        if let Some(traces) = &traces {
            traces.flush(FLUSH_TIME).await;
        }
        Exit::Pass
    };
    let hurried = async {
        let signal = signals.next().await;
        tracing::warn!(signal, "asked a second time: what is in flight is cut off");
        proxy.drain(Duration::ZERO).await;
        Exit::Failed
    };
    let exit = first_of(drained, hurried).await;
    tracing::info!("the proxy has ended");
    exit
}

/// A thread that serves the same listeners.
fn worker(proxy: &Arc<Proxy>) {
    let served = process::run(async {
        // Made here: its dice and its timers are this thread's.
        let host = Tcp::sharing_host();
        match proxy.join(&host).await {
            Ok(()) => proxy.closed().await,
            Err(error) => tracing::error!(%error, "a worker cannot serve"),
        }
    });
    if let Err(error) = served {
        tracing::error!(%error, "a worker has no runtime");
    }
}

fn say_where(proxy: &Proxy, admin: SocketAddr, workers: u16) {
    let inbound: Vec<String> = proxy.inbound().iter().map(ToString::to_string).collect();
    let outbound = proxy.outbound().map_or_else(|| "none".to_owned(), |at| at.to_string());
    let entrances = proxy.entrances();
    if entrances.is_empty() {
        tracing::info!(outbound, inbound = inbound.join(" "), %admin, workers, "the proxy listens");
    } else {
        let entrances: Vec<String> = entrances.iter().map(ToString::to_string).collect();
        tracing::info!(entrances = entrances.join(" "), %admin, workers, "the gateway listens");
    }
}

/// Something that is wanted once.
#[derive(Default)]
struct Wanted(Mutex<(bool, Option<std::task::Waker>)>);

impl Wanted {
    fn raise(&self) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            state.1 = Some(cx.waker().clone());
            if state.0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

fn node(settings: &Settings) -> Node {
    let first = settings.inbound.first().map(|listener| listener.listen.ip()).filter(|ip| !ip.is_unspecified());
    Node {
        ip: settings.ip.or(first).unwrap_or(IpAddr::from([127, 0, 0, 1])),
        pod: settings.pod.clone(),
        namespace: settings.namespace.clone(),
        service_account: settings.service_account.clone(),
        zone: settings.zone.clone(),
        labels: BTreeMap::new(),
    }
}

/// Where the mesh and the certificates come from; and what follows their files, if there are any.
struct Found {
    source: Source,
    identity: IdentitySource,
    /// What a gateway shows to clients.
    certificates: gateway::Certificates,
    follow: Option<Follow>,
}

async fn source(settings: &Settings, host: &Host, shown: Shown) -> Result<Found, String> {
    let certificates = gateway::Certificates::new();
    match &settings.from {
        From::Control { host: name, port, identity, trust, token_file } => {
            let address = SocketAddr::new(resolve(host, name).await, *port);
            tracing::info!(%address, "the control plane is there");
            let source = ControlSource {
                address,
                identity: identity.as_deref().unwrap_or(CONTROL_ID).into(),
                roots: trust.clone(),
                token: Some(disk::secret_source(token_file)),
            };
            let (source, identity) = (Source::Control(source), IdentitySource::FromControl);
            let Some(outside) = settings.outside.as_ref().filter(|outside| !outside.certificates.is_empty()) else {
                return Ok(Found { source, identity, certificates, follow: None });
            };
            let (follow, edge) = follow_edge(settings, outside, None, false, shown)?;
            let certificates = edge.good.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1.clone();
            Ok(Found { source, identity, certificates, follow: Some(follow) })
        }
        From::Mesh { path, certificate } => {
            let identity = match certificate {
                Certificate::Plaintext => IdentitySource::None,
                Certificate::Files { chain, key, roots } => {
                    let identity = pem::identity(chain, key, roots, host.now()).map_err(|error| error.to_string())?;
                    IdentitySource::Static(identity)
                }
            };
            let plaintext = matches!(certificate, Certificate::Plaintext);
            let followed = Followed { mesh: path.clone(), also: None };
            if let Some(outside) = &settings.outside {
                let (follow, edge) = follow_edge(settings, outside, Some(followed), plaintext, shown)?;
                let (mesh, certificates) = edge.good.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                return Ok(Found {
                    source: Source::Static(Box::new(mesh)),
                    identity,
                    certificates,
                    follow: Some(follow),
                });
            }
            let files = Arc::new(followed);
            let taker = Arc::new(Compiled {
                node: NodeInfo { namespace: settings.namespace.clone(), pod: settings.pod.clone() },
                plaintext,
                proxy: OnceLock::new(),
                mesh: Mutex::default(),
                shown,
            });
            let first = match watch::first(files.as_ref(), taker.as_ref()) {
                Ok(first) => first,
                Err((found, texts)) => {
                    taker.shown.show(&found, &texts);
                    return Err("no mesh to begin with".to_owned());
                }
            };
            let mesh = taker.mesh.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            let of_taker = Arc::clone(&taker);
            let told = Box::new(move |proxy: &Arc<Proxy>| drop(of_taker.proxy.set(Arc::clone(proxy))));
            let follow = Follow { files, taker, told, first };
            Ok(Found { source: Source::Static(Box::new(mesh)), identity, certificates, follow: Some(follow) })
        }
    }
}

/// Takes the files of a gateway for the first time. `mesh`: those of the mesh, if it does not come from a control plane.
fn follow_edge(
    settings: &Settings,
    outside: &gateway::Outside,
    mesh: Option<Followed>,
    plaintext: bool,
    shown: Shown,
) -> Result<(Follow, Arc<gateway::Edge>), String> {
    let edge = Arc::new(gateway::Edge {
        namespace: settings.namespace.clone(),
        account: settings.service_account.clone(),
        ports: outside.entrances.iter().map(|entrance| entrance.port).collect(),
        certificates: outside.certificates.clone(),
        is_static: mesh.is_some(),
        plaintext,
        proxy: OnceLock::new(),
        good: Mutex::default(),
        shown,
    });
    let files = Arc::new(gateway::Watched { mesh, certificates: outside.certificates.clone() });
    let first = match watch::first(files.as_ref(), edge.as_ref()) {
        Ok(first) => first,
        Err((found, texts)) => {
            edge.shown.show(&found, &texts);
            return Err("the gateway's files are not good to begin with".to_owned());
        }
    };
    let of_edge = Arc::clone(&edge);
    let told = Box::new(move |proxy: &Arc<Proxy>| drop(of_edge.proxy.set(Arc::clone(proxy))));
    Ok((Follow { files, taker: Arc::clone(&edge) as _, told, first }, edge))
}

/// The address behind a name; asks until it is found.
async fn resolve(host: &Host, name: &str) -> IpAddr {
    loop {
        match host.net().resolve(name).await {
            Ok(addresses) => {
                if let Some(address) = addresses.first() {
                    return *address;
                }
            }
            Err(error) => tracing::warn!(%error, name, "the control plane's name is not found yet"),
        }
        after(host.clock().as_ref(), RESOLVE_AGAIN).await;
    }
}

/// Takes the proxy once it runs.
type Told = Box<dyn FnOnce(&Arc<Proxy>)>;

/// Files to be followed.
struct Follow {
    files: Arc<dyn Files>,
    taker: Arc<dyn Taker>,
    /// Told of the proxy before anything is followed.
    told: Told,
    first: Texts,
}

impl Follow {
    fn begin(self, host: &Host, proxy: &Arc<Proxy>) {
        (self.told)(proxy);
        host.spawn("proxy watch", watch::follow(host.clone(), self.files, self.taker, self.first));
    }
}

/// Compiles the mesh file for this proxy.
struct Compiled {
    node: NodeInfo,
    plaintext: bool,
    /// Told of every good mesh, once it runs.
    proxy: OnceLock<Arc<Proxy>>,
    /// The last good one.
    mesh: Mutex<Mesh>,
    shown: Shown,
}

impl Taker for Compiled {
    fn take(&self, files: &Texts) -> Result<(), Vec<Mistake>> {
        let texts: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        let resources = Resources::read(&texts)?;
        let mut mesh = compile(&resources, &RegistrySnapshot::default(), &self.node)?;
        if self.plaintext {
            mesh.backends.values_mut().for_each(|backend| backend.mutual_tls = false);
        }
        if let Some(proxy) = self.proxy.get() {
            proxy.update(&mesh);
        }
        *self.mesh.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mesh;
        Ok(())
    }

    fn taken(&self, files: &Texts) {
        tracing::info!(files = files.len(), "the mesh files are in force");
    }

    fn refused(&self, found: &[Mistake], files: &Texts) {
        self.shown.show(found, files);
        tracing::warn!(mistakes = found.len(), "the mesh files are refused; the last good mesh stays");
    }
}

/// Where connections to a Service port come in, as it is written: `LISTEN=NS/NAME:PORT`.
fn outbound_tcp(text: &str) -> Result<(SocketAddr, BackendName), String> {
    let said = "say LISTEN=NS/NAME:PORT, such as 127.0.0.1:5432=shop/db:5432";
    let (listen, to) = text.split_once('=').ok_or(said)?;
    let listen = listen.parse().map_err(|_| format!("`{listen}` is not ADDRESS:PORT; {said}"))?;
    let parts = to.rsplit_once(':').and_then(|(service, port)| {
        let (namespace, name) = service.split_once('/')?;
        Some((namespace, name, port.parse::<u16>().ok()?))
    });
    let (namespace, name, port) = parts.ok_or_else(|| format!("`{to}` is not NS/NAME:PORT; {said}"))?;
    Ok((listen, BackendName::new(namespace, name, port)))
}

/// Which share of the traces that begin here is sampled, as it is written: `1%`.
fn trace_sample(text: &str) -> Result<Sampling, String> {
    let said = "say a share from 0% to 100%, such as 1% or 0.05%";
    let number = text.strip_suffix('%').ok_or_else(|| format!("`{text}` is not a percentage; {said}"))?;
    let millionths = units::scaled(number.trim_end(), 10_000).and_then(|share| u32::try_from(share).ok());
    let sampling = millionths.and_then(Sampling::new);
    sampling.ok_or_else(|| format!("`{text}` is not a share of the traces, or a finer one than 0.0001%; {said}"))
}

/// Where requests for the application come in, as it is written: `LISTEN=APP`, or `LISTEN=APP,plain`.
fn inbound(text: &str) -> Result<InboundListener, String> {
    let (pair, mutual_tls) = match text.strip_suffix(",plain") {
        Some(pair) => (pair, false),
        None => (text, true),
    };
    let said = "say LISTEN=APP, such as 0.0.0.0:15006=127.0.0.1:8080";
    let (listen, app) = pair.split_once('=').ok_or(said)?;
    let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| format!("`{text}` is not ADDRESS:PORT; {said}"));
    Ok(InboundListener { listen: address(listen)?, mutual_tls, app: address(app)? })
}
