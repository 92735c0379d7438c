//! How an endpoint of a backend is chosen, with who says so, and where the hash of one request leads.

use http::request::Parts;
use outrigger_config::format_duration;

use super::{
    Explainer,
    report::{Hashed, Share},
    settings::{self, setting},
};
use crate::{
    balance::{self, hash_on},
    runtime::snapshot::Backend,
};
use std::net::IpAddr;

impl Explainer {
    /// Tells how one of several endpoints is chosen.
    pub(super) fn balancing(&self, share: &mut Share, backend: &Backend) {
        if share.endpoints.len() < 2 {
            return;
        }
        let (how, origins) = (&backend.settings.load_balancer, &backend.settings.origins);
        share.load_balancer = Some(settings::load_balancer(&backend.settings));
        share.locality = how.locality.map(|locality| {
            let percent = locality.spill_below;
            let words = match &self.resources.workload.zone {
                Some(zone) => format!("zone {zone} first, while {percent} % of it are usable"),
                None => "no difference: the Sidecar names no zone".to_owned(),
            };
            setting(origins, "loadBalancer.locality", Some(words))
        });
        let window = how.slow_start.filter(|_| !how.policy.hashes());
        share.slow_start =
            window.map(|window| setting(origins, "loadBalancer.slowStart", Some(format_duration(window))));
    }

    /// Tells where the hash of a request leads, by policies that hash.
    pub(super) fn hashed(&self, share: &mut Share, backend: &Backend, head: &Parts, peer: IpAddr) {
        let Some(on) =
            backend.settings.load_balancer.hash_on.as_ref().filter(|_| share.load_balancer.is_some())
        else {
            return;
        };
        let key = hash_on::key(on, &head.headers, head.uri.query(), peer);
        let led = |key| balance::led(&backend.endpoints.load(), backend.settings.load_balancer.policy, key);
        share.hashed = Some(Hashed {
            on: on.to_string(),
            is_there: key.is_some(),
            endpoint: key.and_then(led).map(|address| address.to_string()),
        });
    }
}
