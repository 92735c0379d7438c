//! Cross-origin policy: that it says one thing, in one place, and not by accident that everybody may.

use super::{Checks, filters};
use crate::{
    convert::Spanned,
    diagnostic::{Code, Fault},
    model::OriginPattern,
    schema::{Cors, CorsMethod, CorsOrigin, FilterType, Rule},
    yaml::Span,
};

/// Of a rule, with those of its backends.
pub(super) fn check(rule: &Rule, checks: &mut Checks<'_>) {
    let of_rule = rule.filters.iter().find(|filter| filter.kind.value == FilterType::Cors);
    let of_backends = || rule.backend_refs.iter().flat_map(|backend| backend.filters.iter());
    for body in rule.filters.iter().chain(of_backends()).filter_map(|filter| filter.cors.as_ref()) {
        one(body, checks);
    }
    let Some(of_rule) = of_rule else { return };
    for filter in of_backends().filter(|filter| filter.kind.value == FilterType::Cors) {
        let message = "the rule has a cross-origin policy already";
        let fault = Fault::error(Code::Conflict, filter.kind.span, message);
        checks.push(fault.related(of_rule.kind.span, "the rule's").help("remove one of them"));
    }
}

fn one(body: &Cors, checks: &mut Checks<'_>) {
    let any = |origin: &&Spanned<CorsOrigin>| origin.value.0 == OriginPattern::Any;
    let everybody = body.allow_origins.iter().find(any);
    let methods = &body.allow_methods;
    let headers: Vec<_> = body.allow_headers.iter().collect();
    alone("origin", everybody.map(|origin| origin.span), body.allow_origins.len(), checks);
    let every_method = methods.iter().find(|method| method.value == CorsMethod::Any);
    alone("method", every_method.map(|method| method.span), methods.len(), checks);
    let every_header = headers.iter().find(|name| &*name.value.0 == "*");
    alone("header", every_header.map(|name| name.span), headers.len(), checks);
    twice("origin", &body.allow_origins, |origin| origin.0.to_string(), checks);
    twice("method", methods, |method| method.word().to_owned(), checks);
    filters::once("header", headers, checks);
    filters::once("header", body.expose_headers.iter().collect(), checks);
    if body.allow_origins.is_empty() && body.allow_origins.complete {
        let message = "no origin is allowed, so no page of another origin gets anything";
        checks.push(Fault::warning(Code::NoEffect, body.span, message).help("write `allowOrigins`"));
    }
    let credentials = body.allow_credentials.as_ref().filter(|flag| flag.value.0);
    if let (Some(everybody), Some(credentials)) = (everybody, credentials) {
        let message =
            "any page may read what its visitor alone should see: every origin is allowed, with credentials";
        let fault = Fault::warning(Code::AnyOrigin, everybody.span, message);
        let fault = fault.related(credentials.span, "credentials are allowed here");
        checks.push(fault.help("list the origins, or leave `allowCredentials` out"));
    }
}

fn alone(what: &str, any: Option<Span>, of: usize, checks: &mut Checks<'_>) {
    if let Some(span) = any.filter(|_| of > 1) {
        let message = format!("`*` is every {what}, so it stands alone");
        checks.push(Fault::error(Code::Conflict, span, message).help("remove it, or the others"));
    }
}

fn twice<T>(what: &str, list: &[Spanned<T>], shown: impl Fn(&T) -> String, checks: &mut Checks<'_>) {
    for (index, one) in list.iter().enumerate() {
        let text = shown(&one.value);
        if let Some(first) = list[..index].iter().find(|earlier| shown(&earlier.value) == text) {
            let message = format!("the {what} `{text}` is written twice");
            checks.push(Fault::error(Code::Conflict, one.span, message).related(first.span, "first here"));
        }
    }
}
