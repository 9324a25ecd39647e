//! Values with units that only scenarios have: `300/s`, `64KiB`, `10Gbps`, `0.05%`, `20x`, `GET /cart`.

use squall_control::units::scaled;

use super::{Rate, RequestMatch};

/// Requests per second or minute: `300/s`, `0.5/s`, `90/m`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("`{text}` is not a rate: write 300/s or 90/m");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let milli = scaled(number.trim(), 1000).ok_or_else(wrong)?;
    match unit.trim() {
        "s" => Ok(Rate(milli)),
        "m" => Ok(Rate((milli + 30) / 60)),
        _ => Err(wrong()),
    }
}

/// Bytes: `128`, `10KiB`, `64KB`, `1.5MiB`. KiB is 1024, KB (or kB) is 1000.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    with_unit(text, UNITS).ok_or_else(|| format!("`{text}` is not a size: write 128, 64KiB or 1MB"))
}

/// Bytes as isotope means them (Docker's `RAMInBytes`): every unit is a power of 1024; `1 KB`, `10K`, `10KiB`, `128`.
pub(super) fn isotope_bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match lower[number.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        _ => None,
    };
    scale
        .and_then(|scale| scaled(number.trim(), scale))
        .ok_or_else(|| format!("`{text}` is not a size: write 128, 10KiB or 1 KB"))
}

/// Bits per second: `10Gbps`, `100Mbps`, `64kbps`.
pub(super) fn bandwidth(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] =
        &[("Gbps", 1_000_000_000), ("Mbps", 1_000_000), ("kbps", 1_000), ("Kbps", 1_000), ("bps", 1)];
    match with_unit(text, UNITS) {
        Some(0) => Err("a bandwidth of 0 lets nothing through: use a partition".to_owned()),
        Some(bits) => Ok(bits),
        None => Err(format!("`{text}` is not a bandwidth: write 10Gbps, 100Mbps or 64kbps")),
    }
}

/// A share with a percent sign, in millionths: `5%` is 50,000. Up to 100 %.
pub(super) fn share(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a percentage: write 5% or 0.05%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let millionths = scaled(number.trim(), 10_000).ok_or_else(wrong)?;
    match u32::try_from(millionths) {
        Ok(share) if share <= 1_000_000 => Ok(share),
        Ok(_) | Err(_) => Err(format!("{text} is more than 100%")),
    }
}

/// A factor: `20x`, `1.5x`, in thousandths; more than 1.
pub(super) fn factor(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a factor: write 20x or 1.5x");
    let number = text.strip_suffix(['x', '×']).ok_or_else(wrong)?;
    let permille = scaled(number.trim(), 1000).ok_or_else(wrong)?;
    match u32::try_from(permille) {
        Ok(factor) if factor > 1000 => Ok(factor),
        Ok(_) => Err(format!("{text} is no slow-down: a factor is more than 1x")),
        Err(_) => Err(wrong()),
    }
}

/// `GET /cart`, `/cart`, `POST /cart/*`, `*`.
pub(super) fn request_match(text: &str) -> Result<RequestMatch, String> {
    if text.trim() == "*" {
        return Ok(RequestMatch { method: None, path: None, prefix: false });
    }
    let (method, path) = request(text)?;
    let (path, prefix) = match path.strip_suffix("/*") {
        Some(stem) => (format!("{stem}/"), true),
        None => (path, false),
    };
    if path.contains(['*', '?', '#']) {
        return Err(format!("`{text}`: a path may end in `/*` and has no query here"));
    }
    Ok(RequestMatch { method, path: Some(path), prefix })
}

/// `GET /cart?id=1` or `/cart`: a method, if any, and a path.
pub(super) fn request(text: &str) -> Result<(Option<String>, String), String> {
    let (method, path) = match text.trim().split_once(' ') {
        Some((method, path)) => (Some(method), path.trim()),
        None => (None, text.trim()),
    };
    let upper = |method: &str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let visible = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !method.is_none_or(upper) {
        return Err(format!("`{text}` is not a request: write GET /path or /path"));
    }
    Ok((method.map(str::to_owned), path.to_owned()))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, scale) = units.iter().find(|(unit, _)| *unit == &text[number.len()..])?;
    scaled(number.trim(), *scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units_are_exact() {
        assert_eq!(rate("300/s"), Ok(Rate(300_000)));
        assert_eq!(rate("0.5/s"), Ok(Rate(500)));
        assert_eq!(rate("90/m"), Ok(Rate(1500)));
        assert_eq!((bytes("64KiB"), bytes("1MB"), bytes("7")), (Ok(65_536), Ok(1_000_000), Ok(7)));
        assert_eq!(
            (isotope_bytes("1 KB"), isotope_bytes("10K"), isotope_bytes("128")),
            (Ok(1024), Ok(10_240), Ok(128))
        );
        assert_eq!(bandwidth("10Gbps"), Ok(10_000_000_000));
        assert_eq!((share("0.05%"), share("100%")), (Ok(500), Ok(1_000_000)));
        assert_eq!((factor("20x"), factor("1.5x")), (Ok(20_000), Ok(1500)));
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        for text in ["300", "a/s", "300/d", "-1/s", "/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["KiB", "1XB", "1.00001KB", "-1"] {
            assert!(bytes(text).is_err() && isotope_bytes(text).is_err(), "{text}");
        }
        for text in ["5", "101%", "0.00001%", "%"] {
            assert!(share(text).is_err(), "{text}");
        }
        for text in ["20", "1x", "0.5x", "x"] {
            assert!(factor(text).is_err(), "{text}");
        }
        for text in ["GET", "get /", "GET cart", "", "GET /a b"] {
            assert!(request(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        let prefix = request_match("GET /cart/*").expect("it is a match");
        assert!(prefix.matches("GET", "/cart/7?x=1") && prefix.matches("GET", "/cart"));
        assert!(!prefix.matches("GET", "/carts") && !prefix.matches("POST", "/cart/7"));
        let exact = request_match("/cart").expect("it is a match");
        assert!(exact.matches("POST", "/cart?x=1") && !exact.matches("GET", "/cart/7"));
        assert!(request_match("*").is_ok_and(|all| all.matches("PUT", "/x")));
    }
}
