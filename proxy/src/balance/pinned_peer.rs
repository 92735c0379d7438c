//! Who an endpoint must prove to be where it is spoken to by mutual TLS.
//!
//! One stays while its address and identity do, over changes of the set and reloads: its number names what was proved to
//! it in the pools, where an identity's text would have to be hashed for every request. Nothing here checks a proof.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use outrigger_config::SpiffeId;

/// Who an endpoint must prove to be.
#[derive(Debug)]
pub struct PinnedPeer {
    id: u64,
    identity: SpiffeId,
}

impl PinnedPeer {
    /// Another one, whatever its identity. Ids start at 1: 0 is nobody.
    pub(crate) fn new(identity: SpiffeId) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { id: LAST.fetch_add(1, Relaxed) + 1, identity })
    }

    /// The peer of an endpoint that is to be `identity`: `old` where that is the same.
    pub(super) fn renewed(old: Option<&Arc<Self>>, identity: Option<SpiffeId>) -> Option<Arc<Self>> {
        let identity = identity?;
        match old {
            Some(old) if old.identity == identity => Some(old.clone()),
            _ => Some(Self::new(identity)),
        }
    }

    /// Tells it from all others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The identity.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use outrigger_config::{
        SpiffeId,
        model::{Endpoint, EndpointAddress, Origin},
    };

    use super::PinnedPeer;
    use crate::balance::EndpointCell;

    fn listed(address: EndpointAddress, account: Option<&str>) -> Endpoint {
        Endpoint {
            address,
            weight: 1,
            zone: None,
            labels: Default::default(),
            identity: account.map(|account| SpiffeId::of_account("cluster.local", "shop", account)),
            origin: Origin { file: "policy.yaml".into(), line: 1, column: 1 },
        }
    }

    fn address(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 80))
    }

    /// The account and id that each endpoint is pinned to.
    fn pinned(cell: &EndpointCell) -> Vec<Option<(String, u64)>> {
        let account = |peer: &Arc<PinnedPeer>| peer.identity().account().unwrap().1.to_owned();
        let all = cell.load();
        all.all()
            .iter()
            .map(|endpoint| endpoint.peer.as_ref().map(|peer| (account(peer), peer.id())))
            .collect()
    }

    #[test]
    fn a_peer_stays_while_address_and_identity_do() {
        let cell = EndpointCell::default();
        let ip = |number| EndpointAddress::Ip(address(number));
        cell.replace(&[listed(ip(1), Some("a")), listed(ip(2), Some("a")), listed(ip(3), None)]);
        let first = pinned(&cell);
        let (one, two) = (first[0].clone().unwrap(), first[1].clone().unwrap());
        assert_eq!((&*one.0, &*two.0, &first[2]), ("a", "a", &None));
        assert_ne!(one.1, two.1);
        cell.replace(&[listed(ip(2), Some("b")), listed(ip(1), Some("a"))]);
        let second = pinned(&cell);
        assert_eq!(second[1], Some(one));
        assert!(matches!(&second[0], Some((name, id)) if name == "b" && *id != two.1));
    }

    #[test]
    fn a_change_of_identity_alone_is_a_change_of_the_set() {
        let cell = EndpointCell::default();
        let ip = EndpointAddress::Ip(address(1));
        for account in [None, Some("a"), Some("b"), None] {
            cell.replace(&[listed(ip.clone(), account)]);
            let now = pinned(&cell)[0].clone();
            assert_eq!(now.map(|(name, _)| name).as_deref(), account);
        }
    }

    #[test]
    fn addresses_of_a_name_are_whoever_the_name_is() {
        let cell = EndpointCell::default();
        let name = EndpointAddress::Dns { host: "api.internal".into(), port: 80 };
        // Listed a second time, by its address and without an identity: the one that is written holds.
        cell.replace(&[listed(EndpointAddress::Ip(address(1)), None), listed(name, Some("a"))]);
        cell.set_dns("api.internal", 80, vec![address(1).ip(), address(2).ip()]);
        let all = pinned(&cell);
        assert!(all.iter().all(|one| matches!(one, Some((name, _)) if name == "a")), "{all:?}");
        assert_eq!(all.len(), 2);
        cell.set_dns("api.internal", 80, vec![address(2).ip(), address(3).ip()]);
        let after = pinned(&cell);
        let of = |number: usize| all[number].clone();
        assert!(after.contains(&of(1)) && !after.contains(&of(0)), "{after:?}");
    }
}
