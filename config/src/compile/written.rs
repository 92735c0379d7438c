//! Which of the places that may say something about a leaf has the word: the rule's own fields, then the policies from the
//! most specific to the Mesh's defaults. Compilation takes the values, `check` also the places.

use super::settings::Layer;
use crate::{
    convert::{Bounded, Setting, Spanned},
    duration::GepDuration,
    schema::{RetryBody, RouteRetry, RouteTimeouts, TimeoutsBody},
};

/// What the most specific place says that says anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a, T> {
    /// How far from the rule it stands: 0 is the rule itself.
    pub(crate) depth: usize,
    /// The value with its place; `None`: switched off.
    pub(crate) value: Option<&'a Spanned<T>>,
}

/// A limit that somebody wrote.
pub(crate) type Limit<'a> = Option<Said<'a, GepDuration>>;

/// The limits that are written for a rule or a Service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    pub(crate) request: Limit<'a>,
    pub(crate) attempt: Limit<'a>,
    pub(crate) connect: Limit<'a>,
    pub(crate) stream_idle: Limit<'a>,
}

/// A number of repeats that somebody wrote.
pub(crate) type Attempts<'a> = Option<Said<'a, Bounded<0, 20>>>;

/// The limits, `fields` being those of the rule itself.
pub(super) fn limits<'a>(layers: &[Layer<'a>], fields: Option<&'a RouteTimeouts>) -> Limits<'a> {
    let leaf = |read: fn(&TimeoutsBody) -> &Setting<Spanned<GepDuration>>| -> Limit<'a> {
        said(layers, |layer| match layer.blocks.timeouts {
            Setting::Unset => None,
            Setting::Off => Some(None),
            Setting::Set(body) => of_setting(read(body)),
        })
    };
    let field = |written: Option<&'a Spanned<GepDuration>>| -> Limit<'a> {
        written.map(|value| Said { depth: 0, value: Some(value) })
    };
    let request = field(fields.and_then(|fields| fields.request.as_ref()));
    let attempt = field(fields.and_then(|fields| fields.backend_request.as_ref()));
    Limits {
        request: request.or_else(|| leaf(|body| &body.request)),
        attempt: attempt.or_else(|| leaf(|body| &body.attempt)),
        connect: leaf(|body| &body.connect),
        stream_idle: leaf(|body| &body.stream_idle),
    }
}

/// The number of repeats, `field` being the rule's own; the rule's own default of 1 is not written.
pub(super) fn attempts<'a>(layers: &[Layer<'a>], field: Option<&'a RouteRetry>) -> Attempts<'a> {
    let of_rule = field.and_then(|field| field.attempts.as_ref());
    of_rule.map(|value| Said { depth: 0, value: Some(value) }).or_else(|| {
        said(layers, |layer| match layer.blocks.retry {
            Setting::Unset => None,
            Setting::Off => Some(None),
            Setting::Set(body) => of_setting(&body.attempts),
        })
    })
}

/// The most specific policy that says what is repeated.
pub(super) fn on<'a>(layers: &[Layer<'a>]) -> Option<&'a RetryBody> {
    let bodies = layers.iter().filter_map(|layer| match layer.blocks.retry {
        Setting::Set(body) => Some(body),
        Setting::Unset | Setting::Off => None,
    });
    bodies.into_iter().find(|body| body.on.written)
}

/// `None`: nothing is written. `Some(None)`: null.
type Leaf<'a, T> = Option<Option<&'a Spanned<T>>>;

fn said<'a, T>(layers: &[Layer<'a>], read: impl Fn(&Layer<'a>) -> Leaf<'a, T>) -> Option<Said<'a, T>> {
    let said = layers.iter().enumerate();
    said.into_iter().find_map(|(at, layer)| Some(Said { depth: at + 1, value: read(layer)? }))
}

fn of_setting<T>(setting: &Setting<Spanned<T>>) -> Leaf<'_, T> {
    match setting {
        Setting::Unset => None,
        Setting::Off => Some(None),
        Setting::Set(written) => Some(Some(written)),
    }
}
