//! The time limits of one request: the whole of it, its longest pause, and what is left for an attempt.
//!
//! A gRPC caller's own `grpc-timeout` counts where it is the smaller. The same object watches the request before its
//! answer's head and is then handed to the answer's body, so no limit is ever without a watcher.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use outrigger_config::model::Timeouts;
use tokio::time::Instant;

use crate::{
    body::Flow,
    error::Failure,
    request::{strict::Checked, timeout},
    worker::deadline::{Deadlines, Timer},
};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What the limits of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From the complete head to the last byte of the answer.
    pub(crate) request: Option<Duration>,
    /// The longest pause.
    pub(crate) idle: Option<Duration>,
}

/// The limits of a request. `asked` is what the caller itself allows.
pub(crate) fn limits(timeouts: &Timeouts, asked: Option<Duration>, checked: &Checked) -> Limits {
    limits_of(timeouts, asked, checked.grpc || checked.switch.is_some())
}

/// Streams of gRPC, and what is to become another protocol (`patient`), have no pause limit unless one was written down.
fn limits_of(timeouts: &Timeouts, asked: Option<Duration>, patient: bool) -> Limits {
    let request = match (timeouts.request, asked) {
        (Some(own), Some(asked)) => Some(own.min(asked)),
        (own, asked) => own.or(asked),
    };
    let idle = timeouts.stream_idle.filter(|_| !patient || timeouts.stream_idle_set);
    Limits { request, idle }
}

/// What the caller itself allows: a gRPC deadline, or what an authenticated proxy says is left. A deadline that cannot
/// be read is the app's to refuse.
pub(crate) fn asked(headers: &HeaderMap, checked: &Checked) -> Option<Duration> {
    let grpc = headers.get(GRPC_TIMEOUT).filter(|_| checked.grpc);
    let grpc = grpc.and_then(|value| timeout::parse_grpc(value.as_bytes()).ok());
    match (grpc, checked.mesh.timeout) {
        (Some(grpc), Some(mesh)) => Some(grpc.min(mesh)),
        (grpc, mesh) => grpc.or(mesh),
    }
}

/// Tells a gRPC upstream what is left for this attempt.
pub(crate) fn tell(headers: &mut HeaderMap, left: Duration) {
    headers.insert(GRPC_TIMEOUT, timeout::format_grpc(left));
}

/// The running limits of a request.
#[derive(Debug)]
pub(crate) struct Deadline {
    ends: Option<(Instant, Timer)>,
    idle: Option<(Duration, Timer)>,
    flow: Rc<Flow>,
}

impl Deadline {
    /// Starts the limits now.
    pub(crate) fn start(limits: Limits, flow: &Rc<Flow>, deadlines: &Rc<Deadlines>, now: Instant) -> Self {
        let ends = limits.request.map(|limit| (now + limit, deadlines.at(now + limit)));
        let idle = limits.idle.map(|pause| (pause, deadlines.at(now + pause)));
        Self { ends, idle, flow: flow.clone() }
    }

    /// What is left of the whole; `None` where there is no limit.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        self.ends.as_ref().map(|(at, _)| at.saturating_duration_since(now))
    }

    /// Ready with the limit that has passed.
    pub(crate) fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Some((_, timer)) = &self.ends
            && timer.poll_expired(cx).is_ready()
        {
            return Poll::Ready(Failure::RequestTimeout);
        }
        let Some((pause, timer)) = &self.idle else { return Poll::Pending };
        // The timer is not moved for every frame: it looks back when it fires.
        while timer.poll_expired(cx).is_ready() {
            let until = self.flow.touched.get() + *pause;
            if until <= Instant::now() {
                return Poll::Ready(Failure::StreamIdle);
            }
            timer.reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_holds_and_grpc_streams_may_pause() {
        let second = Duration::from_secs(1);
        let mut timeouts = Timeouts {
            request: Some(second * 3),
            attempt: None,
            connect: None,
            stream_idle: Some(second * 300),
            stream_idle_set: false,
        };
        assert_eq!(limits_of(&timeouts, Some(second), false).request, Some(second));
        assert_eq!(limits_of(&timeouts, Some(second * 9), true).request, Some(second * 3));
        assert_eq!(limits_of(&timeouts, None, true).idle, None);
        assert_eq!(limits_of(&timeouts, None, false).idle, Some(second * 300));
        timeouts.stream_idle_set = true;
        assert_eq!(limits_of(&timeouts, None, true).idle, Some(second * 300));
        timeouts.request = None;
        assert_eq!(limits_of(&timeouts, Some(second), true).request, Some(second));
    }
}
