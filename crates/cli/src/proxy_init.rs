//! `squall proxy-init`: firewall rules that bring a pod's connections to its sidecar, and take them away again.
//!
//! ```text
//!   PREROUTING ─▶ SQUALL_INBOUND ──── excluded port ─▶ RETURN;  else ─▶ REDIRECT to the inbound port
//!   OUTPUT ─▶ SQUALL_OUTBOUND ─┬─ the sidecar's own, to this pod by its own address ─▶ SQUALL_INBOUND
//!                              ├─ the sidecar's own; to loopback, or within this pod; excluded uid, port, range ─▶ RETURN
//!                              └─ else ─▶ REDIRECT to the outbound port
//! ```
//!
//! What is there is read first (`iptables-save`), and all changes of a family are made at once (`iptables-restore --noflush`), so
//! that the rules can be written again and again, and are whole or not there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::exit::Exit;
use crate::screen::Screen;

/// Chains of our own: nothing else is in them, and nothing of ours is elsewhere but the jumps to them.
const CHAINS: [(&str, &str); 2] = [("PREROUTING", "SQUALL_INBOUND"), ("OUTPUT", "SQUALL_OUTBOUND")];

/// Bring a pod's connections to its sidecar by firewall rules, or take the rules away
///
/// Run it in the pod's network namespace, as root (CAP_NET_ADMIN), before the application starts: in an init container, say. The
/// sidecar (`squall proxy --intercept`) then runs as the user --proxy-uid, whose own connections go where they are meant to.
/// Everything is TCP; UDP, and DNS with it, is left alone. Running it again replaces the rules.
///
/// Needs iptables (and ip6tables, unless --ipv4-only), in either form, nft or legacy.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall proxy-init --dry-run
  squall proxy-init --exclude-inbound-ports 9090 --exclude-outbound-ranges 169.254.169.254/32
  squall proxy-init --remove

Exit codes:
  0  the rules are there (or gone, with --remove)
  2  the arguments are wrong
  4  the machine refused: no permission, no iptables")]
pub(crate) struct ProxyInit {
    /// Where the sidecar takes the application's connections (--intercept-outbound)
    #[arg(long, value_name = "PORT", default_value_t = crate::proxy::INTERCEPT_OUTBOUND, value_parser = clap::value_parser!(u16).range(1..))]
    outbound_port: u16,

    /// Where the sidecar takes connections for the application (--intercept-inbound)
    #[arg(long, value_name = "PORT", default_value_t = crate::proxy::INTERCEPT_INBOUND, value_parser = clap::value_parser!(u16).range(1..))]
    inbound_port: u16,

    /// The user that the sidecar runs as; other than the application's
    #[arg(long, value_name = "UID", default_value_t = 1337)]
    proxy_uid: u32,

    /// Further users whose connections go where they are meant to
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    exclude_uids: Vec<u32>,

    /// Ports of the application that are reached past the sidecar, and so in plain: for kubelet's probes, say
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    exclude_inbound_ports: Vec<u16>,

    /// Ports of others that the application reaches past the sidecar
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    exclude_outbound_ports: Vec<u16>,

    /// Addresses of others that the application reaches past the sidecar
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = range)]
    exclude_outbound_ranges: Vec<Range>,

    /// Only IPv4: what the application does over IPv6 is not intercepted
    #[arg(long)]
    ipv4_only: bool,

    /// Take the rules away
    #[arg(long)]
    remove: bool,

    /// Only print what iptables-restore would be given, as if no rules were there (with --remove: as if they were)
    #[arg(long)]
    dry_run: bool,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    bits: u8,
}

fn range(text: &str) -> Result<Range, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or(format!("`/{bits}` is not 0 to {most}"))?,
    };
    Ok(Range { address, bits })
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn command(self, what: &str) -> String {
        match self {
            Self::V4 => format!("iptables{what}"),
            Self::V6 => format!("ip6tables{what}"),
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1/128",
        }
    }
}

pub(crate) fn run(args: &ProxyInit, screen: &mut Screen) -> Exit {
    if args.inbound_port == args.outbound_port {
        screen.aside("error: --inbound-port and --outbound-port are the same, but a port is for one side");
        return Exit::BadInput;
    }
    if args.proxy_uid == 0 {
        screen.aside("error: --proxy-uid 0 would leave every process of root's out, the application's perhaps too");
        return Exit::BadInput;
    }
    let families = if args.ipv4_only { &[Family::V4][..] } else { &[Family::V4, Family::V6] };
    for &family in families {
        let present = if args.dry_run {
            if args.remove { jumps() } else { String::new() }
        } else {
            match table(family) {
                Ok(present) => present,
                Err(why) => return failed(screen, &why),
            }
        };
        let script = if args.remove { removal(&present) } else { rules(args, family, &present) };
        if args.dry_run {
            screen.say(&format!("# {} --noflush", family.command("-restore")));
            screen.say(script.trim_end());
        } else if script.is_empty() {
            screen.aside(&format!("{}: there are no rules of Squall's", family.command("")));
        } else if let Err(why) = restore(family, &script) {
            return failed(screen, &why);
        }
    }
    Exit::Pass
}

fn failed(screen: &mut Screen, why: &str) -> Exit {
    screen.aside(&format!("error: {why}"));
    Exit::Infrastructure
}

/// The table as it is, in the form of `iptables-save`.
fn table(family: Family) -> Result<String, String> {
    let name = family.command("-save");
    let output = Command::new(&name).args(["-t", "nat"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(&name, &error))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn restore(family: Family, script: &str) -> Result<(), String> {
    let name = family.command("-restore");
    let mut child = Command::new(&name)
        // Another process may be changing rules right now.
        .args(["--noflush", "--wait", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&name, &error))?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    written.map_err(|error| format!("{name}: {error}"))
}

fn missing(name: &str, error: &std::io::Error) -> String {
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    if is_missing { format!("{name} is not there: install iptables") } else { format!("{name}: {error}") }
}

/// The jumps to our chains as a table with our rules has them, once each.
fn jumps() -> String {
    CHAINS.map(|(from, to)| format!(":{to} - [0:0]\n-A {from} -p tcp -j {to}\n")).concat()
}

/// What takes away each jump to our chains that is there.
fn without_jumps(present: &str) -> String {
    let mut script = String::new();
    for line in present.lines() {
        let ours = CHAINS.iter().any(|(from, to)| {
            line.starts_with(&format!("-A {from} "))
                && line.split_whitespace().skip_while(|word| *word != "-j").nth(1) == Some(to)
        });
        if let Some(rule) = line.strip_prefix("-A ").filter(|_| ours) {
            let _ = writeln!(script, "-D {rule}");
        }
    }
    script
}

/// What takes our rules away; empty: none are there.
fn removal(present: &str) -> String {
    let mut script = without_jumps(present);
    let there = |chain: &str| present.lines().any(|line| line.starts_with(&format!(":{chain} ")));
    let chains: Vec<&str> = CHAINS.iter().map(|(_, chain)| *chain).filter(|chain| there(chain)).collect();
    // One jumps to the other: empty both, then remove them.
    for (flag, chain) in ["-F", "-X"].into_iter().flat_map(|flag| chains.iter().map(move |chain| (flag, chain))) {
        let _ = writeln!(script, "{flag} {chain}");
    }
    if script.is_empty() { script } else { format!("*nat\n{script}COMMIT\n") }
}

/// What puts our rules in the place of those that are there.
fn rules(args: &ProxyInit, family: Family, present: &str) -> String {
    let ProxyInit { outbound_port, inbound_port, proxy_uid, .. } = args;
    let mut inbound: Vec<String> =
        args.exclude_inbound_ports.iter().map(|port| format!("-p tcp --dport {port} -j RETURN")).collect();
    inbound.push(format!("-p tcp -j REDIRECT --to-ports {inbound_port}"));
    let loopback = family.loopback();
    let mut outbound = vec![
        // A pod that calls itself through its Service: the sidecar's inbound side must see it, as it sees all others.
        format!("! -d {loopback} -o lo -p tcp -m owner --uid-owner {proxy_uid} -j SQUALL_INBOUND"),
        format!("-m owner --uid-owner {proxy_uid} -j RETURN"),
        format!("-d {loopback} -j RETURN"),
        // Containers of one pod that talk to each other.
        "-o lo -j RETURN".to_owned(),
    ];
    outbound.extend(args.exclude_uids.iter().map(|uid| format!("-m owner --uid-owner {uid} -j RETURN")));
    outbound.extend(args.exclude_outbound_ports.iter().map(|port| format!("-p tcp --dport {port} -j RETURN")));
    let of_family = |range: &&Range| range.address.is_ipv4() == (family == Family::V4);
    let ranges = args.exclude_outbound_ranges.iter().filter(of_family);
    outbound.extend(ranges.map(|Range { address, bits }| format!("-d {address}/{bits} -j RETURN")));
    outbound.push(format!("-p tcp -j REDIRECT --to-ports {outbound_port}"));
    let mut script = "*nat\n".to_owned();
    // Naming a chain empties it, too.
    for (_, chain) in CHAINS {
        let _ = writeln!(script, ":{chain} - [0:0]");
    }
    script.push_str(&without_jumps(present));
    for ((_, chain), rules) in CHAINS.into_iter().zip([inbound, outbound]) {
        for rule in rules {
            let _ = writeln!(script, "-A {chain} {rule}");
        }
    }
    for (from, chain) in CHAINS {
        let _ = writeln!(script, "-A {from} -p tcp -j {chain}");
    }
    script.push_str("COMMIT\n");
    script
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ProxyInit,
    }

    fn args(words: &str) -> ProxyInit {
        Line::try_parse_from(std::iter::once("init").chain(words.split_whitespace())).expect("good flags").args
    }

    #[test]
    fn the_rules_say_who_goes_where() {
        let flags = "--exclude-inbound-ports 9090 --exclude-outbound-ports 25 --exclude-uids 7 \
                     --exclude-outbound-ranges 10.0.0.0/8,fd00::/8,192.0.2.1";
        assert_eq!(
            rules(&args(flags), Family::V4, ""),
            "*nat\n\
             :SQUALL_INBOUND - [0:0]\n\
             :SQUALL_OUTBOUND - [0:0]\n\
             -A SQUALL_INBOUND -p tcp --dport 9090 -j RETURN\n\
             -A SQUALL_INBOUND -p tcp -j REDIRECT --to-ports 15006\n\
             -A SQUALL_OUTBOUND ! -d 127.0.0.0/8 -o lo -p tcp -m owner --uid-owner 1337 -j SQUALL_INBOUND\n\
             -A SQUALL_OUTBOUND -m owner --uid-owner 1337 -j RETURN\n\
             -A SQUALL_OUTBOUND -d 127.0.0.0/8 -j RETURN\n\
             -A SQUALL_OUTBOUND -o lo -j RETURN\n\
             -A SQUALL_OUTBOUND -m owner --uid-owner 7 -j RETURN\n\
             -A SQUALL_OUTBOUND -p tcp --dport 25 -j RETURN\n\
             -A SQUALL_OUTBOUND -d 10.0.0.0/8 -j RETURN\n\
             -A SQUALL_OUTBOUND -d 192.0.2.1/32 -j RETURN\n\
             -A SQUALL_OUTBOUND -p tcp -j REDIRECT --to-ports 15001\n\
             -A PREROUTING -p tcp -j SQUALL_INBOUND\n\
             -A OUTPUT -p tcp -j SQUALL_OUTBOUND\n\
             COMMIT\n"
        );
        let v6 = rules(&args(flags), Family::V6, "");
        assert!(
            v6.contains("-d fd00::/8 -j RETURN") && v6.contains("-d ::1/128 -j RETURN") && !v6.contains("10.0.0.0")
        );
    }

    #[test]
    fn rules_that_are_there_are_replaced_and_those_of_others_stay() {
        let present = "*nat\n:PREROUTING ACCEPT [0:0]\n:SQUALL_INBOUND - [0:0]\n:SQUALL_OUTBOUND - [0:0]\n\
                       -A PREROUTING -p tcp -j SQUALL_INBOUND\n-A PREROUTING -p tcp -j SQUALL_INBOUND\n\
                       -A OUTPUT -p tcp -j OTHERS\n-A OUTPUT -p tcp -j SQUALL_OUTBOUND\nCOMMIT\n";
        let script = rules(&args(""), Family::V4, present);
        let removed: Vec<&str> = script.lines().filter(|line| line.starts_with("-D")).collect();
        assert_eq!(
            removed,
            [
                "-D PREROUTING -p tcp -j SQUALL_INBOUND",
                "-D PREROUTING -p tcp -j SQUALL_INBOUND",
                "-D OUTPUT -p tcp -j SQUALL_OUTBOUND"
            ]
        );
        assert_eq!(
            removal(present),
            format!(
                "*nat\n{}\n-F SQUALL_INBOUND\n-F SQUALL_OUTBOUND\n-X SQUALL_INBOUND\n-X SQUALL_OUTBOUND\nCOMMIT\n",
                removed.join("\n")
            )
        );
        assert_eq!(removal("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j OTHERS\nCOMMIT\n"), "", "nothing of ours");
    }

    #[test]
    fn ranges_are_read_or_refused() {
        for (text, good) in
            [("10.0.0.0/8", true), ("::1", true), ("10.0.0.0/33", false), ("ten", false), ("::/x", false)]
        {
            assert_eq!(range(text).is_ok(), good, "{text}");
        }
    }
}
