//! Settings against overload on the wire. What is as by default takes no byte.

use squall_policy::{Adaptive, Codel, Gradient, Limits, Queue, QueueOrder, Rate, RateLimit, Vegas};

use crate::decode::span as read;
use crate::encode::span;
use crate::proto::squall;

/// Beside limits whose plain numbers are said elsewhere.
pub(crate) fn encode(limits: &Limits, rate: Option<&RateLimit>) -> Option<squall::Overload> {
    let (gradient, vegas) = match limits.adaptive {
        None => (None, None),
        Some(Adaptive::Gradient(config)) => (Some(config), None),
        Some(Adaptive::Vegas(config)) => (None, Some(config)),
    };
    let overload = squall::Overload {
        gradient: gradient.map(|config| squall::Gradient {
            min: config.min,
            buffer_permille: config.buffer_permille,
            percentile_permille: config.percentile_permille,
            window: span(config.window),
            min_rtt_interval: span(config.min_rtt_interval),
            min_rtt_jitter_permille: config.min_rtt_jitter_permille,
            min_rtt_requests: config.min_rtt_requests,
        }),
        vegas: vegas.map(|config| squall::Vegas {
            min: config.min,
            initial: config.initial,
            window: span(config.window),
            probe: config.probe,
        }),
        queue: (limits.queue != Queue::default()).then(|| queue(&limits.queue)),
        rate: rate.map(|rate| squall::RateLimit {
            total: rate.total.map(one),
            per_caller: rate.per_caller.map(one),
            overrides: rate
                .overrides
                .iter()
                .map(|(identity, rate)| squall::NamedRate { identity: identity.to_string(), rate: Some(one(*rate)) })
                .collect(),
        }),
    };
    (overload != squall::Overload::default()).then_some(overload)
}

fn queue(queue: &Queue) -> squall::Queue {
    squall::Queue {
        lifo_after: match queue.order {
            QueueOrder::Fifo => None,
            QueueOrder::AdaptiveLifo { after } => span(after),
        },
        priorities: queue.priorities,
        codel: queue.codel.map(|codel| squall::Codel { target: span(codel.target), interval: span(codel.interval) }),
        deadline_aware: queue.deadline_aware,
    }
}

fn one(rate: Rate) -> squall::Rate {
    squall::Rate { requests: rate.requests, per: span(rate.per), burst: rate.burst }
}

/// Completes `limits`, and gives the rate.
pub(crate) fn decode(
    overload: Option<&squall::Overload>,
    limits: &mut Limits,
) -> Result<Option<RateLimit>, &'static str> {
    let Some(overload) = overload else { return Ok(None) };
    limits.adaptive = match (&overload.gradient, &overload.vegas) {
        (None, None) => None,
        (Some(config), None) => Some(Adaptive::Gradient(Gradient {
            min: config.min,
            buffer_permille: config.buffer_permille,
            percentile_permille: config.percentile_permille,
            window: read(config.window)?.unwrap_or_default(),
            min_rtt_interval: read(config.min_rtt_interval)?.unwrap_or_default(),
            min_rtt_jitter_permille: config.min_rtt_jitter_permille,
            min_rtt_requests: config.min_rtt_requests,
        })),
        (None, Some(config)) => Some(Adaptive::Vegas(Vegas {
            min: config.min,
            initial: config.initial,
            window: read(config.window)?.unwrap_or_default(),
            probe: config.probe,
        })),
        (Some(_), Some(_)) => return Err("a limit follows the gradient or Vegas, not both"),
    };
    if let Some(queue) = &overload.queue {
        let codel = |codel: &squall::Codel| -> Result<Codel, &'static str> {
            let (target, interval) = (read(codel.target)?, read(codel.interval)?);
            Ok(Codel { target: target.unwrap_or_default(), interval: interval.unwrap_or_default() })
        };
        limits.queue = Queue {
            order: read(queue.lifo_after)?.map_or(QueueOrder::Fifo, |after| QueueOrder::AdaptiveLifo { after }),
            priorities: queue.priorities,
            codel: queue.codel.as_ref().map(codel).transpose()?,
            deadline_aware: queue.deadline_aware,
        };
    }
    let Some(found) = &overload.rate else { return Ok(None) };
    let rate = |rate: &squall::Rate| -> Result<Rate, &'static str> {
        let per = read(rate.per)?.unwrap_or_default();
        Ok(Rate { requests: rate.requests, per, burst: rate.burst })
    };
    let mut limit = RateLimit {
        total: found.total.as_ref().map(rate).transpose()?,
        per_caller: found.per_caller.as_ref().map(rate).transpose()?,
        overrides: Vec::new(),
    };
    for named in &found.overrides {
        let own = named.rate.as_ref().ok_or("a caller is named without a rate")?;
        limit.overrides.push((named.identity.as_str().into(), rate(own)?));
    }
    Ok(Some(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_follows_two_things_is_refused() {
        let both = squall::Overload {
            gradient: Some(squall::Gradient::default()),
            vegas: Some(squall::Vegas::default()),
            ..squall::Overload::default()
        };
        let mut limits = Limits::default();
        assert_eq!(decode(Some(&both), &mut limits), Err("a limit follows the gradient or Vegas, not both"));
    }

    #[test]
    fn a_caller_without_a_rate_is_refused() {
        let named = squall::NamedRate { identity: "spiffe://a".to_owned(), rate: None };
        let rate = squall::RateLimit { overrides: vec![named], ..squall::RateLimit::default() };
        let overload = squall::Overload { rate: Some(rate), ..squall::Overload::default() };
        let mut limits = Limits::default();
        assert_eq!(decode(Some(&overload), &mut limits), Err("a caller is named without a rate"));
    }

    #[test]
    fn the_defaults_take_no_byte() {
        assert_eq!(encode(&Limits::default(), None), None);
    }
}
