//! Filters that change where a request goes, or where its caller is sent: redirects and rewrites.

use crate::{
    model::{PathRewrite, Redirect, Rewrite},
    schema::{Filter, PathModifier, PathModifierType},
};

/// The redirect among the filters of a rule or of one of its backends; `prefix` is that of its match.
pub(super) fn redirect(filters: &[Filter], prefix: &str) -> Option<Redirect> {
    let body = filters.iter().find_map(|filter| filter.request_redirect.as_ref())?;
    Some(Redirect {
        scheme: body.scheme.map(|scheme| scheme.word().into()),
        host: body.hostname.as_ref().map(|host| host.value.0.clone()),
        path: body.path.as_ref().and_then(|path| modified(path, prefix)),
        port: body.port.as_ref().map(|port| port.value.0 as u16),
        status: body.status_code.as_ref().map_or(Redirect::STATUS, |code| code.value.0) as u16,
    })
}

/// The rewrite among the filters of a rule or of one of its backends.
pub(super) fn rewrite(filters: &[Filter], prefix: &str) -> Option<Rewrite> {
    let body = filters.iter().find_map(|filter| filter.url_rewrite.as_ref())?;
    Some(Rewrite {
        host: body.hostname.as_ref().map(|host| host.value.0.clone()),
        path: body.path.as_ref().and_then(|path| modified(path, prefix)),
    })
}

fn modified(written: &PathModifier, prefix: &str) -> Option<PathRewrite> {
    match written.kind.value {
        PathModifierType::ReplaceFullPath => {
            written.full.as_ref().map(|path| PathRewrite::Full(path.value.0.clone()))
        }
        PathModifierType::ReplacePrefixMatch => written.prefix.as_ref().map(|path| PathRewrite::Prefix {
            matched: prefix.trim_end_matches('/').into(),
            replacement: path.value.0.clone(),
        }),
    }
}
