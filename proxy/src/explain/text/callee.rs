//! Limits that the proxy before a service holds, beneath its backend.

use super::{
    super::report::{RateLimit, Share},
    Page,
};

impl Page {
    pub(super) fn callee(&self, share: &Share) -> Vec<String> {
        let Some(callee) = &share.callee else { return Vec::new() };
        let who = if callee.here { "here" } else { "by the proxy before it" };
        let limit = |RateLimit { limit, counted_with }: &RateLimit| {
            let what = limit.value.as_deref().unwrap_or_default();
            format!("{what}, held {who}; counts with {counted_with}{}", self.source(limit))
        };
        callee.rate_limits.iter().map(limit).collect()
    }
}
