//! Powers with exponents that are no whole numbers, in integers.
//!
//! `2^−x` comes from a table with linear interpolation in Q32 (error under 10⁻⁶), `log2` from repeated squaring, not from
//! libm, whose last digit differs between platforms: picks must not.

/// 1 in Q32.
pub(crate) const ONE: u64 = 1 << 32;
/// 2^(−1/256) in Q63.
const STEP: u128 = 9_198_432_556_164_277_330;

/// 2^(−k/256) in Q32, for k in 0..=256.
static POWERS: [u64; 257] = powers();

const fn powers() -> [u64; 257] {
    let mut table = [0; 257];
    let mut value: u128 = 1 << 63;
    let mut k = 0;
    while k < 257 {
        table[k] = ((value + (1 << 30)) >> 31) as u64;
        value = (value * STEP) >> 63;
        k += 1;
    }
    table
}

/// 2^(−exponent) in Q32, of an exponent in Q32.
pub(crate) fn halved(exponent: u64) -> u64 {
    if exponent >> 32 >= 40 {
        return 0;
    }
    let (whole, index) = ((exponent >> 32) as u32, (exponent as u32 >> 24) as usize);
    let rest = exponent & 0x00ff_ffff;
    let (upper, lower) = (POWERS[index], POWERS[index + 1]);
    (upper - (((upper - lower) * rest) >> 24)) >> whole
}

/// log2 of `value`, at least 1, in Q32.
pub(crate) fn log2(value: u64) -> u64 {
    let value = value.max(1);
    let whole = 63 - value.leading_zeros();
    let mut mantissa = u128::from(value) << (63 - whole);
    let mut fraction = 0;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    u64::from(whole) << 32 | fraction
}

/// (`part` ÷ `whole`)^(`permille` ÷ 1000) in Q32, at most 1; `part` counts as 1 at least.
pub(crate) fn power(part: u64, whole: u64, permille: u64) -> u64 {
    let exponent = log2(whole).saturating_sub(log2(part));
    let exponent = u128::from(exponent) * u128::from(permille) / 1000;
    halved(u64::try_from(exponent).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn logarithms_and_powers_are_those_of_the_reals(
                part in 1_u64..10_000_000_000,
                more in 0_u64..10_000_000_000,
                permille in 0_u64..5000,
            ) {
                let whole = part + more;
                prop_assert!((log2(whole) as f64 / ONE as f64 - (whole as f64).log2()).abs() < 1e-8);
                let exact = (part as f64 / whole as f64).powf(permille as f64 / 1000.0);
                let ours = power(part, whole, permille) as f64 / ONE as f64;
                prop_assert!((ours - exact).abs() < 2e-6, "{} and {}", ours, exact);
            }
        }
    }
}
