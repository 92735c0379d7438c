//! Filters: that each says what it is, once, and changes no header that it must not. What one kind of them wants beside
//! that is in a file of its own.

use super::Checks;
use crate::{
    convert::{HeaderName, Spanned},
    diagnostic::{Code, Fault},
    schema::{Filter, FilterType, HeaderModifier},
    yaml::Span,
};

/// Of one list of filters.
pub(super) fn check(filters: &[Filter], checks: &mut Checks<'_>) {
    for (index, filter) in filters.iter().enumerate() {
        for body in [&filter.request_header_modifier, &filter.response_header_modifier].into_iter().flatten()
        {
            modifier(body, checks);
        }
        for (owner, field, written) in bodies(filter) {
            belongs(filter, (owner, field, written), checks);
        }
        let kind = filter.kind.value;
        let earlier = filters[..index].iter().find(|earlier| earlier.kind.value == kind);
        if let Some(first) = earlier.filter(|_| kind != FilterType::RequestMirror) {
            let message = format!("a filter of type {} stands here already", kind.word());
            let fault = Fault::error(Code::Conflict, filter.kind.span, message)
                .related(first.kind.span, "the first one")
                .help("write all changes into one filter");
            checks.push(fault);
        }
    }
}

/// A type of filter, the field that belongs to it, and where that is written, if it is.
type Body = (FilterType, &'static str, Option<Span>);

fn bodies(filter: &Filter) -> [Body; 6] {
    macro_rules! body {
        ($kind:ident $key:literal $field:ident) => {
            (FilterType::$kind, $key, filter.$field.as_ref().map(|body| body.span))
        };
    }
    [
        body!(RequestHeaderModifier "requestHeaderModifier" request_header_modifier),
        body!(ResponseHeaderModifier "responseHeaderModifier" response_header_modifier),
        body!(RequestRedirect "requestRedirect" request_redirect),
        body!(URLRewrite "urlRewrite" url_rewrite),
        body!(RequestMirror "requestMirror" request_mirror),
        body!(Cors "cors" cors),
    ]
}

fn belongs(filter: &Filter, (owner, field, written): Body, checks: &mut Checks<'_>) {
    let kind = filter.kind.value;
    match written {
        None if owner == kind => {
            let message = format!("a filter of type {} needs `{field}`", kind.word());
            checks.push(Fault::error(Code::MissingField, filter.kind.span, message));
        }
        Some(span) if owner != kind => {
            let message = format!("`{field}` does not belong to a filter of type {}", kind.word());
            let fault = Fault::error(Code::Conflict, span, message);
            checks.push(fault.help(format!("write `type: {}`", owner.word())));
        }
        Some(_) | None => {}
    }
}

/// Headers that frame a message or route it: what a person writes here would break the message, or would be undone.
const FIXED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header, lower-cased, is the connection's or the proxy's own.
pub(super) fn is_fixed(name: &str) -> bool {
    FIXED.contains(&name) || name.starts_with("x-outrigger-")
}

fn modifier(body: &HeaderModifier, checks: &mut Checks<'_>) {
    let set: Vec<&Spanned<HeaderName>> = body.set.iter().map(|pair| &pair.name).collect();
    let add: Vec<&Spanned<HeaderName>> = body.add.iter().map(|pair| &pair.name).collect();
    let remove: Vec<&Spanned<HeaderName>> = body.remove.iter().collect();
    set.iter().chain(&add).chain(&remove).for_each(|name| free(name, checks));
    [set, add, remove].into_iter().for_each(|names| once("header", names, checks));
}

/// Reports a header that is the connection's or the proxy's own.
pub(super) fn free(name: &Spanned<HeaderName>, checks: &mut Checks<'_>) {
    let text = &*name.value.0;
    if is_fixed(text) {
        let message = format!("the header `{text}` cannot be changed");
        let help = "it belongs to the connection or to the proxy itself";
        checks.push(Fault::error(Code::Header, name.span, message).help(help));
    }
}

/// Reports names that are written twice in one list; `what` says what they name.
pub(super) fn once(what: &str, names: Vec<&Spanned<HeaderName>>, checks: &mut Checks<'_>) {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().find(|earlier| earlier.value == name.value) {
            let message = format!("the {what} `{}` is written twice", name.value.0);
            let fault = Fault::error(Code::Conflict, name.span, message).related(first.span, "first here");
            checks.push(fault.help("letter case does not count in header names"));
        }
    }
}
