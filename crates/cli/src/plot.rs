//! The success of a run over time, in two lines.

use squall_policy::Instant;
use squall_sim::Outcome;

use crate::numbers;

/// From none to all. Only all is the last.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same without Unicode: tenths, `#` is all.
const DIGITS: [char; 11] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '#'];

/// Success over time with its lowest point, and below it when faults were in force. Nothing without requests.
pub(crate) fn success(outcome: &Outcome, unicode: bool) -> Vec<String> {
    let pulse = &outcome.pulse;
    let levels: &[char] = if unicode { &BLOCKS } else { &DIGITS };
    let bins: Vec<(u64, u64)> = pulse.succeeded.iter().copied().zip(pulse.requests.iter().copied()).collect();
    let asked = bins.iter().enumerate().filter(|(_, (_, requests))| *requests > 0);
    // Fractions, compared without dividing; of equals the first.
    let lowest = asked.min_by(|(_, (a, of_a)), (_, (b, of_b))| {
        (u128::from(*a) * u128::from(*of_b)).cmp(&(u128::from(*b) * u128::from(*of_a)))
    });
    let Some((at, (least, of))) = lowest else { return Vec::new() };
    let curve: String = bins.iter().map(|(succeeded, requests)| level(*succeeded, *requests, levels)).collect();
    let start = |number: usize| pulse.bin * u32::try_from(number).unwrap_or(u32::MAX);
    let low = match least == of {
        true => "all of the time".to_owned(),
        false => format!("lowest {} at {}", numbers::percent(*least, *of), numbers::span(start(at))),
    };
    let mut lines = vec![format!("  success  {curve}  {low}")];
    let spans: Vec<(Instant, Option<Instant>)> =
        outcome.faults.iter().filter_map(|fault| Some((fault.began?, fault.ended))).collect();
    if !spans.is_empty() {
        let mark = if unicode { '━' } else { '=' };
        let band = (0..bins.len()).map(|number| {
            let (from, to) = (Instant::ZERO + start(number), Instant::ZERO + start(number + 1));
            // A fault of a moment has its bin too.
            let touches = |(began, ended): &(Instant, Option<Instant>)| {
                *began < to && ended.is_none_or(|ended| ended > from || (ended == *began && ended >= from))
            };
            if spans.iter().any(touches) { mark } else { ' ' }
        });
        let each = format!("{} each", numbers::span(pulse.bin));
        lines.push(format!("  faults   {}  {each}", band.collect::<String>()));
    }
    lines
}

fn level(succeeded: u64, requests: u64, levels: &[char]) -> char {
    if requests == 0 {
        return ' ';
    }
    let top = u128::from(levels.len() as u64 - 1);
    let at = u128::from(succeeded) * top / u128::from(requests);
    usize::try_from(at).ok().and_then(|at| levels.get(at)).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample;

    fn drawn(unicode: bool) -> Vec<String> {
        let mut case = sample::failed(1);
        let Ok(outcome) = &mut case.result else { panic!("the sample has an outcome") };
        outcome.pulse.bin = Duration::from_secs(10);
        outcome.pulse.requests = vec![10, 1000, 10, 10, 0, 10];
        outcome.pulse.succeeded = vec![10, 999, 5, 0, 0, 0];
        success(outcome, unicode)
    }

    #[test]
    fn the_curve_stands_above_the_band_of_the_faults() {
        assert_eq!(drawn(true), ["  success  █▇▄▁ ▁  lowest 0.00 % at 30.0 s", "  faults    ━━━━   10.0 s each"]);
        assert_eq!(drawn(false), ["  success  #950 0  lowest 0.00 % at 30.0 s", "  faults    ====   10.0 s each"]);
    }

    #[test]
    fn without_requests_there_is_nothing_to_draw() {
        let Ok(outcome) = sample::passed(1).result else { panic!("the sample has an outcome") };
        assert_eq!(success(&outcome, true), [""; 0]);
    }
}
