//! Session persistence: what was written, with the paths that its cookie may have.

use std::sync::Arc;

use regex_syntax::hir::{Hir, HirKind};

use super::Scope;
use crate::{
    convert::Spanned,
    duration::GepDuration,
    model::{CallMatch, PathMatch, RouteMatch, SessionCarrier, SessionPersistence, StringMatch},
    schema::{self, CookieLifetime, Rule, SessionType},
};

/// The rule's sessions, if it has some.
pub(super) fn of(
    scope: &Scope<'_>,
    rule: Option<&Rule>,
    matches: &[RouteMatch],
) -> Option<SessionPersistence> {
    let body = rule?.session_persistence.as_ref()?;
    let header = kind(body) == SessionType::Header;
    Some(SessionPersistence {
        name: body.session_name.as_ref().map(|name| match header {
            true => name.value.0.to_ascii_lowercase().into(),
            false => name.value.0.clone(),
        }),
        carrier: match header {
            true => SessionCarrier::Header,
            false => SessionCarrier::Cookie {
                permanent: is_permanent(body),
                paths: paths(matches.iter().map(|one| &one.path)),
            },
        },
        absolute: limit(body.absolute_timeout.as_ref()),
        idle: limit(body.idle_timeout.as_ref()),
        origin: scope.origin(&body.span),
    })
}

/// How the token travels.
pub(crate) fn kind(body: &schema::SessionPersistence) -> SessionType {
    body.kind.as_ref().map_or(SessionType::Cookie, |kind| kind.value)
}

/// Whether the cookie is kept for `absoluteTimeout`.
pub(crate) fn is_permanent(body: &schema::SessionPersistence) -> bool {
    let lifetime = body.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_ref());
    lifetime.is_some_and(|lifetime| lifetime.value == CookieLifetime::Permanent)
}

fn limit(written: Option<&Spanned<GepDuration>>) -> Option<std::time::Duration> {
    written.map(|limit| limit.value.0).filter(|limit| !limit.is_zero())
}

/// The cookie paths of matches, the longest first; those that are only the root are left out.
pub(crate) fn paths<'a>(matches: impl Iterator<Item = &'a PathMatch>) -> Vec<Arc<str>> {
    let mut paths: Vec<Arc<str>> = matches.filter_map(path).collect();
    paths.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    paths.dedup();
    paths
}

/// What all paths begin with that a match takes, in whole segments; `None`: nothing but the root.
fn path(of: &PathMatch) -> Option<Arc<str>> {
    let found: Arc<str> = match of {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path.clone(),
        PathMatch::Regex(pattern) => {
            let literal = literal(pattern)?;
            // What follows the last slash may go on.
            literal[..literal.rfind('/')?].into()
        }
        PathMatch::Grpc(CallMatch { service: Some(StringMatch::Exact(service)), method }) => match method {
            Some(StringMatch::Exact(method)) => format!("/{service}/{method}").into(),
            _ => format!("/{service}").into(),
        },
        PathMatch::Grpc(_) => return None,
    };
    // What cannot stand in an attribute of a cookie (RFC 6265 section 4.1.1) has no path of its own.
    let plain = found.starts_with('/') && found.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    (plain && found.len() > 1).then_some(found)
}

/// The characters with which every match of an expression begins.
fn literal(pattern: &str) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut found = Vec::new();
    leading(&hir, &mut found);
    String::from_utf8(found).ok()
}

/// Adds what an expression begins with, and says whether it is all of it.
fn leading(hir: &Hir, found: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            found.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => leading(&capture.sub, found),
        HirKind::Concat(parts) => parts.iter().all(|part| leading(part, found)),
        HirKind::Class(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_path_is_what_all_paths_of_a_match_begin_with() {
        let of = |path: PathMatch| super::path(&path).unwrap_or_else(|| "/".into()).to_string();
        assert_eq!(of(PathMatch::Prefix("/".into())), "/");
        assert_eq!(of(PathMatch::Prefix("/cart".into())), "/cart");
        assert_eq!(of(PathMatch::Exact("/cart/1".into())), "/cart/1");
        assert_eq!(of(PathMatch::Exact("/a;b".into())), "/");
        for (pattern, path) in [
            ("/p1/p2/.*/p3", "/p1/p2"),
            ("^/p1/(a|b)", "/p1"),
            ("/p1/p2", "/p1"),
            ("/a/?", "/"),
            ("(/a/b/)+", "/"),
            ("/a/x|/b/x", "/"),
            ("(?i)/a/b/c", "/"),
            ("/v1\\.0/.+", "/v1.0"),
            (".*", "/"),
        ] {
            assert_eq!(of(PathMatch::Regex(pattern.into())), path, "{pattern}");
        }
        let exact = |text: &str| Some(StringMatch::Exact(text.into()));
        let call = |service, method| of(PathMatch::Grpc(CallMatch { service, method }));
        assert_eq!(call(exact("a.B"), exact("C")), "/a.B/C");
        assert_eq!(call(exact("a.B"), Some(StringMatch::Regex(".*".into()))), "/a.B");
        assert_eq!(call(None, exact("C")), "/");
    }

    #[test]
    fn the_longest_path_comes_first_and_the_root_is_not_listed() {
        let matches = ["/", "/a", "/a/b", "/a"].map(|path| PathMatch::Prefix(path.into()));
        assert_eq!(paths(matches.iter()), ["/a/b".into(), Arc::<str>::from("/a")]);
    }
}
