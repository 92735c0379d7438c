//! `concurrency`.

use super::{Layer, Merge};
use crate::{
    convert::Setting,
    model::{Concurrency, Priority},
    schema::{AdaptiveBody, ConcurrencyBody},
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn concurrency(&mut self) -> Option<Concurrency> {
        let on = self.first("concurrency.adaptive", |layer| {
            part(layer, |body| &body.adaptive).map(|(adaptive, span)| (adaptive.is_some(), span))
        });
        if on != Some(true) {
            self.origins.retain(|leaf, _| *leaf != "concurrency.adaptive");
            return None;
        }
        let min_limit = self.first("concurrency.adaptive.minLimit", |layer| {
            let written = adaptive(layer)?.min_limit.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        let max_limit = self.first("concurrency.adaptive.maxLimit", |layer| {
            let written = adaptive(layer)?.max_limit.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        let priority = self.first("concurrency.priority", |layer| {
            let (body, span) = part(layer, |body| &body.priority)?;
            let words = |list: &[crate::convert::Spanned<crate::convert::HeaderValue>]| {
                list.iter().map(|word| word.value.0.clone()).collect()
            };
            let read = body.map(|body| Priority {
                header: body.header.value.0.clone(),
                high: words(&body.high),
                low: words(&body.low),
            });
            Some((read, body.map_or(span, |body| body.header.span)))
        });
        let min_limit = min_limit.unwrap_or(Concurrency::MIN_LIMIT);
        Some(Concurrency {
            min_limit,
            max_limit: max_limit.unwrap_or(Concurrency::MAX_LIMIT).max(min_limit),
            priority: priority.flatten(),
        })
    }
}

/// What a layer says of a part of the block, with its place; `None` in it is off.
fn part<'a, T>(
    layer: &Layer<'a>,
    read: impl FnOnce(&'a ConcurrencyBody) -> &'a Setting<T>,
) -> Option<(Option<&'a T>, Span)> {
    match layer.blocks.concurrency {
        Setting::Unset => None,
        Setting::Off => Some((None, layer.span)),
        Setting::Set(body) => match read(body) {
            Setting::Unset => None,
            Setting::Off => Some((None, body.span)),
            Setting::Set(written) => Some((Some(written), body.span)),
        },
    }
}

fn adaptive<'a>(layer: &Layer<'a>) -> Option<&'a AdaptiveBody> {
    part(layer, |body| &body.adaptive)?.0
}
