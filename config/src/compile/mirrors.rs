//! Where copies of requests go: the mirrors among the filters of a rule or of one of its backends.

use super::{Scope, routes};
use crate::{
    model::{Mirror, Share},
    objects::Object,
    schema::{Filter, RequestMirror, Route},
};

/// The mirrors, in order. One that points at nothing is kept with the reason: it takes no request.
pub(super) fn all(scope: &Scope<'_>, route: &Object<Route>, filters: &[Filter]) -> Vec<Mirror> {
    let written = filters.iter().filter_map(|filter| filter.request_mirror.as_ref());
    let mirrors = written.map(|body| Mirror {
        target: routes::target(scope, route, &body.backend_ref),
        share: share(body),
        origin: scope.origin(&body.span),
    });
    mirrors.collect()
}

/// A percentage and the fraction that says the same are one value, as are all of the requests and no word about them.
fn share(body: &RequestMirror) -> Share {
    match (&body.percent, &body.fraction) {
        (Some(percent), _) => Share { numerator: percent.value.0, denominator: 100 },
        (None, Some(fraction)) => Share {
            numerator: fraction.numerator.value.0,
            denominator: fraction.denominator.as_ref().map_or(100, |denominator| denominator.value.0),
        },
        (None, None) => Share { numerator: 100, denominator: 100 },
    }
}
