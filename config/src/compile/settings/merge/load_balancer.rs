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
        model::LoadBalancer { policy }
    }
}
