//! Limits that the proxy before a service holds, beneath its backend.

use super::{
    super::report::{Concurrency, RateLimit, Share},
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
        let mut lines: Vec<String> = callee.rate_limits.iter().map(limit).collect();
        lines.extend(callee.concurrency.iter().map(|limit| self.concurrency(limit, who)));
        lines
    }

    fn concurrency(&self, concurrency: &Concurrency, who: &str) -> String {
        let Concurrency { min_limit, max_limit, priority, share_percent } = concurrency;
        let [least, most] = [min_limit, max_limit].map(|bound| bound.value.unwrap_or_default());
        let class = priority.as_ref().and_then(|priority| priority.value.as_deref());
        let class = class.map(|class| format!("; this one is {class} and may fill {share_percent} % of it"));
        let (class, source) = (class.unwrap_or_default(), self.source(min_limit));
        format!("at once from {least} to {most} requests, held {who}{class}{source}")
    }
}
