//! What one proxy sees at one moment: its resources by type and name, encoded, each with a version by content.
//!
//! Immutable and shared: resources that are the same for many proxies, or were so before, are one allocation.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use aws_lc_rs::digest;
use outrigger_config::{
    model::{Destination, Resources},
    wire::{ResourceType, Travels},
};

/// One encoded resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its canonical name.
    pub(crate) name: Arc<str>,
    /// The hash of its bytes: the same on every replica.
    pub(crate) version: Arc<str>,
    /// The message.
    pub(crate) bytes: Vec<u8>,
    /// The other names by which it may be asked for.
    pub(crate) aliases: Vec<String>,
}

/// Resources of one type by canonical name.
pub(crate) type Entries = BTreeMap<Arc<str>, Arc<Entry>>;

/// What one proxy sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    mesh_config: Entries,
    endpoints: Arc<Entries>,
    destinations: Arc<Destinations>,
    workload: Entries,
}

/// What one namespace may call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Destinations {
    entries: Entries,
    hosts: HashMap<Arc<str>, Called>,
    addresses: HashMap<IpAddr, Called>,
}

/// Whom a host or an address means.
#[derive(Debug, PartialEq, Eq)]
struct Called {
    name: Arc<str>,
    ports: Vec<u16>,
}

/// Encoded resources of this and the last world, so that equal ones are one.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    known: HashMap<(ResourceType, Arc<str>), Arc<Entry>>,
}

impl Interner {
    /// Encodes a resource.
    fn entry<T: Travels>(&mut self, resource: &T, aliases: Vec<String>) -> Arc<Entry> {
        let bytes = resource.encode();
        let hash = digest::digest(&digest::SHA256, &bytes);
        let version: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let version: Arc<str> = version.into();
        let name = resource.wire_name().into();
        let entry = self.known.entry((T::TYPE, version.clone()));
        entry.or_insert_with(|| Arc::new(Entry { name, version, bytes, aliases })).clone()
    }

    /// Forgets what nobody else holds.
    pub(crate) fn tidy(&mut self) {
        self.known.retain(|_, entry| Arc::strong_count(entry) > 1);
    }
}

impl Snapshot {
    /// The snapshots for all Sidecars of one namespace, in their order. Only their workloads differ.
    pub(crate) fn of_namespace(all: &[Resources], interner: &mut Interner) -> Vec<Self> {
        let Some(first) = all.first() else { return Vec::new() };
        let mut shared = Self::default();
        insert(&mut shared.mesh_config, interner.entry(&first.mesh, Vec::new()));
        let mut endpoints = Entries::new();
        for one in &first.endpoints {
            insert(&mut endpoints, interner.entry(&**one, Vec::new()));
        }
        shared.endpoints = Arc::new(endpoints);
        shared.destinations = Arc::new(Destinations::of(&first.destinations, interner));
        let with_workload = |resources: &Resources| {
            let mut own = shared.clone();
            insert(&mut own.workload, interner.entry(&resources.workload, Vec::new()));
            own
        };
        all.iter().map(with_workload).collect()
    }

    /// The resources of one type.
    pub(crate) fn entries(&self, kind: ResourceType) -> &Entries {
        match kind {
            ResourceType::MeshConfig => &self.mesh_config,
            ResourceType::Endpoints => &self.endpoints,
            ResourceType::Destination => &self.destinations.entries,
            ResourceType::Workload => &self.workload,
        }
    }

    /// The resource that a name means: a canonical name, `host/<authority>:<port>` or `ip/<ip>:<port>`.
    pub(crate) fn find(&self, kind: ResourceType, name: &str) -> Option<&Arc<Entry>> {
        let entries = self.entries(kind);
        match kind {
            ResourceType::Destination => entries.get(name).or_else(|| self.destinations.alias(name)),
            ResourceType::MeshConfig | ResourceType::Endpoints | ResourceType::Workload => entries.get(name),
        }
    }

    /// This one, with the endpoints of another: endpoints are no policy and need not wait for it.
    pub(crate) fn with_endpoints_of(&self, other: &Self) -> Self {
        Self { endpoints: other.endpoints.clone(), ..self.clone() }
    }
}

fn insert(entries: &mut Entries, entry: Arc<Entry>) {
    entries.insert(entry.name.clone(), entry);
}

impl Destinations {
    fn of(all: &[Arc<Destination>], interner: &mut Interner) -> Self {
        let mut made = Self::default();
        for one in all {
            let entry = interner.entry(&**one, aliases(one));
            let called = || Called {
                name: entry.name.clone(),
                ports: one.ports.iter().map(|port| port.port).collect(),
            };
            for host in &one.hosts {
                made.hosts.insert(host.clone(), called());
            }
            for address in &one.cluster_ips {
                made.addresses.entry(*address).or_insert_with(called);
            }
            insert(&mut made.entries, entry);
        }
        made
    }

    fn alias(&self, name: &str) -> Option<&Arc<Entry>> {
        let (form, authority) = name.split_once('/')?;
        let (host, port) = authority.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let called = match form {
            "host" => self.hosts.get(host.trim_end_matches('.').to_ascii_lowercase().as_str()),
            "ip" => {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                self.addresses.get(&bare.parse::<IpAddr>().ok()?)
            }
            _ => None,
        }?;
        called.ports.contains(&port).then(|| self.entries.get(&called.name))?
    }
}

/// Every name but the canonical one by which a destination may be asked for.
fn aliases(destination: &Destination) -> Vec<String> {
    let mut all = Vec::new();
    for port in &destination.ports {
        let port = port.port;
        all.extend(destination.hosts.iter().map(|host| format!("host/{host}:{port}")));
        let addresses = destination.cluster_ips.iter();
        all.extend(addresses.map(|ip| format!("ip/{}", std::net::SocketAddr::new(*ip, port))));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests::{POLICY, snapshot};

    #[test]
    fn a_destination_answers_to_its_hosts_and_addresses_by_port() {
        let seen = snapshot(POLICY, "shop/cart");
        let find =
            |name: &str| seen.find(ResourceType::Destination, name).map(|entry| entry.name.to_string());
        for name in [
            "shop/reviews",
            "host/reviews:80",
            "host/Reviews.shop.:80",
            "host/reviews.shop.svc.cluster.local:80",
        ] {
            assert_eq!(find(name).as_deref(), Some("shop/reviews"), "{name}");
        }
        assert_eq!(find("ip/10.96.0.1:80").as_deref(), Some("shop/cart"));
        for name in [
            "host/reviews:81",
            "host/reviews",
            "ip/10.96.0.1:81",
            "ip/x:80",
            "host/nobody:80",
            "x/reviews:80",
            "",
        ] {
            assert_eq!(find(name), None, "{name}");
        }
        let entry = seen.find(ResourceType::Destination, "shop/cart").unwrap();
        assert!(entry.aliases.contains(&"ip/10.96.0.1:80".to_owned()), "{:?}", entry.aliases);
    }

    #[test]
    fn only_the_own_workload_is_in_it() {
        let seen = snapshot(POLICY, "shop/cart");
        let names: Vec<_> = seen.entries(ResourceType::Workload).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["shop/cart"]);
    }
}
