//! How many requests a Service takes in a time: held by the proxy before the service, for whoever calls and however.
//!
//! The counting is [`bucket`]'s, the callers are [`buckets`]'. A request is let through only if all limits of its port
//! let it: all are asked before one is counted on, so what one refuses costs nothing with the others. What is refused has
//! cost nothing else: no body was read, no endpoint chosen.

mod bucket;
mod buckets;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header::RETRY_AFTER};
use outrigger_config::{
    SpiffeId,
    model::{self, InboundApp, ObjectName, RateLimitBy},
};

use crate::{
    body::AnswerBody,
    error::Failure,
    exchange::Exchange,
    runtime::{BuildError, snapshot::Rule},
    telemetry::metrics::{RateLimitMetrics, RateLimitOutcome},
};
use bucket::{Bucket, Rate, Verdict};
use buckets::{Buckets, Key, Owner};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A caller is forgotten when its bucket has been full for so long: a worker may be late with its look at the clock.
const GRACE: Duration = Duration::from_secs(1);

/// Names a limit across snapshots: who says it, and whose requests it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LimitKey {
    /// The policy; `None`: the mesh's defaults.
    pub(crate) policy: Option<ObjectName>,
    /// The Service, all of its ports together, or the app behind a listener that serves none.
    pub(crate) of: Counted,
}

/// Whose requests are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// Those of a Service.
    Service(ObjectName),
    /// Those of an app.
    App(SocketAddr),
}

impl Counted {
    /// Those that come to an app; one that has no address of its own, and serves no Service, is counted as `counted`.
    pub(crate) fn by(app: &InboundApp, counted: SocketAddr) -> Self {
        match &app.service {
            Some(port) => Self::Service(port.service.clone()),
            None => Self::App(app.app.unwrap_or(counted)),
        }
    }

    /// The name in metrics.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Service(name) => name.to_string(),
            Self::App(address) => address.to_string(),
        }
    }
}

/// One limit with its counts.
#[derive(Debug)]
pub(crate) struct RateLimit {
    pub(crate) key: LimitKey,
    pub(crate) source: model::RateLimit,
    pub(crate) metrics: Arc<RateLimitMetrics>,
    rate: Rate,
    /// The clock's zero.
    start: Instant,
    /// Of all requests, or of those that name no caller.
    one: Bucket,
    by: By,
}

#[derive(Debug)]
enum By {
    One,
    /// Callers without an identity share one count.
    Identity(Buckets),
    Address(Buckets),
    Header(HeaderName, Buckets),
}

impl RateLimit {
    /// A limit on which nobody has counted yet.
    pub(crate) fn new(
        key: LimitKey,
        source: &model::RateLimit,
        metrics: Arc<RateLimitMetrics>,
        start: Instant,
    ) -> Result<Self, BuildError> {
        let by = match &source.by {
            RateLimitBy::Service => By::One,
            RateLimitBy::Identity => By::Identity(Buckets::new(buckets::MOST)),
            RateLimitBy::SourceIp => By::Address(Buckets::new(buckets::MOST)),
            RateLimitBy::Header(name) => {
                let parsed = HeaderName::from_bytes(name.as_bytes());
                let parsed = parsed.map_err(|_| BuildError::HeaderName((**name).into()))?;
                By::Header(parsed, Buckets::new(buckets::MOST))
            }
        };
        let rate = Rate::new(source.requests, source.per, source.burst);
        Ok(Self { key, source: source.clone(), metrics, rate, start, one: Bucket::default(), by })
    }

    /// Whether the counts go on where a policy says this now.
    pub(crate) fn is(&self, source: &model::RateLimit) -> bool {
        let of = |limit: &model::RateLimit| (limit.requests, limit.per, limit.burst, limit.by.clone());
        of(&self.source) == of(source)
    }

    /// Forgets callers that have been idle for long enough to have nothing to pay.
    pub(crate) fn forget_idle(&self, now: Instant) {
        if let By::Address(buckets) | By::Identity(buckets) | By::Header(_, buckets) = &self.by {
            buckets.forget_idle(self.time(now).saturating_sub(GRACE.as_nanos() as u64));
            self.metrics.callers(buckets.callers() as u64);
        }
    }

    /// Whose bucket a request counts on; `None`: the one that is not kept by caller.
    fn owner(&self, ask: &Ask<'_>) -> Option<(&Buckets, Key)> {
        match &self.by {
            By::One => None,
            By::Address(buckets) => Some((buckets, buckets.by_address(ask.peer))),
            By::Identity(buckets) => {
                ask.identity.map(|id| (buckets, buckets.by_values([id.as_str().as_bytes()].into_iter())))
            }
            By::Header(name, buckets) => ask.headers.contains_key(name).then(|| {
                let values = ask.headers.get_all(name).iter().map(HeaderValue::as_bytes);
                (buckets, buckets.by_values(values))
            }),
        }
    }

    /// How long the request would have to wait; `None`: not at all.
    fn wait(&self, ask: &Ask<'_>) -> Option<Duration> {
        let now = self.time(ask.now);
        match self.owner(ask) {
            None => self.one.wait(self.rate, now),
            Some((buckets, key)) => buckets.wait(key, self.rate, now),
        }
    }

    fn take(&self, ask: &Ask<'_>, worker: usize) -> Verdict {
        let now = self.time(ask.now);
        let verdict = match self.owner(ask) {
            None => self.one.take(self.rate, now).expect("this bucket is never retired"),
            Some((buckets, key)) => {
                let (verdict, owner) = buckets.take(key, self.rate, now);
                self.metrics.callers(buckets.callers() as u64);
                if owner == Owner::Rest {
                    self.metrics.count(worker, RateLimitOutcome::Overflow);
                }
                verdict
            }
        };
        if matches!(verdict, Verdict::Allowed { .. }) {
            self.metrics.count(worker, RateLimitOutcome::Allowed);
        }
        verdict
    }

    fn time(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The word for it in answers: no policy is named to a caller.
    fn word(&self) -> &'static str {
        match self.source.by {
            RateLimitBy::Service => "service",
            RateLimitBy::Identity => "identity",
            RateLimitBy::SourceIp => "source-ip",
            RateLimitBy::Header(_) => "header",
        }
    }
}

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    headers: &'a HeaderMap,
    identity: Option<&'a SpiffeId>,
    peer: IpAddr,
    now: Instant,
}

/// All limits of one port.
#[derive(Debug)]
pub(crate) struct RateLimits {
    limits: Box<[(Arc<RateLimit>, Box<str>)]>,
    /// What they are, for callers (draft-ietf-httpapi-ratelimit-headers-10).
    policy: HeaderValue,
    /// Some tell callers apart: then each answer says what is left to its caller.
    by_caller: bool,
}

/// What an answer tells of the limits that its request has passed.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<Box<[(HeaderName, HeaderValue); 2]>>);

/// Why a request is not let through.
#[derive(Debug)]
pub(crate) struct Refused {
    again_in: Duration,
    fields: Box<[(HeaderName, HeaderValue); 2]>,
}

impl RateLimits {
    /// `None`: there is no limit.
    pub(crate) fn new(limits: Vec<Arc<RateLimit>>) -> Option<Box<Self>> {
        let mut named: Vec<(Arc<RateLimit>, Box<str>)> = Vec::with_capacity(limits.len());
        for limit in limits {
            let alike = named.iter().filter(|(other, _)| other.word() == limit.word()).count();
            let name = match alike {
                0 => limit.word().into(),
                more => format!("{}-{}", limit.word(), more + 1).into(),
            };
            named.push((limit, name));
        }
        let item = |(limit, name): &(Arc<RateLimit>, Box<str>)| {
            let model::RateLimit { requests, per, .. } = &limit.source;
            format!("\"{name}\";q={requests};w={}", seconds(*per))
        };
        let policy = named.iter().map(item).collect::<Vec<_>>().join(", ");
        let by_caller = named.iter().any(|(limit, _)| limit.source.by != RateLimitBy::Service);
        (!named.is_empty())
            .then(|| Box::new(Self { policy: value(&policy), by_caller, limits: named.into() }))
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<RateLimit>> {
        self.limits.iter().map(|(limit, _)| limit)
    }

    /// Lets a request through, or not.
    fn admit(&self, ask: &Ask<'_>, worker: usize) -> Result<Told, Refused> {
        // One limit alone needs no question before.
        let waits = || self.limits.iter().map(|(limit, name)| Some((limit, name, limit.wait(ask)?)));
        if self.limits.len() > 1 {
            let refusing: Vec<_> = waits().flatten().collect();
            if !refusing.is_empty() {
                return Err(self.refuse(refusing.into_iter(), worker));
            }
        }
        let mut state = String::new();
        for (limit, name) in &self.limits {
            match limit.take(ask, worker) {
                Verdict::Refused { again_in } => {
                    return Err(self.refuse([(limit, name, again_in)].into_iter(), worker));
                }
                Verdict::Allowed { left, full_in } if limit.source.by != RateLimitBy::Service => {
                    join(&mut state, name, left, full_in);
                }
                Verdict::Allowed { .. } => {}
            }
        }
        let told = self.by_caller.then(|| [(POLICY, self.policy.clone()), (STATE, value(&state))]);
        Ok(Told(told.map(Box::new)))
    }

    fn refuse<'a>(
        &self,
        refusing: impl Iterator<Item = (&'a Arc<RateLimit>, &'a Box<str>, Duration)>,
        worker: usize,
    ) -> Refused {
        let (mut state, mut longest) = (String::new(), Duration::ZERO);
        for (limit, name, again_in) in refusing {
            limit.metrics.count(worker, RateLimitOutcome::Refused);
            join(&mut state, name, 0, again_in);
            longest = longest.max(again_in);
        }
        Refused {
            again_in: longest,
            fields: Box::new([(POLICY, self.policy.clone()), (STATE, value(&state))]),
        }
    }
}

/// The stage: asks the limits of a rule, if it has some.
pub(crate) fn check(exchange: &Exchange, rule: &Rule, headers: &HeaderMap) -> Result<Told, Refused> {
    let Some(limits) = &rule.rate_limits else { return Ok(Told::default()) };
    let (peer, now) = (exchange.connection.peer.ip(), exchange.started.into_std());
    let identity = exchange.connection.identity();
    limits.admit(&Ask { headers, identity, peer, now }, exchange.worker().id)
}

impl Told {
    /// Tells the caller what is left to it; the app's own limits are told beside.
    pub(crate) fn tell(self, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        for (name, value) in self.0.into_iter().flat_map(|fields| *fields) {
            answer.headers_mut().append(name, value);
        }
        answer
    }
}

impl Refused {
    /// The answer: when to come again, in the caller's form.
    pub(crate) fn answer(self, exchange: Exchange) -> Response<AnswerBody> {
        let grpc = exchange.caller.grpc;
        let mut answer = exchange.refuse(Failure::RateLimited);
        let headers = answer.headers_mut();
        headers.extend(self.fields.into_iter().map(|(name, value)| (Some(name), value)));
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds(self.again_in)));
        if grpc {
            let millis = self.again_in.as_nanos().div_ceil(1_000_000);
            headers.insert(PUSHBACK, HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)));
        }
        answer
    }
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn join(state: &mut String, name: &str, left: u64, time: Duration) {
    use std::fmt::Write as _;
    let comma = if state.is_empty() { "" } else { ", " };
    let _ = write!(state, "{comma}\"{name}\";r={left};t={}", seconds(time));
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("words and numbers are header values")
}

#[cfg(test)]
mod tests;
