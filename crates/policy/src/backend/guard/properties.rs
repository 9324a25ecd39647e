//! Outlier ejection of a whole backend, against a slow model of Envoy's.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Rng;
use crate::mesh::{BackendName, Balancing, Deviation, Enforcing, FailurePercentage};
use crate::verdict::Cause;

/// An endpoint as Envoy's sources tell its life, with every sample kept.
#[derive(Clone, Default)]
struct Host {
    /// Since it was found or came back.
    run: Vec<bool>,
    interval: Vec<bool>,
    ejected_at: Option<(u64, u64)>,
    returned_at: Option<u64>,
    backoff: u64,
}

/// All endpoints. Seconds.
struct Model {
    hosts: Vec<Host>,
    config: Outliers,
    told: Vec<String>,
}

impl Model {
    fn eject(&mut self, now: u64, index: usize) {
        let (base, most) = (self.config.base_ejection.as_secs(), self.config.max_ejection.as_secs());
        let active = self.hosts.iter().filter(|host| host.ejected_at.is_some()).count() as f64;
        let percent = 100.0 * (active + 1.0) / self.hosts.len() as f64;
        let limit = f64::from(self.config.max_ejection_percent);
        let one = self.config.always_eject_one && active == 0.0 && limit > 0.0;
        let left = self.hosts.len() as f64 - active;
        let host = &mut self.hosts[index];
        if host.ejected_at.is_some() {
            return;
        }
        if !(percent <= limit || one) || left <= f64::from(self.config.floor) {
            return self.told.push(format!("{now} refused {index}"));
        }
        if host.backoff * base < most + base {
            host.backoff += 1;
        }
        let span = (base * host.backoff).min(most);
        host.ejected_at = Some((now, span));
        self.told.push(format!("{now} ejected {index} until {}", now + span));
    }

    fn judge(&mut self, now: u64, index: usize, good: bool) {
        let host = &mut self.hosts[index];
        if host.ejected_at.is_some() {
            return;
        }
        host.interval.push(good);
        host.run.push(good);
        let failures = host.run.iter().rev().take_while(|good| !**good).count();
        if failures >= self.config.consecutive_5xx as usize {
            host.run.clear();
            self.eject(now, index);
        }
    }

    /// Whether floating point can tell.
    fn interval(&mut self, now: u64) -> bool {
        for (index, host) in self.hosts.iter_mut().enumerate() {
            if host.ejected_at.is_some_and(|(at, span)| span <= now - at) {
                (host.ejected_at, host.returned_at) = (None, Some(now));
                host.run.clear();
                self.told.push(format!("{now} returned {index}"));
            }
        }
        let rates: Vec<(usize, f64, usize)> = self
            .hosts
            .iter_mut()
            .enumerate()
            .map(|(index, host)| (index, std::mem::take(&mut host.interval), host.ejected_at))
            .filter(|(_, samples, ejected_at)| !samples.is_empty() && ejected_at.is_none())
            .map(|(index, samples, _)| {
                let good = samples.iter().filter(|good| **good).count();
                (index, good as f64 * 100.0 / samples.len() as f64, samples.len())
            })
            .collect();
        let Deviation { minimum_hosts, request_volume, stdev_factor } = self.config.success_rate;
        let valid: Vec<_> = rates.iter().filter(|(_, _, of)| *of >= request_volume as usize).collect();
        let n = valid.len() as f64;
        let mean = valid.iter().map(|(_, rate, _)| rate).sum::<f64>() / n;
        let deviation = (valid.iter().map(|(_, rate, _)| (rate - mean).powi(2)).sum::<f64>() / n).sqrt();
        let threshold = mean - f64::from(stdev_factor) / 1000.0 * deviation;
        if valid.len() >= minimum_hosts as usize {
            for (index, rate, _) in &valid {
                if deviation > 0.0 && (rate - threshold).abs() < 1e-6 {
                    return false;
                }
                if deviation > 0.0 && *rate < threshold {
                    self.eject(now, *index);
                }
            }
        }
        let FailurePercentage { threshold, minimum_hosts, request_volume } = self.config.failure_percentage;
        let valid: Vec<_> = rates.iter().filter(|(_, _, of)| *of >= request_volume as usize).collect();
        if valid.len() >= minimum_hosts as usize {
            for (index, rate, _) in valid {
                if 100.0 - rate >= f64::from(threshold) - 1e-9 {
                    self.eject(now, *index);
                }
            }
        }
        for host in &mut self.hosts {
            let served = host.returned_at.is_none_or(|at| now - at >= self.config.interval.as_secs());
            if host.ejected_at.is_none() && served {
                host.backoff = host.backoff.saturating_sub(1);
            }
        }
        true
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "any other is a mistake")]
fn told(now: u64, event: BackendEvent) -> String {
    let number = |endpoint: &str| endpoint.trim_start_matches("pod-").to_owned();
    match event {
        BackendEvent::Ejected { endpoint, until, .. } => {
            format!("{now} ejected {} until {}", number(&endpoint), until.as_nanos() / 1_000_000_000)
        }
        BackendEvent::EjectionRefused { endpoint, .. } => format!("{now} refused {}", number(&endpoint)),
        BackendEvent::Returned { endpoint } => format!("{now} returned {}", number(&endpoint)),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn ejections_and_returns_come_when_envoys_do(
        hosts in 1_u8..9,
        ills in prop::collection::vec(0_u32..1000, 8),
        gaps in prop::collection::vec(0_u64..3, 1..400),
        settings in (1_u32..6, 0_u32..4, 0_u32..6, 0_u32..3000, 30_u32..=100, 0_u32..=100, any::<bool>(), 1_u32..3),
        seed in any::<u64>(),
    ) {
        let (run, minimum_hosts, request_volume, stdev_factor, threshold, percent, one, floor) = settings;
        let config = Outliers {
            consecutive_5xx: run,
            success_rate: Deviation { minimum_hosts, request_volume, stdev_factor },
            failure_percentage: FailurePercentage { threshold, minimum_hosts, request_volume },
            enforcing: Enforcing { failure_percentage: 100, ..Outliers::DEFAULT.enforcing },
            interval: Duration::from_secs(5),
            base_ejection: Duration::from_secs(7),
            max_ejection: Duration::from_secs(20),
            max_ejection_percent: percent,
            always_eject_one: one,
            floor,
            ..Outliers::DEFAULT
        };
        let policy =
            BackendPolicy { balancing: Balancing::RoundRobin, outliers: Some(config), ..BackendPolicy::default() };
        let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(seed));
        let endpoints: Vec<Endpoint> = (0..hosts)
            .map(|n| Endpoint {
                address: ([10, 0, 0, n], 80).into(),
                name: format!("pod-{n}").into(),
                zone: Arc::from(""),
                weight: 1,
                identity: Arc::from(""),
                draining: false,
            })
            .collect();
        backend.set_endpoints(Instant::ZERO, &endpoints);
        let mut model = Model { hosts: vec![Host::default(); usize::from(hosts)], config, told: Vec::new() };
        let mut dice = Rng::from_seed(seed);
        let (mut now, mut seen) = (0, Vec::new());
        for gap in gaps {
            // The interval comes first, where both are at the same second.
            let to = now + gap;
            while let Some((at, _)) = backend.poll_deadline() {
                let second = at.as_nanos() / 1_000_000_000;
                if second > to {
                    break;
                }
                backend.on_deadline(at);
                seen.extend(std::iter::from_fn(|| backend.poll_event()).map(|event| told(second, event)));
                if !model.interval(second) {
                    return Ok(());
                }
            }
            now = to;
            let at = Instant::from_nanos(now * 1_000_000_000);
            let Ok(picked) = backend.pick(at, &[], None) else { panic!("the floor is one at least") };
            let index = picked.permit.index;
            let permit = picked.permit;
            let bad = dice.chance(ills[index]);
            let verdict = if bad { Verdict::Failure(Cause::Server) } else { Verdict::Success };
            backend.judge(at, &permit, verdict, Duration::ZERO);
            backend.end(permit);
            seen.extend(std::iter::from_fn(|| backend.poll_event()).map(|event| told(now, event)));
            model.judge(now, index, !bad);
            prop_assert_eq!(&seen, &model.told);
        }
    }
}
