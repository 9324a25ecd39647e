//! From what was said to what holds: the file is read, what cannot be together is refused, and what belongs together is required.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches};
use squall_control::yaml::{self, Value};
use squall_control::{Mistake, Mistakes, Place};
use squall_net::pem;
use squall_policy::BackendName;
use squall_proxy::{AccessLogFormat, Collector, InboundListener, Interception, Sampling, Strangers};
use squall_sim::scenario::Refusal;

use super::args::{ProxyArgs, StrangersChoice};
use super::gateway::Outside;
use super::{INTERCEPT_INBOUND, INTERCEPT_OUTBOUND};
use crate::disk;
use crate::logs::LogFormat;

/// Where pages are served by default.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// As Linkerd has it.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKES: u32 = 1_000;

/// All that a proxy process needs to know.
pub(super) struct Settings {
    pub(super) from: From,
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) pod: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) zone: String,
    pub(super) outbound: Option<SocketAddr>,
    pub(super) inbound: Vec<InboundListener>,
    pub(super) streams: Vec<(SocketAddr, BackendName)>,
    pub(super) interception: Option<Interception>,
    /// It is a gateway.
    pub(super) outside: Option<Outside>,
    pub(super) detect_timeout: Duration,
    pub(super) handshakes: u32,
    pub(super) admin: SocketAddr,
    pub(super) probes: Option<SocketAddr>,
    pub(super) workers: u16,
    pub(super) drain_time: Duration,
    pub(super) access_log: Option<AccessLogFormat>,
    /// Where traces go, and which.
    pub(super) traces: Option<(Collector, Sampling)>,
    pub(super) log: LogFormat,
}

/// Where the mesh comes from.
pub(super) enum From {
    Control { host: String, port: u16, identity: Option<String>, trust: Vec<Vec<u8>>, token_file: PathBuf },
    Mesh { path: PathBuf, certificate: Certificate },
}

/// The certificate beside a mesh file.
pub(super) enum Certificate {
    Plaintext,
    /// As PEM.
    Files {
        chain: String,
        key: String,
        roots: String,
    },
}

/// Why there are no settings.
pub(super) enum Wrong {
    /// In a sentence.
    Words(String),
    /// With places in the file.
    File(Refusal),
}

impl std::convert::From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Words(why)
    }
}

impl std::convert::From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Self::Words(why.to_owned())
    }
}

/// The settings of arguments, environment and file.
pub(super) fn of(args: ProxyArgs) -> Result<Settings, Wrong> {
    let args = match args.config.clone() {
        Some(path) => args.or(read(&path, "proxy")?),
        None => args,
    };
    settle(args, None)
}

/// What holds, of a sidecar or of a gateway.
pub(super) fn settle(args: ProxyArgs, outside: Option<Outside>) -> Result<Settings, Wrong> {
    let account = args.service_account.clone().ok_or("--service-account NS/NAME is missing: as whom does it run?")?;
    let (namespace, service_account) = match account.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            (namespace, name)
        }
        _ => return Err(format!("--service-account `{account}` is not NAMESPACE/NAME, such as shop/front").into()),
    };
    let admin = args.admin.unwrap_or(ADMIN);
    addresses(&args, admin, outside.as_ref())?;
    let interception = interception(&args)?;
    let from = match (&args.control, &args.mesh) {
        (Some(control), None) => by_control(&args, control)?,
        (None, Some(mesh)) => by_mesh(&args, mesh)?,
        (Some(_), Some(_)) => return Err("the mesh comes from --control or from --mesh, not from both".into()),
        (None, None) => return Err("where does the mesh come from? Say --control HOST:PORT or --mesh FILE".into()),
    };
    if args.trace_sample.is_some() && args.otlp.is_none() {
        return Err("--trace-sample has no meaning without --otlp".into());
    }
    let pod = match args.pod {
        Some(pod) => pod,
        None if outside.is_some() => "gateway".to_owned(),
        None if matches!(from, From::Mesh { .. }) && args.inbound.is_empty() && !args.intercept => "proxy".to_owned(),
        None => {
            return Err("--pod NAME is missing: the EndpointSlice that lists it says how its ports are treated".into());
        }
    };
    Ok(Settings {
        from,
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod,
        ip: args.ip,
        zone: args.zone.unwrap_or_default(),
        outbound: args.outbound,
        inbound: args.inbound,
        streams: args.outbound_tcp,
        interception,
        outside,
        detect_timeout: args.detect_timeout.unwrap_or(DETECT_TIMEOUT),
        handshakes: args.handshakes.unwrap_or(HANDSHAKES),
        admin,
        probes: args.probes,
        workers: args.workers.unwrap_or(1),
        drain_time: args.drain_time.unwrap_or(DRAIN_TIME),
        access_log: args.access_log.and_then(super::args::AccessLogChoice::format),
        traces: args.otlp.map(|collector| (collector, args.trace_sample.unwrap_or(Sampling::DEFAULT))),
        log: args.log.unwrap_or(LogFormat::Text),
    })
}

/// What cannot be said with `with`.
pub(super) fn not_with(with: &str, said: &[(bool, &str)]) -> Result<(), Wrong> {
    match said.iter().find(|(said, _)| *said) {
        Some((_, flag)) => Err(format!("{flag} has no meaning with {with}").into()),
        None => Ok(()),
    }
}

fn by_control(args: &ProxyArgs, control: &str) -> Result<From, Wrong> {
    let said = [(args.cert.is_some(), "--cert"), (args.key.is_some(), "--key"), (args.plaintext, "--plaintext")];
    not_with("--control, which signs the certificate", &said)?;
    let parts = control.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts
        .filter(|(host, port)| !host.is_empty() && *port != 0)
        .ok_or_else(|| format!("--control `{control}` is not HOST:PORT, such as control.squall:15010"))?;
    let trust = args.trust.as_ref().ok_or("--trust FILE is missing: who signs the control plane's certificate?")?;
    let trust = pem::certificates(&text(trust)?).map_err(|error| format!("--trust {}: {error}", trust.display()))?;
    let file = args.token_file.as_ref().ok_or("--token-file FILE is missing: it proves as whom the pod runs")?;
    disk::secret(file).map_err(|why| format!("--token-file {why}"))?;
    // Brackets are for URLs; an IPv6 address is resolved without.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(From::Control { host, port, identity: args.control_identity.clone(), trust, token_file: file.clone() })
}

fn by_mesh(args: &ProxyArgs, mesh: &Path) -> Result<From, Wrong> {
    let said = [(args.token_file.is_some(), "--token-file"), (args.control_identity.is_some(), "--control-identity")];
    not_with("--mesh", &said)?;
    let certificate = match (&args.cert, &args.key, &args.trust, args.plaintext) {
        (None, None, None, true) => Certificate::Plaintext,
        (Some(cert), Some(key), Some(trust), false) => {
            let (chain, key, roots) = (text(cert)?, text(key)?, text(trust)?);
            Certificate::Files { chain, key, roots }
        }
        (.., true) => return Err("--plaintext has no meaning with --cert, --key or --trust".into()),
        (.., false) => {
            let why =
                "--mesh needs --cert, --key and --trust, or --plaintext, which encrypts nothing and proves nobody";
            return Err(why.into());
        }
    };
    Ok(From::Mesh { path: mesh.to_owned(), certificate })
}

/// Where redirected connections come in: an IPv4 and an IPv6 address of loopback, for the rules redirect to these, and every address.
fn interception(args: &ProxyArgs) -> Result<Option<Interception>, Wrong> {
    if !args.intercept {
        let said = [
            (args.intercept_outbound.is_some(), "--intercept-outbound"),
            (args.intercept_inbound.is_some(), "--intercept-inbound"),
            (args.strangers.is_some(), "--strangers"),
        ];
        return match said.iter().find(|(said, _)| *said) {
            Some((_, flag)) => Err(format!("{flag} has no meaning without --intercept").into()),
            None => Ok(None),
        };
    }
    let outbound = args.intercept_outbound.unwrap_or(INTERCEPT_OUTBOUND);
    let inbound = args.intercept_inbound.unwrap_or(INTERCEPT_INBOUND);
    // A machine may have no IPv6 at all; one that has takes both families at `::`.
    let has_ipv6 = disk::read(Path::new("/proc/net/if_inet6")).is_ok_and(|found| !found.trim().is_empty());
    let own = |ip: IpAddr| SocketAddr::new(ip, outbound);
    let (own, any): (_, IpAddr) = if has_ipv6 {
        (vec![own(Ipv4Addr::LOCALHOST.into()), own(Ipv6Addr::LOCALHOST.into())], Ipv6Addr::UNSPECIFIED.into())
    } else {
        (vec![own(Ipv4Addr::LOCALHOST.into())], Ipv4Addr::UNSPECIFIED.into())
    };
    let strangers = match args.strangers {
        Some(StrangersChoice::Pass) | None => Strangers::Pass,
        Some(StrangersChoice::Refuse) => Strangers::Refuse,
    };
    Ok(Some(Interception { outbound: own, inbound: vec![SocketAddr::new(any, inbound)], strangers }))
}

/// Addresses that can all be used at once, and by nobody who should not.
fn addresses(args: &ProxyArgs, admin: SocketAddr, outside: Option<&Outside>) -> Result<(), Wrong> {
    let is_sidecar = args.outbound.is_some() || !args.inbound.is_empty() || !args.outbound_tcp.is_empty();
    if !is_sidecar && !args.intercept && outside.is_none() {
        return Err("it has nothing to do: say --outbound, --inbound or both, or --intercept".into());
    }
    let own = |what: &str, address: SocketAddr, why: &str| match address.ip().is_loopback() {
        true => Ok(()),
        false => Err(Wrong::from(format!("{what} {address} is not on loopback (127.0.0.1 or ::1): {why}"))),
    };
    own("--admin", admin, "whoever reaches it can read everything and end the proxy")?;
    if let Some(outbound) = args.outbound {
        own("--outbound", outbound, "whoever reaches it speaks with this pod's identity")?;
    }
    for (address, _) in &args.outbound_tcp {
        own("--outbound-tcp", *address, "whoever reaches it speaks with this pod's identity")?;
    }
    let mut taken: Vec<(SocketAddr, &str)> = vec![(admin, "--admin")];
    let listeners = args.inbound.iter().map(|listener| (listener.listen, "--inbound"));
    let listeners = listeners.chain(args.outbound_tcp.iter().map(|(at, _)| (*at, "--outbound-tcp")));
    let intercepted = args.intercept.then(|| {
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), args.intercept_inbound.unwrap_or(INTERCEPT_INBOUND));
        let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), args.intercept_outbound.unwrap_or(INTERCEPT_OUTBOUND));
        [(own, "--intercept-outbound"), (any, "--intercept-inbound")]
    });
    let listeners = listeners.chain(intercepted.into_iter().flatten());
    let listeners = listeners.chain(args.probes.map(|at| (at, "--probes")));
    let entrances = outside.map(|outside| outside.entrances.iter().map(|entrance| (entrance.listen, "--listen")));
    let listeners = listeners.chain(entrances.into_iter().flatten());
    for (address, what) in args.outbound.map(|at| (at, "--outbound")).into_iter().chain(listeners) {
        let clash = |other: SocketAddr| {
            let (a, b) = (address.ip(), other.ip());
            address.port() == other.port()
                && address.port() != 0
                && (a == b || a.is_unspecified() || b.is_unspecified())
        };
        if let Some((other, by)) = taken.iter().find(|(other, _)| clash(*other)) {
            return Err(format!("{what} {address} and {by} {other} cannot listen at one address").into());
        }
        taken.push((address, what));
    }
    let mut apps: BTreeMap<u16, SocketAddr> = BTreeMap::new();
    for listener in &args.inbound {
        let app = listener.app;
        if app.port() == 0 || app.ip().is_unspecified() {
            return Err(format!("--inbound …={app}: no application can be reached there").into());
        }
        if let Some((own, by)) = taken.iter().find(|(own, _)| *own == app) {
            return Err(
                format!("--inbound …={app}: requests would go round and round, since {by} listens at {own}").into()
            );
        }
        if apps.insert(app.port(), app).is_some() {
            return Err(format!("--inbound: two listeners lead to port {}; each port once", app.port()).into());
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, Wrong> {
    disk::read(path).map_err(|mistake| Wrong::Words(mistake.to_string()))
}

/// The names in the file, and the flags they are.
fn keys<A: Args>() -> Vec<(String, String, bool)> {
    let command = A::augment_args(clap::Command::new("squall"));
    let flags = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
        let flag = arg.get_long()?;
        let switch = !arg.get_action().takes_values();
        let mut name = String::new();
        for (number, word) in flag.split('-').enumerate() {
            match (number, word.split_at(1)) {
                (0, _) => name.push_str(word),
                (_, (first, rest)) => name.extend([first.to_uppercase().as_str(), rest]),
            }
        }
        Some((name, flag.to_owned(), switch))
    });
    flags.filter(|(name, ..)| name != "config" && name != "help").collect()
}

/// The settings in a file, for the process called `what`.
pub(super) fn read<A: Args + FromArgMatches>(path: &Path, what: &str) -> Result<A, Wrong> {
    let name = path.to_string_lossy();
    let source = text(path)?;
    let refuse = |mistakes: Vec<Mistake>| {
        let sources = BTreeMap::from([(name.as_ref().into(), source.as_str().into())]);
        Wrong::File(Refusal { mistakes, sources })
    };
    let documents = yaml::parse(&name, &source).map_err(refuse)?;
    let [document] = documents.as_slice() else {
        return Err(refuse(vec![Mistake::new(&Place::whole(&name), "the settings are one document")]));
    };
    let keys = keys::<A>();
    let mistakes = Mistakes::new();
    let mut words = vec![what.to_owned()];
    let called = format!("{what} settings");
    let known: Vec<&str> = keys.iter().map(|(name, ..)| name.as_str()).collect();
    if let Some(fields) = Value::new(document, &mistakes).fields(&called, &known) {
        for (name, flag, switch) in &keys {
            if let Some(value) = fields.get(name) {
                words.extend(said::<A>(flag, *switch, value));
            }
        }
    }
    mistakes.check(()).map_err(refuse)?;
    parse(&words).map_err(|why| Wrong::Words(format!("{name}: {why}")))
}

/// A setting of the file as it would be said on the command line; nothing if it could not be.
fn said<A: Args + FromArgMatches>(flag: &str, switch: bool, value: Value<'_>) -> Vec<String> {
    if switch {
        let on = value.boolean().unwrap_or(false);
        return on.then(|| format!("--{flag}")).into_iter().collect();
    }
    let values = if value.is_list() { value.list().unwrap_or_default() } else { vec![value] };
    let one = |value: Value<'_>| {
        value.parsed(|text| {
            let word = format!("--{flag}={text}");
            parse::<A>(&["squall".to_owned(), word.clone()]).map(|_| word)
        })
    };
    values.into_iter().filter_map(one).collect()
}

pub(super) fn parse<A: Args + FromArgMatches>(words: &[String]) -> Result<A, String> {
    let command = A::augment_args(clap::Command::new("squall").no_binary_name(false));
    let parsed = command.try_get_matches_from(words).and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> ProxyArgs {
        let words: Vec<String> = ["proxy"].into_iter().chain(words.split_whitespace()).map(str::to_owned).collect();
        parse(&words).expect("flags that exist")
    }

    #[track_caller]
    fn refused(words: &str, want: &str) {
        match of(args(words)) {
            Err(Wrong::Words(why)) => assert!(why.contains(want), "`{words}` is refused with: {why}"),
            Err(Wrong::File(refusal)) => panic!("{:?}", refusal.mistakes),
            Ok(_) => panic!("`{words}` is taken"),
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let base = "--mesh m --plaintext --service-account shop/front";
        for (words, want) in [
            ("--mesh m --plaintext --outbound 127.0.0.1:1", "--service-account"),
            ("--service-account shop --outbound 127.0.0.1:1", "not NAMESPACE/NAME"),
            (base, "nothing to do"),
            ("--service-account a/b --outbound 127.0.0.1:1", "--control HOST:PORT or --mesh"),
            ("--service-account a/b --outbound 127.0.0.1:1 --mesh m --control c:1", "not from both"),
            ("--service-account a/b --outbound 127.0.0.1:1 --control c", "not HOST:PORT"),
            ("--service-account a/b --outbound 127.0.0.1:1 --control c:1", "--trust"),
            ("--service-account a/b --outbound 127.0.0.1:1 --control c:1 --plaintext", "--plaintext has no meaning"),
            ("--service-account a/b --outbound 127.0.0.1:1 --mesh m", "or --plaintext"),
            ("--service-account a/b --outbound 127.0.0.1:1 --mesh m --cert c --plaintext", "no meaning"),
            ("--service-account a/b --outbound 127.0.0.1:1 --mesh m --token-file t", "--token-file has no meaning"),
            (&format!("{base} --outbound 0.0.0.0:15001"), "not on loopback"),
            (&format!("{base} --outbound 127.0.0.1:1 --admin 0.0.0.0:2"), "not on loopback"),
            (&format!("{base} --outbound 127.0.0.1:15000"), "cannot listen at one address"),
            (&format!("{base} --inbound 0.0.0.0:15000=127.0.0.1:80"), "cannot listen at one address"),
            (&format!("{base} --inbound 127.0.0.1:80=127.0.0.1:80"), "round and round"),
            (&format!("{base} --inbound 127.0.0.1:81=127.0.0.1:0"), "no application"),
            (
                &format!("{base} --inbound 127.0.0.1:1=127.0.0.1:80 --inbound 127.0.0.1:2=127.0.0.1:80"),
                "each port once",
            ),
            (&format!("{base} --inbound 127.0.0.1:1=127.0.0.1:80"), "--pod"),
            (&format!("{base} --intercept"), "--pod"),
            (&format!("{base} --outbound 127.0.0.1:1 --strangers refuse"), "without --intercept"),
            (&format!("{base} --intercept --outbound 127.0.0.1:15001"), "cannot listen at one address"),
            (&format!("{base} --outbound 127.0.0.1:1 --trace-sample 1%"), "without --otlp"),
            (&format!("{base} --outbound-tcp 0.0.0.0:5432=shop/db:5432"), "not on loopback"),
        ] {
            refused(words, want);
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_says_the_rest() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/proxy.yaml");
        let words = format!("--config {} --workers 3", dir.display());
        let settings = of(args(&words)).unwrap_or_else(|_| panic!("good settings"));
        assert_eq!(settings.workers, 3, "the flag's");
        assert_eq!((settings.namespace.as_str(), settings.pod.as_str()), ("shop", "stock-0"));
        assert_eq!(settings.drain_time, Duration::from_secs(5));
        assert_eq!(settings.inbound.len(), 2);
        assert!(!settings.inbound[1].mutual_tls);
        assert_eq!(settings.access_log, Some(AccessLogFormat::Json));
    }

    #[test]
    fn a_share_of_the_traces_is_a_percentage() {
        let base = "--mesh m --plaintext --service-account a/b --outbound 127.0.0.1:1 --otlp http://c:4318";
        for (said, millionths) in [("", 10_000), ("--trace-sample 0.05%", 500), ("--trace-sample 100%", 1_000_000)] {
            let settings = of(args(&format!("{base} {said}"))).unwrap_or_else(|_| panic!("good settings"));
            assert_eq!(settings.traces.map(|(_, sampling)| sampling), Sampling::new(millionths), "{said}");
        }
        for wrong in ["1", "101%", "0.00001%", "-1%", "half"] {
            let words = ["proxy".to_owned(), format!("--trace-sample={wrong}")];
            assert!(parse::<ProxyArgs>(&words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mistakes_in_the_file_have_their_places() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bad-proxy.yaml");
        let Err(Wrong::File(refusal)) = of(args(&format!("--config {}", path.display()))) else {
            panic!("taken");
        };
        let shown: Vec<String> =
            refusal.mistakes.iter().map(|m| format!("{}:{} {}", m.place.line, m.place.column, m.message)).collect();
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[0].starts_with("2:1 ") && shown[0].contains("outboundd"), "{shown:?}");
        assert!(shown[1].starts_with("3:10 ") && shown[1].contains("many"), "{shown:?}");
        assert!(shown[2].starts_with("4:10 ") && shown[2].contains("LISTEN=APP"), "{shown:?}");
    }
}
