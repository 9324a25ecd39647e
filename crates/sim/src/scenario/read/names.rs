//! Whom a fault, a link or an expectation may name.

use std::sync::Arc;

use squall_control::yaml::Value;
use squall_control::{Mistake, closest};

use super::value;
use crate::scenario::{ControlSpec, Load, ServiceSpec, Target};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Service,
    Load,
    Control,
}

struct Named {
    name: Arc<str>,
    role: Role,
    versions: Vec<Arc<str>>,
    hosts: u32,
}

/// The names of a scenario.
pub(super) struct Names {
    named: Vec<Named>,
    pub(super) zones: Vec<Arc<str>>,
}

impl Names {
    pub(super) fn new(services: &[ServiceSpec], loads: &[Load], zones: &[Arc<str>]) -> Self {
        let services = services.iter().map(|service| Named {
            name: service.name.value.as_str().into(),
            role: Role::Service,
            versions: service.versions.iter().map(|version| Arc::clone(&version.name)).collect(),
            hosts: service.versions.iter().map(|version| version.replicas).sum(),
        });
        let loads = loads.iter().map(|load| Named {
            name: Arc::clone(&load.name),
            role: Role::Load,
            versions: Vec::new(),
            hosts: load.hosts,
        });
        let control = Named { name: ControlSpec::HOST.into(), role: Role::Control, versions: Vec::new(), hosts: 1 };
        Self { named: services.chain(loads).chain([control]).collect(), zones: zones.to_vec() }
    }

    /// What `name` is.
    pub(super) fn role(&self, name: &str) -> Option<Role> {
        self.find(name).map(|named| named.role)
    }

    /// Names of services and loads.
    pub(super) fn measured(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter(|named| named.role != Role::Control).map(|named| &*named.name)
    }

    /// How many hosts a target of services has at most (a zone's are not counted: 0).
    pub(super) fn hosts(&self, target: &Target) -> u32 {
        match target {
            Target::Service(name) | Target::Version(name, _) => self.find(name).map_or(0, |named| named.hosts),
            Target::Replica(..) => 1,
            Target::All | Target::Zone(_) => 0,
        }
    }

    fn find(&self, name: &str) -> Option<&Named> {
        self.named.iter().find(|named| &*named.name == name)
    }

    /// `catalog`, `reviews/v2`, `catalog[0]`, or `{zone: a}`.
    pub(super) fn target(&self, value: Value<'_>) -> Option<Target> {
        if value.is_map() {
            let zone = value.fields("a target", &["zone"])?.required("zone")?;
            return Some(Target::Zone(value::zone(zone, &self.zones)?));
        }
        let text = value.name()?;
        if let Some((name, index)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            let named = self.known(name, value)?;
            let Ok(index) = index.parse::<u32>() else {
                return value.refuse(format!("`{index}` is not a number of a pod: write {name}[0]"));
            };
            if index >= named.hosts {
                let most = named.hosts - 1;
                return value.refuse(format!("there is no {text}: {name}[0] to {name}[{most}] are there"));
            }
            return Some(Target::Replica(Arc::clone(&named.name), index));
        }
        if let Some((name, version)) = text.split_once('/') {
            let named = self.known(name, value)?;
            let Some(version) = named.versions.iter().find(|known| &***known == version && !known.is_empty()) else {
                let place = value::word(value, text, version);
                let mistake = Mistake::new(&place, format!("`{name}` has no version `{version}`"));
                let known = named.versions.iter().map(|known| &**known).filter(|known| !known.is_empty());
                value.mistakes().push(mistake.suggest(version, known));
                return None;
            };
            return Some(Target::Version(Arc::clone(&named.name), Arc::clone(version)));
        }
        Some(Target::Service(Arc::clone(&self.known(text, value)?.name)))
    }

    /// As [`Names::target`], but only what serves requests: a service, a version or a pod of one, or a zone.
    pub(super) fn serving(&self, value: Value<'_>, what: &str) -> Option<Target> {
        let target = self.target(value)?;
        match &target {
            Target::Service(name) | Target::Version(name, _) | Target::Replica(name, _) => match self.role(name) {
                Some(Role::Service) => Some(target),
                Some(Role::Load) => value.refuse(format!("`{name}` is a load: {what} is for services")),
                Some(Role::Control) | None => {
                    value.refuse(format!("`{name}` serves no requests: {what} is for services"))
                }
            },
            Target::All | Target::Zone(_) => Some(target),
        }
    }

    fn known(&self, name: &str, value: Value<'_>) -> Option<&Named> {
        if let Some(named) = self.find(name) {
            return Some(named);
        }
        let place = value::word(value, value.scalar()?, name);
        let mistake = Mistake::new(&place, format!("`{name}` is not a service, load or `control`"));
        let names: Vec<&str> = self.named.iter().map(|named| &*named.name).collect();
        let mistake = if let Some(zone) = self.zones.iter().find(|zone| &***zone == name) {
            mistake.help(format!("a zone is written {{zone: {zone}}}"))
        } else if let Some(near) = closest(name, &names) {
            mistake.help(format!("did you mean `{near}`?"))
        } else {
            mistake.suggest(name, names)
        };
        value.mistakes().push(mistake);
        None
    }
}
