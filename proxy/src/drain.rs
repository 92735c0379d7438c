//! The order in which a proxy ends, so that nobody's request is cut.
//!
//! Not ready at once, since load balancers need time to notice; inbound goes on accepting for a while; then inbound
//! finishes; outbound stays for the app's last calls until inbound is idle and quiet, or until the grace is nearly over.

use std::time::Duration;

use tokio::sync::watch;

use crate::ctx::Side;

/// Longest time in which inbound still accepts after the signal.
const ACCEPT_MORE: Duration = Duration::from_secs(5);
/// Outbound closes when no outbound connection has been open for this long.
pub(crate) const QUIET: Duration = Duration::from_secs(1);
/// Outbound closes this long before the grace ends, whatever is open.
const RESERVE: Duration = Duration::from_secs(2);

/// When each step is due, counted from the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Inbound listeners close and inbound connections finish.
    pub(crate) inbound: Duration,
    /// Outbound closes at the latest.
    pub(crate) outbound: Duration,
    /// The process ends at the latest.
    pub(crate) end: Duration,
}

/// What asked for the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM or `POST /drain`: callers elsewhere have to notice first.
    Terminate,
    /// Ctrl-C or `POST /quit`: nobody new is expected.
    Interrupt,
}

/// The schedule for a grace period.
pub(crate) fn schedule(grace: Duration, cause: Cause) -> Schedule {
    let inbound = match cause {
        // A short grace keeps most of itself for requests that are open.
        Cause::Terminate => ACCEPT_MORE.min(grace / 4),
        Cause::Interrupt => Duration::ZERO,
    };
    let outbound = grace.saturating_sub(RESERVE).max(grace / 2).max(inbound);
    Schedule { inbound, outbound, end: grace }
}

/// The switch that the app holds.
#[derive(Debug)]
pub(crate) struct Switch {
    inbound: watch::Sender<bool>,
    outbound: watch::Sender<bool>,
}

/// What connections listen to.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    inbound: watch::Receiver<bool>,
    outbound: watch::Receiver<bool>,
}

impl Switch {
    pub(crate) fn new() -> (Self, Signal) {
        let (inbound, inbound_signal) = watch::channel(false);
        let (outbound, outbound_signal) = watch::channel(false);
        (Self { inbound, outbound }, Signal { inbound: inbound_signal, outbound: outbound_signal })
    }

    /// Lets the connections of one side finish.
    pub(crate) fn close(&self, side: Side) {
        match side {
            Side::Inbound => self.inbound.send_replace(true),
            Side::Outbound => self.outbound.send_replace(true),
        };
    }
}

impl Signal {
    /// Ready once the connections of `side` are to finish.
    pub(crate) fn closing(&self, side: Side) -> impl Future<Output = ()> + use<> {
        let mut receiver = match side {
            Side::Inbound => self.inbound.clone(),
            Side::Outbound => self.outbound.clone(),
        };
        async move {
            // A switch that is gone means that the process is ending: that is a drain too.
            let _ = receiver.wait_for(|closing| *closing).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_grace_is_used_in_order() {
        let seconds = Duration::from_secs;
        assert_eq!(
            schedule(seconds(30), Cause::Terminate),
            Schedule { inbound: seconds(5), outbound: seconds(28), end: seconds(30) }
        );
        let quick = schedule(seconds(30), Cause::Interrupt);
        assert_eq!(quick.inbound, Duration::ZERO);
        for grace in [0, 1, 2, 3, 8, 100] {
            let plan = schedule(seconds(grace), Cause::Terminate);
            assert!(plan.inbound <= plan.outbound && plan.outbound <= plan.end, "{grace}: {plan:?}");
        }
    }
}
