//! Follows the source of an identity: takes what is whole, keeps what is in use where something is not, and says how much
//! of the certificate's life is left.
//!
//! The decisions are `rotation/judge.rs`'s, without clock and files. A rotation compiles no policy and ends no connection.

mod judge;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use self::judge::{Judge, Verdict};
use super::{
    Identity, Refused,
    life::Stage,
    source::{Brought, Source},
};
use crate::{
    pem::Unusable,
    telemetry::{
        metrics::{self, Metrics},
        timestamp,
    },
};

/// Follows one identity.
struct Rotation {
    identity: Arc<Identity>,
    source: Source,
    judge: Judge,
    /// What was last said of the certificate in use.
    told: Stage,
    look_again: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Rotation {
    fn new(identity: Arc<Identity>, metrics: Arc<Metrics>) -> Self {
        metrics.identity_in_use(Some(identity.current().svid().not_after()));
        let source = Source::follow(&identity.source().source);
        let judge = Judge::new(identity.first_signature());
        Self { identity, source, judge, told: Stage::Fresh, look_again: None, metrics }
    }

    async fn run(mut self) {
        loop {
            self.step().await;
        }
    }

    /// Waits for what comes next, and acts on it.
    async fn step(&mut self) {
        let next = self.tell_age(SystemTime::now());
        let age = next.map(|left| Instant::now() + left.min(Duration::from_secs(3600)));
        let wake = [age, self.look_again].into_iter().flatten().min();
        let timer = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.source.changed() => {}
            () = timer => {}
        }
        let brought = self.source.look(self.judge.in_use(), self.identity.next_terms()).await;
        let (signature, credentials) = match brought {
            None => (self.judge.in_use(), None),
            Some(Brought { signature, credentials }) => (signature, Some(credentials)),
        };
        let is_whole = matches!(credentials, Some(Ok(_)));
        self.look_again = None;
        match (self.judge.judge(signature, is_whole, Instant::now()), credentials) {
            (Verdict::Wait(until), _) => self.look_again = Some(until),
            (Verdict::TakenBack, _) => {
                tracing::info!("the certificate that is in use is back in its place");
                self.identity.set_refused(None);
            }
            (Verdict::Take, Some(Ok(next))) => {
                let svid = next.svid();
                let not_after = svid.not_after();
                tracing::info!(
                    id = %svid.id(), serial = svid.serial(), not_after = timestamp::text(not_after),
                    "certificate, key or trust bundle replaced"
                );
                self.identity.rotate(next);
                self.told = Stage::Fresh;
                self.metrics.identity_in_use(Some(not_after));
                self.metrics.identity_rotation(metrics::Rotation::Taken);
            }
            (Verdict::Refuse, Some(Err(unusable))) => self.refuse(&unusable),
            (Verdict::Nothing | Verdict::Take | Verdict::Refuse, _) => {}
        }
    }

    fn refuse(&self, unusable: &Unusable) {
        let text = format!("{}; {}", unusable.message, unusable.help);
        tracing::error!("another certificate, key or trust bundle is refused, what is in use stays: {text}");
        self.identity.set_refused(Some(Refused { at: SystemTime::now(), text }));
        self.metrics.identity_rotation(metrics::Rotation::Refused);
    }

    /// Says, once per certificate and stage, that the end is near; gives how long there is nothing more to say.
    fn tell_age(&mut self, now: SystemTime) -> Option<Duration> {
        let credentials = self.identity.current();
        let svid = credentials.svid();
        let (stage, lasts) = Stage::of(svid, now);
        if stage > self.told {
            let (id, serial) = (svid.id().as_str(), svid.serial());
            let not_after = timestamp::text(svid.not_after());
            match stage {
                Stage::Fresh => {}
                Stage::Quarter => {
                    tracing::warn!(id, serial, not_after, "a quarter of the certificate's life is left");
                }
                Stage::Tenth => {
                    tracing::error!(id, serial, not_after, "a tenth of the certificate's life is left");
                }
                Stage::Expired => tracing::error!(
                    id,
                    serial,
                    not_after,
                    "the certificate has expired: no handshake is made until there is another one"
                ),
            }
        }
        self.told = stage;
        lasts
    }
}

/// Follows the identity of the policy in use.
#[derive(Debug)]
pub(crate) struct Follower {
    background: Handle,
    metrics: Arc<Metrics>,
    followed: Mutex<Option<(Arc<Identity>, JoinHandle<()>)>>,
}

impl Follower {
    /// Follows nobody yet.
    pub(crate) fn new(background: Handle, metrics: Arc<Metrics>) -> Self {
        Self { background, metrics, followed: Mutex::default() }
    }

    /// Follows this identity, and no other any more.
    pub(crate) fn follow(&self, identity: Option<&Arc<Identity>>) {
        let mut followed = self.followed.lock();
        match (&*followed, identity) {
            (None, None) => return,
            (Some((old, _)), Some(new)) if Arc::ptr_eq(old, new) => return,
            (Some((_, task)), _) => task.abort(),
            (None, Some(_)) => {}
        }
        self.metrics.identity_in_use(None);
        let _inside = self.background.enter();
        *followed = identity.map(|identity| {
            let rotation = Rotation::new(identity.clone(), self.metrics.clone());
            (identity.clone(), self.background.spawn(rotation.run()))
        });
    }
}

#[cfg(test)]
mod tests;
