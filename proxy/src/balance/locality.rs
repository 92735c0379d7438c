//! Endpoints near by come first: how much of the requests stays in the proxy's own zone.
//!
//! Pure: what of the zone is usable in, the zone's share out. Envoy's overprovisioning, written as the percent below which
//! requests begin to spill over: its factor of 1.4 is 70 or so.

use std::sync::Arc;

use super::{Endpoint, EndpointSet};

/// The whole, in the unit of shares.
pub(super) const WHOLE: u64 = 10_000;

/// A set that is parted into what is near and what is not, neither of which is empty.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) near: EndpointSet,
    pub(super) far: EndpointSet,
    /// Of [`WHOLE`].
    pub(super) near_share: u64,
}

/// The share of a zone of whose endpoints `usable` of `all` are usable, both by weight.
pub(super) fn near_share(usable: u64, all: u64, spill_below: f64) -> u64 {
    let percent = usable as f64 * 100.0 / all.max(1) as f64;
    match percent >= spill_below {
        true => WHOLE,
        false => (percent / spill_below * WHOLE as f64) as u64,
    }
}

/// The sum of weights in the zone.
pub(super) fn weight<'e>(endpoints: impl Iterator<Item = &'e Arc<Endpoint>>, zone: &str) -> u64 {
    let near = endpoints.filter(|endpoint| is_near(endpoint, zone));
    near.map(|endpoint| u64::from(endpoint.listed)).sum()
}

/// Whether an endpoint stands in the zone.
pub(super) fn is_near(endpoint: &Endpoint, zone: &str) -> bool {
    endpoint.zone.as_deref() == Some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_spills_over_in_proportion_to_what_it_lacks() {
        let share = |usable| near_share(usable, 100, 70.0);
        assert_eq!([100, 70, 69, 35, 7, 0].map(share), [10_000, 10_000, 9857, 5000, 1000, 0]);
        assert_eq!((near_share(0, 100, 0.0), near_share(1, 4, 100.0)), (10_000, 2500));
    }
}
