//! What can be said to `squall proxy`. Everything is optional here: flags come first, then the environment, then the file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use squall_control::units;
use squall_policy::BackendName;
use squall_proxy::{AccessLogFormat, Collector, InboundListener, Sampling};

use crate::logs::LogFormat;

/// Run a sidecar: the proxy that was tested, on real sockets
///
/// The application sends its requests to --outbound in plain HTTP and names the destination by `Host`, as it would name the
/// Service; they leave with mutual TLS, by the routes and policies of the mesh. Requests of other sidecars come in at --inbound
/// and go on to the application.
///
/// With --intercept the application needs to know nothing: firewall rules (`squall proxy-init`) bring its connections here, and those
/// for it. What a port speaks is declared by its Service (appProtocol, or the beginning of its name), or shown by the first bytes of
/// each connection; what is no HTTP is carried as bytes.
///
/// With --control the mesh comes from `squall control`, and so does the certificate: the proxy makes its own key, which never leaves
/// it, and asks with the join token. With --mesh it is a file (or a directory of them) of the same
/// Kubernetes YAML with EndpointSlices, followed as it changes, and the certificate comes from files; --plaintext means that there
/// is none, and that nothing is encrypted.
///
/// Every setting is a flag, an environment variable or a line of the file that --config names (`tokenFile: /var/run/token`), in
/// this order: what a flag says, the file cannot change.
#[derive(clap::Args, Default)]
#[command(after_help = "\
Examples:
  squall proxy --control 127.0.0.1:15010 --trust root.pem --token-file token \\
    --service-account shop/front --pod front-0 --outbound 127.0.0.1:15001
  squall proxy --config proxy.yaml
  squall proxy --config proxy.yaml --intercept --strangers refuse
  squall proxy --mesh mesh.yaml --plaintext --service-account shop/front --outbound 127.0.0.1:15001
  squall proxy --config proxy.yaml --otlp http://collector.observe:4318 --trace-sample 0.1%

Pages of --admin: /ready  /live  /config  /clusters  /metrics, POST /drain, and /log-level: GET shows what is in the log,
PUT or POST sets it while it runs (curl -d squall_proxy=debug,info http://127.0.0.1:15000/log-level)

SIGTERM, SIGINT and POST /drain end it gracefully: callers are asked to leave (connection: close, GOAWAY), requests in flight
may end within --drain-time. A second signal ends it at once.

Exit codes:
  0  it was asked to end, and has drained
  1  it was asked twice
  2  the arguments or the files are wrong
  4  the machine failed: a port is taken, say")]
pub(crate) struct ProxyArgs {
    /// A YAML file of these settings, in camelCase: `serviceAccount: shop/front`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG")]
    pub(super) config: Option<PathBuf>,

    /// The control plane; a name is looked up once, at the start
    #[arg(long, value_name = "HOST:PORT", env = "SQUALL_CONTROL")]
    pub(super) control: Option<String>,

    /// Whom the control plane must prove to be [default: spiffe://cluster.local/ns/squall/sa/control]
    #[arg(long, value_name = "SPIFFE-ID", env = "SQUALL_CONTROL_IDENTITY")]
    pub(super) control_identity: Option<String>,

    /// The roots of the mesh, PEM: root.pem of the control plane's --state
    #[arg(long, value_name = "FILE", env = "SQUALL_TRUST")]
    pub(super) trust: Option<PathBuf>,

    /// The join token, in a file of its own
    #[arg(long, value_name = "FILE", env = "SQUALL_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Instead of --control: the mesh, a YAML file or a directory of them
    #[arg(long, value_name = "FILE", env = "SQUALL_MESH")]
    pub(super) mesh: Option<PathBuf>,

    /// With --mesh: the own certificate (and those between it and the root), PEM
    #[arg(long, value_name = "FILE", env = "SQUALL_CERT")]
    pub(super) cert: Option<PathBuf>,

    /// With --mesh: its key, PEM, PKCS#8
    #[arg(long, value_name = "FILE", env = "SQUALL_KEY")]
    pub(super) key: Option<PathBuf>,

    /// With --mesh: no certificates; everything is sent and taken in the clear
    #[arg(long, env = "SQUALL_PLAINTEXT")]
    pub(super) plaintext: bool,

    /// As whom it runs: namespace and service account
    #[arg(long, value_name = "NS/NAME", env = "SQUALL_SERVICE_ACCOUNT")]
    pub(super) service_account: Option<String>,

    /// The pod's name, as the EndpointSlice says it
    #[arg(long, value_name = "NAME", env = "SQUALL_POD")]
    pub(super) pod: Option<String>,

    /// The pod's address, for the control plane's log [default: that of --inbound, or 127.0.0.1]
    #[arg(long, value_name = "IP", env = "SQUALL_IP")]
    pub(super) ip: Option<IpAddr>,

    /// The pod's zone
    #[arg(long, value_name = "NAME", env = "SQUALL_ZONE")]
    pub(super) zone: Option<String>,

    /// Where the application's own requests come in; on loopback
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_OUTBOUND")]
    pub(super) outbound: Option<SocketAddr>,

    /// Where requests for the application come in, and where it listens; may be given several times. `,plain` behind it takes
    /// plain connections, for a Service whose policy says `tls: {mode: None}`
    #[arg(long, value_name = "LISTEN=APP[,plain]", env = "SQUALL_INBOUND", value_delimiter = ' ', value_parser = super::inbound)]
    pub(super) inbound: Vec<InboundListener>,

    /// Take the connections that the rules of `squall proxy-init` redirect, and ask the kernel where they were meant to go: the
    /// application needs to know nothing
    #[arg(long, env = "SQUALL_INTERCEPT")]
    pub(super) intercept: bool,

    /// With --intercept: the port of the application's connections, on loopback [default: 15001]
    #[arg(long, value_name = "PORT", env = "SQUALL_INTERCEPT_OUTBOUND", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) intercept_outbound: Option<u16>,

    /// With --intercept: the port of connections for the application, at every address [default: 15006]
    #[arg(long, value_name = "PORT", env = "SQUALL_INTERCEPT_INBOUND", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) intercept_inbound: Option<u16>,

    /// With --intercept: what is done with connections to addresses that the mesh does not know [default: pass]
    #[arg(long, value_enum, value_name = "WHAT", env = "SQUALL_STRANGERS")]
    pub(super) strangers: Option<StrangersChoice>,

    /// How long a connection may take to show what it speaks, where no Service declares it; then it is carried as bytes [default: 10s]
    #[arg(long, value_name = "TIME", env = "SQUALL_DETECT_TIMEOUT", value_parser = units::duration)]
    pub(super) detect_timeout: Option<Duration>,

    /// How many TLS handshakes of those who come in may be under way at once, some 20 KiB each; more wait for up to 10 s and are then
    /// refused [default: 1000]
    #[arg(long, value_name = "N", env = "SQUALL_HANDSHAKES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) handshakes: Option<u32>,

    /// Where the application's connections to one Service port come in, to be carried as bytes; may be given several times
    #[arg(long, value_name = "LISTEN=NS/NAME:PORT", env = "SQUALL_OUTBOUND_TCP", value_delimiter = ' ', value_parser = super::outbound_tcp)]
    pub(super) outbound_tcp: Vec<(SocketAddr, BackendName)>,

    /// Where probes, Prometheus and people ask; on loopback [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_ADMIN")]
    pub(super) admin: Option<SocketAddr>,

    /// Where a kubelet asks for /ready and /live, and for nothing else; may be any address, such as 0.0.0.0:15021 [default: only at
    /// --admin]
    #[arg(long, value_name = "ADDRESS", env = "SQUALL_PROBES")]
    pub(super) probes: Option<SocketAddr>,

    /// Threads that serve; limits and breakers are those of all together [default: 1]
    #[arg(long, value_name = "N", env = "SQUALL_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) workers: Option<u16>,

    /// How long requests in flight may take to end [default: 30s]
    #[arg(long, value_name = "TIME", env = "SQUALL_DRAIN_TIME", value_parser = units::duration)]
    pub(super) drain_time: Option<Duration>,

    /// A line on stdout for each request [default: off]
    #[arg(long, value_enum, value_name = "FORMAT", env = "SQUALL_ACCESS_LOG")]
    pub(super) access_log: Option<AccessLogChoice>,

    /// An OpenTelemetry collector that takes traces by OTLP over HTTP; they go to /v1/traces there. A span of each sampled request and of
    /// each of its tries; a collector that is slow or gone delays nothing, and what it cannot take is counted [default: none are sent]
    #[arg(long, value_name = "URL", env = "SQUALL_OTLP", value_parser = Collector::parse)]
    pub(super) otlp: Option<Collector>,

    /// With --otlp: which share of the traces that begin here is sampled, 0% to 100%, to a ten-thousandth of a percent. A trace that comes
    /// with a caller's decision (`traceparent`, else B3) follows it [default: 1%]
    #[arg(long, value_name = "PERCENT", env = "SQUALL_TRACE_SAMPLE", value_parser = super::trace_sample)]
    pub(super) trace_sample: Option<Sampling>,

    /// How the log on stderr looks; RUST_LOG says what is in it [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "SQUALL_LOG")]
    pub(super) log: Option<LogFormat>,
}

/// What is done with connections to addresses that the mesh does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrangersChoice {
    /// They go where they were meant to go, in plain
    Pass,
    /// They are refused
    Refuse,
}

/// What the access log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLogChoice {
    /// There is none
    Off,
    /// For people
    Text,
    /// One object per line
    Json,
}

impl AccessLogChoice {
    pub(super) fn format(self) -> Option<AccessLogFormat> {
        match self {
            Self::Off => None,
            Self::Text => Some(AccessLogFormat::Text),
            Self::Json => Some(AccessLogFormat::Json),
        }
    }
}

impl ProxyArgs {
    /// These, and from `file` what these do not say.
    pub(super) fn or(self, file: Self) -> Self {
        Self {
            config: self.config.or(file.config),
            control: self.control.or(file.control),
            control_identity: self.control_identity.or(file.control_identity),
            trust: self.trust.or(file.trust),
            token_file: self.token_file.or(file.token_file),
            mesh: self.mesh.or(file.mesh),
            cert: self.cert.or(file.cert),
            key: self.key.or(file.key),
            plaintext: self.plaintext || file.plaintext,
            service_account: self.service_account.or(file.service_account),
            pod: self.pod.or(file.pod),
            ip: self.ip.or(file.ip),
            zone: self.zone.or(file.zone),
            outbound: self.outbound.or(file.outbound),
            inbound: if self.inbound.is_empty() { file.inbound } else { self.inbound },
            intercept: self.intercept || file.intercept,
            intercept_outbound: self.intercept_outbound.or(file.intercept_outbound),
            intercept_inbound: self.intercept_inbound.or(file.intercept_inbound),
            strangers: self.strangers.or(file.strangers),
            detect_timeout: self.detect_timeout.or(file.detect_timeout),
            handshakes: self.handshakes.or(file.handshakes),
            outbound_tcp: if self.outbound_tcp.is_empty() { file.outbound_tcp } else { self.outbound_tcp },
            admin: self.admin.or(file.admin),
            probes: self.probes.or(file.probes),
            workers: self.workers.or(file.workers),
            drain_time: self.drain_time.or(file.drain_time),
            access_log: self.access_log.or(file.access_log),
            otlp: self.otlp.or(file.otlp),
            trace_sample: self.trace_sample.or(file.trace_sample),
            log: self.log.or(file.log),
        }
    }
}
