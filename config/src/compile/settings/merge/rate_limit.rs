//! `rateLimit`: no leaves that override each other, but limits that all count.

use super::{Layer, Merge};
use crate::{
    convert::Setting,
    model::{RateLimit, RateLimitBy, SettingLayer},
    schema::{self, RateLimitBody},
};

impl Merge<'_> {
    /// The limits of the policies on the Service and on its namespace, all of them; where there is none, the mesh's. A
    /// null takes those away that are less specific.
    pub(super) fn rate_limits(&self) -> Vec<RateLimit> {
        let mut limits = Vec::new();
        for on in [SettingLayer::PolicyOnService, SettingLayer::PolicyOnNamespace, SettingLayer::MeshDefaults]
        {
            if on == SettingLayer::MeshDefaults && !limits.is_empty() {
                break;
            }
            let here = || self.layers.iter().filter(|layer| layer.on == on);
            limits.extend(here().filter_map(|layer| match layer.blocks.rate_limit {
                Setting::Set(body) => Some(self.rate_limit(layer, body)),
                Setting::Unset | Setting::Off => None,
            }));
            if here().any(|layer| matches!(layer.blocks.rate_limit, Setting::Off)) {
                break;
            }
        }
        limits
    }

    fn rate_limit(&self, layer: &Layer<'_>, body: &RateLimitBody) -> RateLimit {
        let requests = body.requests.value.0;
        RateLimit {
            requests,
            per: body.per.value.0,
            burst: body.burst.0.map_or(requests, |burst| burst.0),
            by: match &body.by.0 {
                None => RateLimitBy::Service,
                Some(schema::RateLimitBy::Identity) => RateLimitBy::Identity,
                Some(schema::RateLimitBy::SourceIp) => RateLimitBy::SourceIp,
                Some(schema::RateLimitBy::Header(name)) => RateLimitBy::Header(name.value.0.clone()),
            },
            origin: self.origin(layer, &body.span),
        }
    }
}
