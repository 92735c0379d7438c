//! `loadBalancer`.

use super::Merge;
use crate::{model, schema::Balance};

impl Merge<'_> {
    pub(super) fn load_balancer(&mut self) -> model::LoadBalancer {
        let written = self.first("loadBalancer.policy", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            Some((body.policy.0?, body.span))
        });
        let policy = match written {
            None | Some(Balance::LeastRequest) => model::Balance::LeastRequest,
            Some(Balance::PeakEwma) => model::Balance::PeakEwma,
            Some(Balance::RoundRobin) => model::Balance::RoundRobin,
            Some(Balance::Random) => model::Balance::Random,
        };
        let panic_below = self.first("loadBalancer.panicBelow", |layer| {
            let body = layer.blocks.load_balancer.0.as_ref()?;
            Some((body.panic_below.0?.0, body.span))
        });
        let built_in = model::LoadBalancer::default();
        model::LoadBalancer { policy, panic_below: panic_below.unwrap_or(built_in.panic_below) }
    }
}
