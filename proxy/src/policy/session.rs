//! Session persistence: a caller stays with the endpoint that answered it first (GEP-1619), by a token that it sends back.
//!
//! Pure: the header of a request, the endpoints as they are and the time in, where to go out; then, who has answered in, what the caller is
//! told out. Nothing is kept here about any session: all of it is in the [`token`]. What a request's token says is decided
//! once, with the backend ([`Session::visit`]); the choice of an endpoint prefers the session's while it is there.

mod token;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
    response,
};
use outrigger_config::model::{self, BackendTarget, RouteRule, RuleId, SessionCarrier, SessionPersistence};

use self::token::{BackendTag, Seal, Token};
use super::pinned::Pinned;
use crate::{
    decide::{Dice, Forward, Head, Purpose},
    route::modifier::header_name,
    runtime::{BuildError, snapshot::WeightedBackend},
    telemetry::metrics::SessionOutcome,
};

/// Tokens of one name that are tried to be opened; a caller has one for each path at most.
const TRIED: usize = 4;

/// A session's last use is told anew when it is so old, or a tenth of the idle limit: the limit holds to this much.
const FRESH: u64 = 1000;

/// The sessions of one rule.
#[derive(Debug)]
pub(crate) struct Session {
    carrier: Carrier,
    absolute: Option<Duration>,
    idle: Option<Duration>,
    seal: Seal,
    /// Of each backend of the rule.
    backends: Box<[BackendTag]>,
}

#[derive(Debug)]
enum Carrier {
    Cookie {
        name: Box<str>,
        permanent: bool,
        /// The longest first.
        paths: Box<[std::sync::Arc<str>]>,
    },
    Header(HeaderName),
}

/// What a request of a rule with sessions comes with.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// What became of its token.
    pub(crate) outcome: SessionOutcome,
    /// The index of the backend that it stays with, whatever the weights.
    pub(crate) backend: Option<usize>,
    /// The endpoint that it stays with, which was there.
    pub(crate) endpoint: Option<SocketAddr>,
    created: u64,
    used: u64,
    now: u64,
    /// The cookie's path by index; `None`: the root.
    path: Option<usize>,
}

impl Session {
    /// Those of a rule, if it has some.
    pub(crate) fn of(rule: &RouteRule) -> Result<Option<Box<Self>>, BuildError> {
        let compile = |from| Self::compile(from, &rule.id, &rule.backends).map(Box::new);
        rule.session.as_ref().map(compile).transpose()
    }

    fn compile(
        from: &SessionPersistence,
        of: &RuleId,
        backends: &[model::Backend],
    ) -> Result<Self, BuildError> {
        let rule = format!("{} {of}", of.kind.word());
        let name = match &from.name {
            Some(name) => name.to_string(),
            None => format!("session-{}", short(&rule)),
        };
        let seal = Seal::new(&[&rule, &name]);
        let carrier = match &from.carrier {
            SessionCarrier::Header => Carrier::Header(header_name(&name)?),
            SessionCarrier::Cookie { permanent, paths } => Carrier::Cookie {
                name: header_name(&name).map(|_| name.into())?,
                permanent: *permanent,
                paths: paths.as_slice().into(),
            },
        };
        Ok(Self { carrier, absolute: from.absolute, idle: from.idle, seal, backends: tags(backends) })
    }

    /// The name of the cookie or header.
    pub(crate) fn name(&self) -> &str {
        match &self.carrier {
            Carrier::Cookie { name, .. } => name,
            Carrier::Header(name) => name.as_str(),
        }
    }

    /// Reads what a request brings.
    pub(crate) fn visit(&self, head: &Head<'_>, backends: &[WeightedBackend], now: SystemTime) -> Visit {
        let now = millis(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let mut visit = Visit {
            outcome: SessionOutcome::New,
            backend: None,
            endpoint: None,
            created: now,
            used: now,
            now,
            path: self.path(head.path),
        };
        let mut brought = self.brought(head.headers).take(TRIED).peekable();
        if brought.peek().is_none() {
            return visit;
        }
        match brought.find_map(|text| self.seal.open(text)) {
            Some(token) => self.judge(&token, backends, &mut visit),
            None => visit.outcome = SessionOutcome::Invalid,
        }
        visit
    }

    /// Whether the session of a token goes on, and where.
    fn judge(&self, token: &Token, backends: &[WeightedBackend], visit: &mut Visit) {
        let passed = |limit: Option<Duration>, since: u64| {
            limit.is_some_and(|limit| visit.now.saturating_sub(since) > millis(limit))
        };
        visit.outcome = if passed(self.absolute, token.created) {
            SessionOutcome::Expired
        } else if passed(self.idle, token.used) {
            SessionOutcome::Idle
        } else {
            SessionOutcome::Gone
        };
        if visit.outcome != SessionOutcome::Gone {
            return;
        }
        let Some(index) = self.backends.iter().position(|tag| *tag == token.backend) else { return };
        let Some(weighted) = backends.get(index) else { return };
        let Ok(backend) = &weighted.target else { return };
        let set = backend.endpoints.load();
        let is_it = |address: &SocketAddr| token::plain(*address) == token.endpoint;
        match set.endpoints().iter().map(|endpoint| endpoint.address).find(is_it) {
            Some(address) => {
                visit.outcome = SessionOutcome::Kept;
                (visit.backend, visit.endpoint) = (Some(index), Some(address));
                (visit.created, visit.used) = (token.created, token.used);
            }
            // The version stays the same where new callers get it too.
            None if weighted.weight > 0 && !set.is_empty() => visit.backend = Some(index),
            None => {}
        }
    }

    /// What the answer of an endpoint means for the session, and the token to give with it, if one is due.
    fn answered(
        &self,
        visit: &Visit,
        backend: usize,
        endpoint: SocketAddr,
    ) -> (SessionOutcome, Option<Token>) {
        let stays = visit.endpoint == Some(endpoint);
        let outcome = match visit.outcome {
            SessionOutcome::Kept if !stays => SessionOutcome::Moved,
            outcome => outcome,
        };
        let stale = self
            .idle
            .is_some_and(|idle| visit.now.saturating_sub(visit.used) >= FRESH.min(millis(idle) / 10));
        let created = if stays { visit.created } else { visit.now };
        let token = (!stays || stale).then(|| Token {
            created,
            used: visit.now,
            backend: self.backends[backend],
            endpoint: token::plain(endpoint),
        });
        (outcome, token)
    }

    /// The field that gives a token to the caller.
    fn field(&self, visit: &Visit, created: u64, token: &str) -> (HeaderName, String) {
        let (name, permanent, paths) = match &self.carrier {
            Carrier::Header(name) => return (name.clone(), token.to_owned()),
            Carrier::Cookie { name, permanent, paths } => (name, *permanent, paths),
        };
        let path = visit.path.and_then(|index| paths.get(index)).map_or("/", |path| path);
        let left = |limit| millis(limit).saturating_sub(visit.now.saturating_sub(created)).div_ceil(1000);
        let age = self.absolute.filter(|_| permanent).map(|limit| format!("; Max-Age={}", left(limit)));
        // A link from elsewhere opens in the session too. Nothing is allowed by a token, so that does no harm.
        let age = age.unwrap_or_default();
        (SET_COOKIE, format!("{name}={token}; Path={path}{age}; HttpOnly; SameSite=Lax"))
    }

    /// The field that an answer of the session's endpoint, or of another where it has none, has beside those of the upstream; `None`: the caller keeps what it has. `shown`
    /// stands for the token. For people.
    pub(crate) fn shown(&self, visit: &Visit, shown: &str) -> Option<(HeaderName, String)> {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let (_, token) = self.answered(visit, 0, visit.endpoint.unwrap_or(nobody));
        token.map(|token| self.field(visit, token.created, shown))
    }

    /// Every token that a request brings.
    fn brought<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        let (name, cookie) = match &self.carrier {
            Carrier::Cookie { name, .. } => (&COOKIE, Some(name.as_bytes())),
            Carrier::Header(name) => (name, None),
        };
        headers.get_all(name).iter().flat_map(move |field| {
            let pairs = field.as_bytes().split(move |byte| cookie.is_some() && *byte == b';');
            pairs.filter_map(move |pair| match cookie {
                None => Some(pair),
                Some(name) => pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="),
            })
        })
    }

    /// The path of a cookie for a request of this path: what its match begins with.
    fn path(&self, of: &str) -> Option<usize> {
        let Carrier::Cookie { paths, .. } = &self.carrier else { return None };
        paths.iter().position(|path| {
            let rest = of.strip_prefix(&**path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.ends_with('/'))
        })
    }
}

/// Gives the answer of `endpoint` a token, where its caller has none that leads there.
pub(crate) fn on_answer(
    head: &mut response::Parts,
    pinned: &Pinned<'_>,
    endpoint: SocketAddr,
    worker: usize,
) {
    let Some((session, visit, backend)) = pinned.forward.and_then(Forward::session) else { return };
    let (outcome, token) = session.answered(visit, backend, endpoint);
    pinned.rule.metrics.session(worker, outcome);
    let Some(token) = token else { return };
    let mut dice = Dice::split(pinned.dice, Purpose::Session);
    let mut salt = [0; 12];
    salt[..8].copy_from_slice(&dice.roll().to_be_bytes());
    salt[8..].copy_from_slice(&dice.roll().to_be_bytes()[..4]);
    let Some(sealed) = session.seal.seal(&token, salt) else { return };
    let (name, value) = session.field(visit, token.created, &sealed);
    let Ok(value) = HeaderValue::try_from(value) else { return };
    match name == SET_COOKIE {
        true => head.headers.append(name, value),
        false => head.headers.insert(name, value).is_some(),
    };
}

/// The tags of a rule's backends. One Service may stand there twice, with other filters.
fn tags(backends: &[model::Backend]) -> Box<[BackendTag]> {
    let same = |at: usize| backends[..at].iter().filter(|one| one.target == backends[at].target).count();
    let tag = |(at, one): (usize, &model::Backend)| match &one.target {
        BackendTarget::Service(port) => BackendTag::new(&port.to_string(), same(at) as u8),
        // Nobody answers there, so no token leads there.
        BackendTarget::Invalid { .. } => BackendTag::new("", at as u8),
    };
    backends.iter().enumerate().map(tag).collect()
}

/// Eight digits that are a rule's own.
fn short(rule: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, rule.as_bytes());
    hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
