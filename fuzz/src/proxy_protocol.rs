//! The first bytes of a connection as a header of the PROXY protocol, whatever they are: an answer comes, without harm, one that was given of a
//! beginning holds for all that begins so, and no byte behind the header is part of it.

use squall_net::proxy_protocol::{Look, V2_BYTES, look};

/// Runs the target on these bytes; panics where the claim does not hold.
pub fn run(bytes: &[u8]) {
    let whole = look(bytes);
    let ends = [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1), 6, 13, 15, 16, 107];
    for end in ends.into_iter().filter(|end| *end <= bytes.len()) {
        let beginning = look(&bytes[..end]);
        assert!(beginning == Ok(Look::More) || beginning == whole, "{beginning:?}, then {whole:?}");
    }
    match whole {
        Ok(Look::Is { bytes: header, proxied }) => {
            assert!((1..=V2_BYTES).contains(&header) && header <= bytes.len());
            assert_eq!(look(&bytes[..header - 1]), Ok(Look::More));
            assert_eq!(look(&bytes[..header]), whole);
            if let Some(proxied) = proxied {
                assert_eq!(proxied.source.is_ipv4(), proxied.destination.is_ipv4());
            }
        }
        Ok(Look::More) => assert!(bytes.len() < V2_BYTES),
        Err(_) => {}
    }
}
