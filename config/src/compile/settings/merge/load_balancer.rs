//! `loadBalancer`.

use super::Merge;
use crate::{
    convert::Setting,
    model,
    schema::{Balance, HashOnBody, LocalityBody, Prefer, SlowStartBody},
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn load_balancer(&mut self) -> model::LoadBalancer {
        // What is hashed belongs to the rule that hashes: both are of one body.
        let written = self.first("loadBalancer.policy", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            let policy = balance(body.policy.0?);
            let on = body.hash_on.0.as_ref().filter(|_| policy.hashes()).and_then(hash_on);
            Some(((policy, on), body.span))
        });
        let panic_below = self.first("loadBalancer.panicBelow", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            Some((body.panic_below.0?.0, body.span))
        });
        let locality = self.first("loadBalancer.locality", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            setting(&body.locality, body.span, |written: &LocalityBody| {
                let Prefer::Zone = written.prefer;
                let percent = written.spill_below.0.map_or(model::Locality::SPILL_BELOW, |percent| percent.0);
                (Some(model::Locality { spill_below: percent }), written.span)
            })
        });
        let slow_start = self.first("loadBalancer.slowStart", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            setting(&body.slow_start, body.span, |written: &SlowStartBody| {
                (super::timeouts::positive(&written.window), written.span)
            })
        });
        let built_in = model::LoadBalancer::default();
        let (policy, hash_on) = written.unwrap_or_default();
        model::LoadBalancer {
            policy,
            hash_on,
            locality: locality.flatten(),
            slow_start: slow_start.flatten(),
            panic_below: panic_below.unwrap_or(built_in.panic_below),
        }
    }
}

/// What is said of a part that null switches off; `whole` is the place of null.
fn setting<T, V>(
    written: &Setting<T>,
    whole: Span,
    read: impl Fn(&T) -> (Option<V>, Span),
) -> Option<(Option<V>, Span)> {
    match written {
        Setting::Unset => None,
        Setting::Off => Some((None, whole)),
        Setting::Set(body) => Some(read(body)),
    }
}

fn balance(written: Balance) -> model::Balance {
    match written {
        Balance::LeastRequest => model::Balance::LeastRequest,
        Balance::PeakEwma => model::Balance::PeakEwma,
        Balance::RoundRobin => model::Balance::RoundRobin,
        Balance::Random => model::Balance::Random,
        Balance::RingHash => model::Balance::RingHash,
        Balance::Maglev => model::Balance::Maglev,
    }
}

/// What is hashed; exactly one of the fields is written.
fn hash_on(written: &HashOnBody) -> Option<model::HashOn> {
    let header = written.header.as_ref().map(|name| model::HashOn::Header(name.value.0.clone()));
    let cookie = written.cookie.as_ref().map(|name| model::HashOn::Cookie(name.value.0.clone()));
    let query = written.query.as_ref().map(|name| model::HashOn::Query(name.value.0.clone()));
    let source = written.source_ip.as_ref().map(|_| model::HashOn::SourceIp);
    header.or(cookie).or(query).or(source)
}
