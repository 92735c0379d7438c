//! What the proxy knows about itself and shows to people: whether it is ready, what it listens on, which policy it runs,
//! why the last change of it was refused. And the way back: what people asked it to do.
//!
//! The data path never reads this. It decides nothing: the app sets it, the admin API shows it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use outrigger_config::model::Resources;
use tokio::sync::watch;

use crate::ctx::Side;

/// How far a proxy is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not everything stands yet.
    Starting,
    /// It serves.
    Ready,
    /// It serves what is open, and no more than that.
    Draining,
}

/// What a person asked the proxy to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// End in order, leaving load balancers time to notice: `POST /drain`.
    Drain,
    /// End in order, at once: `POST /quit`.
    Quit,
}

/// The policy in use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its number.
    pub generation: u64,
    /// When it was taken up.
    pub at: SystemTime,
    /// What it holds.
    pub resources: Arc<Resources>,
}

/// A change of the policy that was refused.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// When.
    pub at: SystemTime,
    /// The report, as `outrigger check` prints it.
    pub text: String,
    /// Each finding, with its file, line and column.
    pub findings: Vec<serde_json::Value>,
}

/// One open listener.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BoundListener {
    /// Which way its requests go.
    pub side: Side,
    /// The address as the policy has it.
    pub bind: SocketAddr,
    /// The address that it got; differs where the policy says port 0.
    pub bound: SocketAddr,
    /// It takes connections that are redirected.
    pub intercepted: bool,
}

/// The proxy's status.
#[derive(Debug)]
pub struct Status {
    phase: watch::Sender<Phase>,
    asked: watch::Sender<Option<Asked>>,
    sources: ArcSwap<Vec<PathBuf>>,
    loaded: ArcSwapOption<Loaded>,
    rejection: watch::Sender<Option<Arc<Rejection>>>,
    listeners: ArcSwap<Vec<BoundListener>>,
}

impl Status {
    /// The status of a proxy that is starting.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: watch::Sender::new(Phase::Starting),
            asked: watch::Sender::new(None),
            sources: ArcSwap::default(),
            loaded: ArcSwapOption::empty(),
            rejection: watch::Sender::new(None),
            listeners: ArcSwap::default(),
        })
    }

    /// How far the proxy is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Everything stands. A proxy that drains stays not ready.
    pub fn set_ready(&self) {
        self.advance(Phase::Ready);
    }

    /// The proxy begins to drain. False if it did so before.
    pub fn set_draining(&self) -> bool {
        self.advance(Phase::Draining)
    }

    fn advance(&self, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            *phase = to.max(*phase);
            forward
        })
    }

    /// Why the proxy is not ready; `None` if it is.
    pub fn not_ready(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Starting if self.loaded.load().is_none() => Some("no policy yet"),
            Phase::Starting => Some("starting"),
            Phase::Ready => None,
            Phase::Draining => Some("draining"),
        }
    }

    /// A person asks for something. Who has asked to quit is not overruled by who asks to drain.
    pub fn ask(&self, what: Asked) {
        self.asked.send_if_modified(|asked| {
            let more = *asked < Some(what);
            *asked = Some(what).max(*asked);
            more
        });
    }

    /// Waits until a person asks the proxy to end, more urgently than `before`.
    pub async fn asked_to_end(&self, before: Option<Asked>) -> Asked {
        let mut asked = self.asked.subscribe();
        loop {
            if let Some(what) = *asked.borrow_and_update()
                && Some(what) > before
            {
                return what;
            }
            if asked.changed().await.is_err() {
                // The sender is this very status: it lives as long as the borrow.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Files and folders that the policy comes from.
    pub fn set_sources(&self, sources: Vec<PathBuf>) {
        self.sources.store(Arc::new(sources));
    }

    /// Files and folders that the policy comes from.
    pub fn sources(&self) -> Arc<Vec<PathBuf>> {
        self.sources.load_full()
    }

    /// A policy was taken up; what was refused before is over.
    pub fn set_loaded(&self, loaded: Loaded) {
        self.loaded.store(Some(Arc::new(loaded)));
        self.rejection.send_replace(None);
    }

    /// The policy in use.
    pub fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.load_full()
    }

    /// A change was refused; the policy in use stays.
    pub fn set_rejection(&self, rejection: Rejection) {
        self.rejection.send_replace(Some(Arc::new(rejection)));
    }

    /// A change was refused for a reason that has no place in a file, such as a port that is taken.
    pub fn reject(&self, text: &str) {
        self.set_rejection(Rejection { at: SystemTime::now(), text: text.to_owned(), findings: Vec::new() });
    }

    /// What was refused was taken back: the files hold the policy in use again.
    pub fn clear_rejection(&self) {
        self.rejection.send_replace(None);
    }

    /// The last change, if it was refused.
    pub fn rejection(&self) -> Option<Arc<Rejection>> {
        self.rejection.borrow().clone()
    }

    /// The last change, if it was refused, for who waits for it.
    pub fn rejections(&self) -> watch::Receiver<Option<Arc<Rejection>>> {
        self.rejection.subscribe()
    }

    /// The open listeners.
    pub fn set_listeners(&self, listeners: Vec<BoundListener>) {
        self.listeners.store(Arc::new(listeners));
    }

    /// The open listeners.
    pub fn listeners(&self) -> Arc<Vec<BoundListener>> {
        self.listeners.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_forward() {
        let status = Status::new();
        assert_eq!(status.not_ready(), Some("no policy yet"));
        status.set_ready();
        assert_eq!(status.not_ready(), None);
        assert!(status.set_draining());
        assert!(!status.set_draining(), "it drains already");
        status.set_ready();
        assert_eq!(status.not_ready(), Some("draining"));
    }

    #[tokio::test]
    async fn a_question_that_came_early_is_answered_and_quit_wins() {
        let status = Status::new();
        status.ask(Asked::Quit);
        status.ask(Asked::Drain);
        assert_eq!(status.asked_to_end(None).await, Asked::Quit);
        assert_eq!(status.asked_to_end(Some(Asked::Drain)).await, Asked::Quit);
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let status = Status::new();
        let waiting = tokio::spawn({
            let status = status.clone();
            async move { status.asked_to_end(None).await }
        });
        tokio::task::yield_now().await;
        status.ask(Asked::Drain);
        assert_eq!(waiting.await.expect("not cancelled"), Asked::Drain);
    }
}
