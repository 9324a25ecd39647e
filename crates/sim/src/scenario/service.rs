//! The workloads: pods, the work a request is, and the calls it makes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{Protocol, Rng};

use super::{Distribution, Drawn, Located, Place, Scenario};

/// A workload: pods with one application each. Kubernetes Services select it by its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Its key under `services`.
    pub name: Located<String>,
    /// Its namespace. Default: the only one in the mesh files; if there are several it must be given.
    pub namespace: Arc<str>,
    /// Its pods' labels, sorted. Default `app: NAME`. A versioned pod has `version: VERSION` as well.
    pub labels: Vec<(String, String)>,
    /// The application's port (the Service's `targetPort`). Default 80.
    pub port: u16,
    /// The name of that port in the pod, for Services whose `targetPort` is a name. Default none.
    pub port_name: Option<Arc<str>>,
    /// What the application speaks: `http1` (default), `http2`, or `grpc`, which is HTTP/2 and [`ServiceSpec::grpc`].
    pub protocol: Protocol,
    /// Answers carry `grpc-status` in trailers, and errors are gRPC statuses in a trailers-only answer. Default false.
    pub grpc: bool,
    /// The zones its pods are spread over in turn, not empty. Default: all of [`super::Network::zones`].
    pub zones: Vec<Arc<str>>,
    /// Kinds of pods, in the order of the file, not empty. A service without `versions` has one with an empty name.
    pub versions: Vec<Version>,
    /// Requests served at once by one pod, at least 1; `None`: no limit. A request holds its slot from the start of
    /// its time to its answer, calls included. Default none.
    pub slots: Option<u32>,
    /// Requests waiting for a slot, in order of arrival; one more is answered with 503 at once. `None`: no limit.
    /// Default none.
    pub queue: Option<u32>,
    /// Goes on with a request whose client has gone: true (default), as most applications do. False: its slot, place
    /// in the queue and remaining time are freed at once.
    pub finishes_abandoned: bool,
    /// CPU time charged per poll of a pod's tasks (application and sidecar), on one virtual core. Default 0: free.
    pub cpu_per_poll: Duration,
    /// How much its pods' clocks run ahead. Default 0.
    pub clock_ahead: Duration,
    /// A request of this path is answered by itself: 200 at once, without a slot and in no measure, or as the faults at work
    /// have it (their status, their additional time). For the health checks of the mesh. `grpc` in the file is gRPC's health
    /// protocol, and answers that it serves. Default none.
    pub health_check: Option<String>,
    /// The default target of a load. Default false.
    pub entry: bool,
}

impl ServiceSpec {
    /// The named ports of its pods.
    pub(crate) fn ports(&self) -> BTreeMap<String, u16> {
        self.port_name.iter().map(|name| (name.to_string(), self.port)).collect()
    }
}

/// Pods that run one version of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// `v1`; empty in a service without versions.
    pub name: Arc<str>,
    /// How many pods, 1 to 1000. Default 1.
    pub replicas: u32,
    /// The weight of each of its pods in balancing, 1 to 1000. Default 1. Refused where balancing does not weigh.
    pub endpoint_weight: u32,
    /// What they do with a request: the first match serves it; without a match the answer is 404. Not empty.
    pub routes: Vec<RouteScript>,
}

/// What is done with requests of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteScript {
    /// Where it stands.
    pub place: Place,
    /// Which requests.
    pub matches: RequestMatch,
    /// Its share in the load mix of a load that names no `mix`. Default 1; 0: none.
    pub weight: u32,
    /// What it costs and answers.
    pub work: Work,
    /// What it does after its time, in order. The first fatal failure ends it with 500 (gRPC: 13, internal).
    pub steps: Vec<Step>,
}

/// What a request costs and answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The service's own time per request, spent before the steps. Default 0.
    pub time: Distribution,
    /// Requests failing after their time and without their steps, in millionths, each by itself. Default 0.
    pub error_ppm: u32,
    /// The status they fail with, 400 to 599. Default 500. gRPC: 14 (unavailable) for 503, else 13.
    pub error_status: u16,
    /// What they contend for; `None` (default): nothing but slots.
    pub contention: Option<Contention>,
    /// The body of a successful answer, in bytes. Default 128.
    pub response_bytes: u64,
}

/// Optimistic concurrency: a request notes the version of its row when it begins (once it has its slot). When its time and
/// steps are over, it fails if another has committed to that row since; else it commits. Rows are the service's, over all pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contention {
    /// How many rows there are, at least 1; each request is about one of them, each as likely. Default 1.
    pub rows: u32,
    /// The status of those who come too late, 400 to 599. Default 409.
    pub status: u16,
}

impl Contention {
    /// The row of one request. Draws nothing if there is only one.
    pub fn row(self, rng: &mut Rng) -> u32 {
        if self.rows == 1 { 0 } else { rng.below(u64::from(self.rows)) as u32 }
    }
}

/// Which requests: `GET /cart`, `/cart` (any method), `POST /cart/*` (a prefix), `*` (all).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMatch {
    /// Compared exactly; `None`: any.
    pub method: Option<String>,
    /// Without its query; `None`: any.
    pub path: Option<String>,
    /// `path` is a prefix of whole segments.
    pub prefix: bool,
}

impl RequestMatch {
    /// Whether a request is meant. `path` may carry a query, which is not looked at.
    #[must_use]
    pub fn matches(&self, method: &str, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        let same_method = self.method.as_deref().is_none_or(|own| own == method);
        let same_path = match &self.path {
            None => true,
            Some(own) if self.prefix => {
                let own = own.trim_end_matches('/');
                path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Some(own) => own == path,
        };
        same_method && same_path
    }
}

/// One step of a script.
#[expect(clippy::large_enum_variant, reason = "scripts are short, and nearly every step is a call")]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Waits, holding the slot.
    Sleep(Distribution),
    /// Calls another service through the own sidecar.
    Call(Call),
    /// All at once, over when all have ended: `{parallel: [...]}` or a nested list. Each is a script of its own. A
    /// fatal failure of one fails the step once all have ended.
    Parallel(Vec<Vec<Step>>),
}

/// A call of another service.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Where it stands.
    pub place: Place,
    /// The host name asked for: a Service's name, optionally `NAME.NAMESPACE` or with `:PORT`.
    pub host: Located<String>,
    /// `GET` by default; gRPC: `POST`.
    pub method: String,
    /// With query. Default `/`.
    pub path: String,
    /// Sent along. Default none.
    pub headers: Vec<(String, String)>,
    /// Sent along, drawn anew for each call. Default none.
    pub drawn: Vec<(String, Drawn)>,
    /// The request's body in bytes. Default 0.
    pub request_bytes: u64,
    /// The application's own time-out per try; `None` (default): it waits for ever.
    pub timeout: Option<Duration>,
    /// The application's own tries, at least 1, one after the other at once; distinct from the mesh's retries. Default 1.
    /// An answer of 429, or 500 or above (gRPC: any status but 0), a broken connection and a time-out are failures.
    pub tries: u32,
    /// A failure after all tries is tolerated: the script goes on. Default false.
    pub optional: bool,
    /// How often it is made, one after the other, at least 1. Default 1.
    pub repeat: u32,
    /// How often each of these is made at once, at least 1. Default 1.
    pub fan_out: u32,
    /// How likely it is made at all, in millionths; drawn once per step. Default 1,000,000.
    pub probability_ppm: u32,
}

/// One pod to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Index into [`Scenario::services`].
    pub service: usize,
    /// Index into [`ServiceSpec::versions`].
    pub version: usize,
    /// Its index over all versions of the service, as in `catalog[0]`.
    pub replica: u32,
    /// `catalog-0`, or `reviews-v1-0`, counted per version.
    pub name: Arc<str>,
    /// Its zone.
    pub zone: Arc<str>,
    /// Labels, sorted: the service's and `version`.
    pub labels: Vec<(String, String)>,
}

impl Scenario {
    /// All pods, in the order of services, versions and replicas. Zones are taken in turn over a service's versions.
    #[must_use]
    pub fn pods(&self) -> Vec<Pod> {
        let mut pods = Vec::new();
        for (service, spec) in self.services.iter().enumerate() {
            let mut replica = 0;
            for (version, of) in spec.versions.iter().enumerate() {
                for nth in 0..of.replicas {
                    let mut labels = spec.labels.clone();
                    let name = if of.name.is_empty() {
                        format!("{}-{nth}", spec.name.value)
                    } else {
                        labels.push(("version".to_owned(), of.name.to_string()));
                        format!("{}-{}-{nth}", spec.name.value, of.name)
                    };
                    labels.sort();
                    pods.push(Pod {
                        service,
                        version,
                        replica,
                        name: name.into(),
                        zone: Arc::clone(&spec.zones[replica as usize % spec.zones.len()]),
                        labels,
                    });
                    replica += 1;
                }
            }
        }
        pods
    }
}
