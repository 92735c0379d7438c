//! Cross-origin policy: the `CORS` filter among those of a rule or of one of its backends.

use std::sync::Arc;

use super::Scope;
use crate::{
    model::{Cors, Names},
    schema::{self, CorsMethod, Filter},
};

/// The policy, if there is one.
pub(super) fn of(scope: &Scope<'_>, filters: &[Filter]) -> Option<Cors> {
    let body: &schema::Cors = filters.iter().find_map(|filter| filter.cors.as_ref())?;
    let methods = body.allow_methods.iter().map(|method| method.value.word().into());
    Some(Cors {
        origins: body.allow_origins.iter().map(|origin| origin.value.0.clone()).collect(),
        credentials: body.allow_credentials.as_ref().is_some_and(|flag| flag.value.0),
        methods: names(methods, CorsMethod::Any.word()),
        headers: names(body.allow_headers.iter().map(|name| name.value.0.clone()), "*"),
        expose: names(body.expose_headers.iter().map(|name| name.value.0.clone()), "*"),
        max_age: body.max_age.map_or(Cors::MAX_AGE, |seconds| seconds.0),
        origin: scope.origin(&body.span),
    })
}

/// All, if the word for all is among them.
fn names(written: impl Iterator<Item = Arc<str>>, any: &str) -> Names {
    let listed: Vec<Arc<str>> = written.collect();
    if listed.iter().any(|name| &**name == any) { Names::Any } else { Names::Listed(listed) }
}
