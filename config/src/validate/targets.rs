//! Redirects and rewrites: that they say what they do, and stand where they can do it.

use super::{Checks, path};
use crate::{
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
    schema::{Filter, FilterType, Match, PathModifier, PathModifierType, PathType, Rule},
    yaml::Span,
};

/// Of a rule, with those of its backends.
pub(super) fn check(rule: &Rule, checks: &mut Checks<'_>) {
    for filter in rule.filters.iter() {
        one(filter, &rule.matches, checks);
    }
    let (redirect, rewrite) = pair("rule", &rule.filters, checks);
    if let (Some(redirect), Some(backend)) = (redirect, rule.backend_refs.first()) {
        let message = "a rule that redirects has no backends";
        let fault = Fault::error(Code::Conflict, backend.span, message);
        checks.push(fault.related(redirect.kind.span, "the redirect").help("remove `backendRefs`"));
    }
    for backend in rule.backend_refs.iter() {
        let (_, of_backend) = pair("backend", &backend.filters, checks);
        if let (Some(of_backend), Some(of_rule)) = (of_backend, rewrite) {
            let message = "the rule rewrites the request already";
            let fault = Fault::error(Code::Conflict, of_backend.kind.span, message);
            checks.push(fault.related(of_rule.kind.span, "the rule's rewrite").help("remove one of them"));
        }
        backend.filters.iter().for_each(|filter| one(filter, &rule.matches, checks));
    }
}

/// The redirect and the rewrite of one list, which may have one of them.
fn pair<'f>(
    whose: &str,
    filters: &'f [Filter],
    checks: &mut Checks<'_>,
) -> (Option<&'f Filter>, Option<&'f Filter>) {
    let first = |kind: FilterType| filters.iter().find(|filter| filter.kind.value == kind);
    let (redirect, rewrite) = (first(FilterType::RequestRedirect), first(FilterType::URLRewrite));
    if let (Some(redirect), Some(rewrite)) = (redirect, rewrite) {
        let message = format!("a {whose} that redirects sends nothing on, so there is nothing to rewrite");
        let fault = Fault::error(Code::Conflict, rewrite.kind.span, message);
        checks.push(fault.related(redirect.kind.span, "the redirect").help("remove one of them"));
    }
    (redirect, rewrite)
}

fn one(filter: &Filter, matches: &[Match], checks: &mut Checks<'_>) {
    if let Some(body) = &filter.request_redirect {
        if let Some(code) = &body.status_code
            && ![301, 302, 303, 307, 308].contains(&code.value.0)
        {
            let message = format!("{} is not the status of a redirect", code.value.0);
            let fault = Fault::error(Code::UnknownValue, code.span, message);
            checks.push(fault.help("allowed: 301, 302, 303, 307, 308"));
        }
        modifier(body.path.as_ref(), matches, checks);
    }
    if let Some(body) = &filter.url_rewrite {
        if body.hostname.is_none() && body.path.is_none() {
            checks.push(Fault::warning(Code::NoEffect, body.span, "the rewrite changes nothing"));
        }
        modifier(body.path.as_ref(), matches, checks);
    }
}

fn modifier(written: Option<&PathModifier>, matches: &[Match], checks: &mut Checks<'_>) {
    let Some(written) = written else { return };
    let full = ("replaceFullPath", written.full.as_ref());
    let prefix = ("replacePrefixMatch", written.prefix.as_ref());
    let ((name, wanted), (other, stray)) = match written.kind.value {
        PathModifierType::ReplaceFullPath => (full, prefix),
        PathModifierType::ReplacePrefixMatch => {
            one_prefix(written.kind.span, matches, checks);
            (prefix, full)
        }
    };
    let kind = written.kind.value.word();
    if wanted.is_none() {
        let message = format!("a path of type {kind} needs `{name}`");
        checks.push(Fault::error(Code::MissingField, written.kind.span, message));
    }
    if let Some(stray) = stray {
        let message = format!("`{other}` does not belong to a path of type {kind}");
        checks.push(Fault::error(Code::Conflict, stray.span, message).help(format!("write `{name}`")));
    }
    for path in [full.1, prefix.1].into_iter().flatten() {
        replacement(path, checks);
    }
}

/// An empty one takes the prefix away.
fn replacement(written: &Spanned<Text>, checks: &mut Checks<'_>) {
    if !written.value.0.is_empty() {
        path::check(written, checks);
    }
}

/// Upstream: which prefix is replaced must not be in doubt.
fn one_prefix(span: Span, matches: &[Match], checks: &mut Checks<'_>) {
    let is_prefix = |one: &Match| {
        let Match::Http(one) = one else { return false };
        let kind = one.path.as_ref().and_then(|path| path.kind);
        matches!(kind, None | Some(PathType::PathPrefix)) && one.path.is_some()
    };
    match matches {
        [only] if is_prefix(only) => {}
        _ => {
            let message = "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix";
            let fault = Fault::error(Code::Conflict, span, message);
            checks.push(fault.help("split the rule, or use ReplaceFullPath"));
        }
    }
}
