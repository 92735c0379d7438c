//! Session persistence: names that cookies and headers can have, limits that fit, and one name for one rule.

use super::{Checks, filters, timeouts};
use crate::{
    compile::session::{is_permanent, kind, paths},
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
    schema::{FilterType, Route, Rule, SessionPersistence, SessionType},
};

/// Characters of a name.
const LENGTH: usize = 128;

/// Headers that mean something else already, so that a token in them would be taken for it.
const TAKEN: [&str; 5] = ["authorization", "cookie", "set-cookie", "content-type", "content-encoding"];

/// Of one rule.
pub(super) fn check(rule: &Rule, checks: &mut Checks<'_>) {
    let Some(body) = &rule.session_persistence else { return };
    if let Some(written) = &body.session_name {
        name(written, kind(body), checks);
    }
    if let (Some(idle), Some(absolute)) = (&body.idle_timeout, &body.absolute_timeout) {
        timeouts::nested((idle, "idleTimeout"), (absolute, "absoluteTimeout"), checks);
    }
    lifetime(body, checks);
    let redirect = rule.filters.iter().find(|filter| filter.kind.value == FilterType::RequestRedirect);
    if let Some(redirect) = redirect {
        let message = "the rule redirects, so there is nobody to keep a caller with";
        let fault = Fault::warning(Code::NoEffect, body.span, message);
        checks.push(fault.related(redirect.kind.span, "the redirect").help("remove `sessionPersistence`"));
    }
}

fn name(written: &Spanned<Text>, kind: SessionType, checks: &mut Checks<'_>) {
    let text = &*written.value.0;
    let is_token = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
    let lower = text.to_ascii_lowercase();
    let problem = if text.len() > LENGTH {
        Some((format!("the name has {} characters, the limit is {LENGTH}", text.len()), "make it shorter"))
    } else if !is_token {
        let what = if kind == SessionType::Cookie { "cookie" } else { "header" };
        Some((format!("`{text}` is not the name of a {what}"), "letters, digits, `-` and `_`"))
    } else if kind == SessionType::Header && (filters::is_fixed(&lower) || TAKEN.contains(&&*lower)) {
        Some((format!("the header `{text}` cannot carry a session"), "it means something else already"))
    } else {
        None
    };
    if let Some((message, help)) = problem {
        checks.push(Fault::error(Code::Header, written.span, message).help(help));
    }
}

fn lifetime(body: &SessionPersistence, checks: &mut Checks<'_>) {
    let Some(config) = &body.cookie_config else { return };
    if let Some(header) = body.kind.as_ref().filter(|kind| kind.value == SessionType::Header) {
        let message = "`cookieConfig` has no meaning for a session that travels in a header";
        let fault =
            Fault::error(Code::Conflict, config.span, message).related(header.span, "`type` is set here");
        return checks.push(fault.help("remove it, or write `type: Cookie`"));
    }
    let Some(lifetime) = config.lifetime_type.as_ref().filter(|_| is_permanent(body)) else { return };
    match &body.absolute_timeout {
        None => {
            let message = "a cookie of lifetimeType Permanent needs `absoluteTimeout`";
            let fault = Fault::error(Code::MissingField, lifetime.span, message);
            checks.push(fault.help("say how long it is kept, such as `absoluteTimeout: 24h`"));
        }
        Some(limit) if limit.value.0.is_zero() => {
            let message = "a cookie of lifetimeType Permanent cannot be kept without limit";
            let fault = Fault::error(Code::Conflict, limit.span, message);
            checks.push(fault.related(lifetime.span, "`lifetimeType` is set here"));
        }
        Some(_) => {}
    }
}

/// Two rules of a route with one name, where a caller would send the one's token to the other.
pub(super) fn names(route: &Route, checks: &mut Checks<'_>) {
    let mut seen: Vec<(&Rule, &Spanned<Text>, SessionType)> = Vec::new();
    for rule in route.spec.rules.iter() {
        let Some(body) = &rule.session_persistence else { continue };
        let Some(name) = &body.session_name else { continue };
        let kind = kind(body);
        let same = |(other, earlier, of): &&(&Rule, &Spanned<Text>, SessionType)| {
            *of == kind
                && match kind {
                    SessionType::Cookie => earlier.value == name.value && meet(other, rule),
                    SessionType::Header => earlier.value.0.eq_ignore_ascii_case(&name.value.0),
                }
        };
        if let Some((_, first, _)) = seen.iter().find(same) {
            let message = format!("another rule of the route has sessions named `{}`", name.value.0);
            let fault =
                Fault::warning(Code::SessionName, name.span, message).related(first.span, "first here");
            checks.push(fault.help("give each rule a name of its own, or leave `sessionName` out"));
        }
        seen.push((rule, name, kind));
    }
}

/// Whether a cookie of one rule is sent with some request of the other.
fn meet(one: &Rule, other: &Rule) -> bool {
    let (one, other) = (cookie_paths(one), cookie_paths(other));
    let below = |path: &str, of: &str| of == "/" || path == of || path.starts_with(&format!("{of}/"));
    one.iter().any(|a| other.iter().any(|b| below(a, b) || below(b, a)))
}

/// The paths that cookies of a rule may have.
fn cookie_paths(rule: &Rule) -> Vec<String> {
    let targets: Vec<_> = rule.matches.iter().map(crate::compile::target).collect();
    let listed = paths(targets.iter());
    // Some match has no path of its own, or there is no match.
    let root = targets.is_empty() || targets.iter().any(|one| paths(std::iter::once(one)).is_empty());
    let root = root.then(|| "/".to_owned());
    listed.iter().map(ToString::to_string).chain(root).collect()
}
