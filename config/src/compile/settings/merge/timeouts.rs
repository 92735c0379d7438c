//! `timeouts`, and the limits that a route rule has of its own.

use std::time::Duration;

use super::Merge;
use crate::{
    convert::{Setting, Spanned},
    duration::GepDuration,
    model::Timeouts,
    schema::{RouteTimeouts, TimeoutsBody},
};

/// `None` is off; `0s` is off too.
type Limit = Option<Duration>;

impl Merge<'_> {
    pub(super) fn timeouts(&mut self, fields: Option<&RouteTimeouts>) -> Timeouts {
        let request = self.limit("timeouts.request", |body| &body.request);
        let attempt = self.limit("timeouts.attempt", |body| &body.attempt);
        let connect = self.limit("timeouts.connect", |body| &body.connect);
        let stream_idle = self.limit("timeouts.streamIdle", |body| &body.stream_idle);
        let built_in = Timeouts::default();
        let mut timeouts = Timeouts {
            request: request.unwrap_or(built_in.request),
            attempt: attempt.unwrap_or(built_in.attempt),
            connect: connect.unwrap_or(built_in.connect),
            stream_idle: stream_idle.unwrap_or(built_in.stream_idle),
            stream_idle_set: matches!(stream_idle, Some(Some(_))),
        };
        if let Some(written) = fields.and_then(|fields| fields.request.as_ref()) {
            timeouts.request = positive(written);
            self.ruled("timeouts.request", &written.span);
        }
        if let Some(written) = fields.and_then(|fields| fields.backend_request.as_ref()) {
            timeouts.attempt = positive(written);
            self.ruled("timeouts.attempt", &written.span);
        }
        timeouts
    }

    fn limit(
        &mut self,
        leaf: &'static str,
        read: fn(&TimeoutsBody) -> &Setting<Spanned<GepDuration>>,
    ) -> Option<Limit> {
        self.first(leaf, |layer| match layer.blocks.timeouts {
            Setting::Unset => None,
            Setting::Off => Some((None, layer.span)),
            Setting::Set(body) => match read(body) {
                Setting::Unset => None,
                Setting::Off => Some((None, body.span)),
                Setting::Set(written) => Some((positive(written), written.span)),
            },
        })
    }
}

pub(super) fn positive(written: &Spanned<GepDuration>) -> Limit {
    Some(written.value.0).filter(|duration| !duration.is_zero())
}
