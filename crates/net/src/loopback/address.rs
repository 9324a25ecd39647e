//! What a host's addresses are to itself and to this machine.
//!
//! Host n has two addresses in a block `127.B.0.0/16` that no other world on this machine uses: one stands for the address it
//! has in its cluster, one for its own `127.0.0.1`. Ports below 1024, which not everybody may open, are moved up.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// Where the ports below 1024 are moved to: the top of the range, which Linux does not give to clients by itself.
const LOW_PORTS_AT: u16 = 64_512;

/// Held by one world per block, at the block's last address.
const CLAIM_PORT: u16 = 64_511;

pub(super) struct Addresses {
    block: u8,
    _claim: TcpListener,
    hosts: Vec<(Arc<str>, IpAddr)>,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Whose an address is, seen from a host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The host's own `127.0.0.1`.
    Local,
    /// The cluster address of this host.
    Host(usize),
}

impl Addresses {
    /// Claims a block. `AddrInUse` if 254 other worlds run on this machine.
    pub(super) fn claim() -> io::Result<Self> {
        // Block 0 is left to the machine itself: 127.0.0.1, 127.0.0.53.
        for block in 1..=254 {
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, block, 255, 254), CLAIM_PORT)) {
                return Ok(Self { block, _claim: claim, hosts: Vec::new(), by_address: BTreeMap::new() });
            }
        }
        Err(io::Error::new(ErrorKind::AddrInUse, "no free block of addresses in 127.0.0.0/8"))
    }

    pub(super) fn add(&mut self, name: Arc<str>, address: IpAddr) -> usize {
        let host = self.hosts.len();
        assert!(host < 16_000, "a world on loopback has no more than 16000 hosts");
        assert!(self.by_address.insert(address, host).is_none(), "{address} is the address of two hosts");
        self.hosts.push((name, address));
        host
    }

    pub(super) fn name(&self, host: usize) -> &Arc<str> {
        &self.hosts[host].0
    }

    pub(super) fn resolve(&self, name: &str) -> Option<IpAddr> {
        self.hosts.iter().find(|(known, _)| **known == *name).map(|(_, address)| *address)
    }

    /// Whose `address` is, as `host` sees it.
    pub(super) fn owner(&self, address: IpAddr) -> Option<Owner> {
        if address == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return Some(Owner::Local);
        }
        self.by_address.get(&address).map(|host| Owner::Host(*host))
    }

    /// The address on this machine. `InvalidInput` for a port that has no place there.
    pub(super) fn real(&self, host: usize, owner: Owner, port: u16) -> io::Result<SocketAddr> {
        let number = match owner {
            Owner::Local => 2 * host + 1,
            Owner::Host(host) => 2 * host + 2,
        };
        let [.., high, low] = u32::try_from(number).expect("at most 16000 hosts").to_be_bytes();
        let port = match port {
            0 => 0,
            1..1024 => LOW_PORTS_AT + port,
            CLAIM_PORT.. => {
                let why = format!("port {port}: on loopback the ports from {CLAIM_PORT} stand for those below 1024");
                return Err(io::Error::new(ErrorKind::InvalidInput, why));
            }
            other => other,
        };
        Ok((Ipv4Addr::new(127, self.block, high, low), port).into())
    }

    /// The address that the hosts of this world see.
    pub(super) fn seen(&self, real: SocketAddr) -> SocketAddr {
        let port = if real.port() > LOW_PORTS_AT { real.port() - LOW_PORTS_AT } else { real.port() };
        let address = match real.ip() {
            IpAddr::V4(v4) if v4.octets()[..2] == [127, self.block] => {
                let [.., high, low] = v4.octets();
                let number = usize::from(u16::from_be_bytes([high, low]));
                match number % 2 {
                    0 => self.hosts.get((number / 2).wrapping_sub(1)).map(|(_, address)| *address),
                    _ => Some(Ipv4Addr::LOCALHOST.into()),
                }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        SocketAddr::new(address.unwrap_or(real.ip()), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_and_port_is_seen_as_it_was_meant() {
        let mut addresses = Addresses::claim().expect("a free block");
        for host in 0..300_u16 {
            let [high, low] = host.to_be_bytes();
            addresses.add(format!("host-{host}").into(), Ipv4Addr::new(10, 0, high, low).into());
        }
        for host in [0, 1, 127, 128, 299] {
            for port in [0, 1, 80, 1023, 1024, 8080, 64_510] {
                let real = addresses.real(0, Owner::Host(host), port).expect("a good port");
                let meant = SocketAddr::new(addresses.hosts[host].1, port);
                assert_eq!(addresses.seen(real), meant);
                let real = addresses.real(host, Owner::Local, port).expect("a good port");
                assert_eq!(addresses.seen(real), SocketAddr::from(([127, 0, 0, 1], port)));
            }
        }
        for port in [64_511, 64_512, 64_592, 65_535] {
            let refused = addresses.real(0, Owner::Local, port).expect_err("no place");
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn two_worlds_never_share_a_block() {
        let (one, two) = (Addresses::claim().expect("a block"), Addresses::claim().expect("a block"));
        assert_ne!(one.block, two.block);
    }
}
