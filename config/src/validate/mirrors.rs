//! Mirrors: that they point at something, say one share that is a part, and stand where there is something to copy.

use super::{Checks, rules};
use crate::{
    diagnostic::{Code, Fault},
    objects::Object,
    schema::{Filter, FilterType, RequestMirror, Route, Rule},
};

/// Of a rule of a route, with those of its backends.
pub(super) fn check(rule: &Rule, route: &Object<Route>, checks: &mut Checks<'_>) {
    let of_backends = rule.backend_refs.iter().flat_map(|backend| backend.filters.iter());
    for body in rule.filters.iter().chain(of_backends).filter_map(|filter| filter.request_mirror.as_ref()) {
        one(body, checks);
        rules::resolve(&body.backend_ref, route, "nothing is copied", checks);
    }
    redirected("rule", &rule.filters, checks);
    rule.backend_refs.iter().for_each(|backend| redirected("backend", &backend.filters, checks));
}

fn redirected(whose: &str, filters: &[Filter], checks: &mut Checks<'_>) {
    let first = |kind: FilterType| filters.iter().find(|filter| filter.kind.value == kind);
    if let (Some(redirect), Some(mirror)) =
        (first(FilterType::RequestRedirect), first(FilterType::RequestMirror))
    {
        let message = format!("a {whose} that redirects sends nothing on, so there is nothing to copy");
        let fault = Fault::error(Code::Conflict, mirror.kind.span, message);
        checks.push(fault.related(redirect.kind.span, "the redirect").help("remove one of them"));
    }
}

fn one(body: &RequestMirror, checks: &mut Checks<'_>) {
    if let (Some(percent), Some(fraction)) = (&body.percent, &body.fraction) {
        let message = "`percent` and `fraction` both say how many requests are copied";
        let fault = Fault::error(Code::OneOf, fraction.span, message);
        checks.push(fault.related(percent.span, "the percentage").help("remove one of them"));
    }
    if let Some(fraction) = &body.fraction {
        let whole = fraction.denominator.as_ref().map_or(100, |denominator| denominator.value.0);
        if fraction.numerator.value.0 > whole {
            let message = format!("{} of {whole} is more than all", fraction.numerator.value.0);
            let fault = Fault::error(Code::Range, fraction.numerator.span, message);
            checks.push(fault.help("`numerator` is at most `denominator`, which is 100 unless set"));
        }
    }
}
