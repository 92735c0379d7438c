//! `fault`.

use super::{Layer, Merge};
use crate::{
    convert::Setting,
    model::{AbortWith, Fault, FaultAbort, FaultDelay},
    schema::FaultBody,
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn fault(&mut self) -> Fault {
        let delay = self.first("fault.delay.duration", |layer| {
            part(layer, |body| &body.delay, |delay| (delay.duration.value.0, delay.duration.span))
        });
        let abort = self.first("fault.abort", |layer| {
            part(
                layer,
                |body| &body.abort,
                |abort| {
                    let status =
                        abort.status.as_ref().map(|it| (AbortWith::Status(it.value.0 as u16), it.span));
                    let code = abort.grpc_status.as_ref();
                    let code = code.map(|it| (AbortWith::GrpcStatus(it.value.0 as u8), it.span));
                    // A body without either is an error.
                    status.or(code).unwrap_or((AbortWith::Status(503), abort.span))
                },
            )
        });
        let header = self.first("fault.header", |layer| {
            part(layer, |body| &body.header, |name| (name.value.0.clone(), name.span))
        });
        let max_delay = self.first("fault.maxDelay", |layer| {
            let written = body(layer)?.max_delay.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        Fault {
            delay: delay
                .flatten()
                .map(|duration| FaultDelay { percent: self.share("fault.delay.percent"), duration }),
            abort: abort
                .flatten()
                .map(|with| FaultAbort { percent: self.share("fault.abort.percent"), with }),
            header: header.flatten(),
            max_delay: max_delay.unwrap_or(Fault::MAX_DELAY),
        }
    }

    /// How many of the requests, as the most specific layer says that says it.
    fn share(&mut self, leaf: &'static str) -> f64 {
        let written = self.first(leaf, |layer| {
            let body = body(layer)?;
            match (&body.delay, &body.abort) {
                (Setting::Set(delay), _) if leaf == "fault.delay.percent" => {
                    Some((delay.percent.0?.0, delay.span))
                }
                (_, Setting::Set(abort)) if leaf == "fault.abort.percent" => {
                    Some((abort.percent.0?.0, abort.span))
                }
                _ => None,
            }
        });
        written.unwrap_or(Fault::PERCENT)
    }
}

fn body<'a>(layer: &Layer<'a>) -> Option<&'a FaultBody> {
    match layer.blocks.fault {
        Setting::Set(body) => Some(body),
        Setting::Unset | Setting::Off => None,
    }
}

/// What a layer says of a part of the block; `Some(None)` is off.
fn part<'a, T: 'a, V>(
    layer: &Layer<'a>,
    read: impl FnOnce(&'a FaultBody) -> &'a Setting<T>,
    value: impl FnOnce(&'a T) -> (V, Span),
) -> Option<(Option<V>, Span)> {
    match layer.blocks.fault {
        Setting::Unset => None,
        Setting::Off => Some((None, layer.span)),
        Setting::Set(body) => match read(body) {
            Setting::Unset => None,
            Setting::Off => Some((None, body.span)),
            Setting::Set(written) => {
                let (value, span) = value(written);
                Some((Some(value), span))
            }
        },
    }
}
