//! The wire between a proxy and its control plane: connections, pauses, what is written down. What is said is
//! [`Session`]'s.
//!
//! A control plane that is away changes nothing about a policy in use, for however long.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use outrigger_config::{
    model::ObjectName,
    wire::{DecodeError, DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::chores::{Chore, Chores};
use crate::{
    discovery::{
        last_known_good::LastKnownGood,
        local::Change,
        prepare::{Files, Ready, judge, prepare, text},
        session::{Heard, Session},
    },
    identity::Identity,
    runtime::status::Status,
    telemetry::metrics::Metrics,
};

/// The one method.
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Bytes of one answer: half a MiB and one resource more, which may be a Service with all of its routes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Pauses between attempts: something between nothing and a limit that doubles from the one to the other.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a control plane that answers may take to tell everything before the kept policy is used.
const PATIENCE: Duration = Duration::from_secs(2);
/// Refused resources of one answer that go to the log; all of them are in the status.
const LOGGED: usize = 20;
/// Between two lines of a log that say that there is no policy, or that it grows old.
const REMIND: Duration = Duration::from_secs(10);
const REMIND_OLD: Duration = Duration::from_secs(60);

/// What a proxy has that has started.
pub(super) type Told = (Arc<Status>, Arc<Metrics>);

/// Why a stream ended.
enum End {
    /// Nobody wants a policy any more.
    Unwanted,
    /// The control plane has ended it in order, or it is lost: why.
    Lost(String),
}

/// A client at work.
pub(super) struct Client {
    sidecar: ObjectName,
    endpoints: Vec<Endpoint>,
    session: Session,
    kept: Option<LastKnownGood>,
    send: mpsc::Sender<Change>,
    told: Option<Told>,
    telling: Option<oneshot::Receiver<Told>>,
    identity: Option<Arc<Identity>>,
    /// Since when no control plane is there; `None`: one is.
    away: Option<SystemTime>,
    /// Some policy is in use.
    in_use: bool,
    /// What the proxy has is not what is in use.
    untried: bool,
    files: Files,
    chores: Chores,
    reminded: Option<Instant>,
}

impl Client {
    /// Asks for the policy of `sidecar`, with what is here from before and where it is kept; sends policies, and is told when
    /// the proxy has started.
    pub(super) fn new(
        sidecar: ObjectName,
        endpoints: Vec<Endpoint>,
        (session, kept): (Session, Option<LastKnownGood>),
        (send, telling): (mpsc::Sender<Change>, oneshot::Receiver<Told>),
    ) -> Self {
        Self {
            sidecar,
            endpoints,
            session,
            kept,
            send,
            told: None,
            telling: Some(telling),
            identity: None,
            away: Some(SystemTime::now()),
            in_use: false,
            untried: false,
            files: Files::default(),
            chores: Chores::new(),
            reminded: None,
        }
    }

    /// Until nobody wants a policy any more.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        for at in (0..self.endpoints.len()).cycle() {
            let End::Lost(why) = self.stream(self.endpoints[at].clone()).await else { return };
            failures = if self.session.is_current() { 0 } else { failures + 1 };
            self.session.close();
            self.set_away(Some(SystemTime::now()));
            if !self.in_use {
                self.take_up_kept().await;
            }
            let end = Instant::now() + pause(failures, rand::random());
            self.remind(&why);
            loop {
                tokio::select! {
                    () = sleep_until(end) => break,
                    () = sleep(REMIND) => self.remind(&why),
                    told = started(&mut self.telling) => self.started(told),
                    chore = self.chores.next() => self.chore(chore).await,
                    () = self.send.closed() => return,
                }
            }
        }
    }

    async fn stream(&mut self, endpoint: Endpoint) -> End {
        let connected = tokio::select! {
            connected = endpoint.connect() => connected,
            () = self.send.closed() => return End::Unwanted,
        };
        let address = endpoint.uri().to_string();
        let channel = match connected {
            Ok(channel) => channel,
            Err(error) => return End::Lost(format!("{address}: {}", chain(&error))),
        };
        let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
        if let Err(error) = client.ready().await {
            return End::Lost(format!("{address}: {error}"));
        }
        let (ask, requests) = mpsc::channel(8);
        for request in self.session.open() {
            // There is room for one of each type.
            let _ = ask.try_send(request);
        }
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let opened = client.streaming(
            Request::new(ReceiverStream::new(requests)),
            PathAndQuery::from_static(METHOD),
            codec,
        );
        let mut answers = match opened.await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return End::Lost(format!("{address}: {}", status.message())),
        };
        let patience = Instant::now() + PATIENCE;
        let mut waited = false;
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        if let Err(why) = self.hear(answer, &ask).await {
                            return End::Lost(format!("{address}: {why}"));
                        }
                    }
                    Ok(None) => return End::Lost(format!("{address}: ended by the control plane")),
                    Err(status) => return End::Lost(format!("{address}: {}", status.message())),
                },
                chore = self.chores.next() => self.chore(chore).await,
                told = started(&mut self.telling) => self.started(told),
                () = sleep(REMIND), if !self.in_use => {
                    self.remind(&format!("{address} tells of no Sidecar of this name"));
                }
                () = sleep_until(patience), if !waited => {
                    waited = true;
                    if !self.in_use {
                        self.take_up_kept().await;
                    }
                }
                () = self.send.closed() => return End::Unwanted,
            }
        }
    }

    /// Takes an answer, uses what it brings, and says what came of it.
    async fn hear(
        &mut self,
        answer: DeltaDiscoveryResponse,
        ask: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), String> {
        let was_current = self.session.is_current();
        let mut heard = self.session.hear(answer).map_err(|error| error.to_string())?;
        let errors = self.judge(&heard).await;
        self.session.refuse(&mut heard, errors);
        self.untried |= heard.changed();
        // At first everything has to be told before anything is used.
        if self.session.is_current()
            && (self.untried || !self.in_use)
            && let Err(why) = self.take_up().await
        {
            heard.not_in_use(&why);
            self.chores.not_in_use();
        }
        self.report(&heard);
        if self.session.is_current() {
            self.set_away(None);
            if !was_current {
                tracing::info!("this proxy has the policy of the control plane");
                self.reminded = None;
            }
        }
        ask.send(heard.answer()).await.map_err(|_| "the stream is closed".to_owned())
    }

    /// Uses what the proxy has, if it is whole.
    async fn take_up(&mut self) -> Result<(), String> {
        let Some(whole) = self.session.whole() else { return Ok(()) };
        let identity = self.identity.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(whole, identity.as_ref())).await;
        let prepared = prepared.map_err(|_| "internal error while the policy was read".to_owned())?;
        let Ready { policy, files } = prepared.map_err(|unusable| text(&unusable))?;
        let identity = policy.identity.clone();
        let (in_use, answer) = oneshot::channel();
        if self.send.send(Change { policy, in_use }).await.is_err() {
            return Ok(());
        }
        if !answer.await.unwrap_or(false) {
            return Err("it cannot be used here, for a reason that is in the proxy's log".to_owned());
        }
        (self.identity, self.in_use, self.untried) = (identity, true, false);
        self.chores.in_use(files.paths.clone());
        self.files = files;
        Ok(())
    }

    /// The control plane is away: the policy that was kept is better than none.
    async fn take_up_kept(&mut self) {
        if self.session.whole().is_none() {
            return;
        }
        tracing::warn!("the control plane is away; this proxy starts with the policy that it kept");
        if let Err(why) = self.take_up().await {
            tracing::error!("the kept policy is not used: {why}");
        }
    }

    async fn judge(&self, heard: &Heard) -> Vec<DecodeError> {
        let Some(came) = self.session.came(heard) else { return Vec::new() };
        tokio::task::spawn_blocking(move || judge(&came)).await.unwrap_or_default()
    }

    async fn chore(&mut self, chore: Chore) {
        match chore {
            Chore::Keep => {
                let Some(kept) = self.kept.clone() else { return };
                let held = self.session.held().clone();
                let saved = tokio::task::spawn_blocking(move || (kept.save(&held), kept)).await;
                if let Ok((Err(error), kept)) = saved {
                    tracing::error!("{}: the policy cannot be kept: {error}", kept.file().display());
                }
            }
            Chore::Files if !self.files.changed() => {}
            Chore::Retry | Chore::Files => {
                if let Err(why) = self.take_up().await {
                    tracing::error!("policy not in use: {why}");
                    self.chores.not_in_use();
                }
            }
        }
    }

    /// Tells what of an answer is refused, and keeps telling it while it is.
    fn report(&mut self, heard: &Heard) {
        for error in heard.errors().iter().take(LOGGED) {
            tracing::error!("refused: {error}");
        }
        let (kind, new) = (heard.kind(), heard.errors().len() as u64);
        let standing: Vec<String> = self.session.refusals().map(ToString::to_string).collect();
        self.tell(|status, metrics| {
            if new > 0 {
                metrics.discovery_refused(kind, new);
            }
            if !standing.is_empty() {
                status.reject(&standing.join("\n"));
            }
        });
    }

    /// The proxy has started, and has a status and metrics.
    fn started(&mut self, told: Told) {
        self.told = Some(told);
        self.set_away(self.away);
    }

    /// Notes since when no control plane is there; `None`: one is.
    fn set_away(&mut self, away: Option<SystemTime>) {
        self.away = away.map(|now| self.away.unwrap_or(now));
        let away = self.away;
        self.tell(|_, metrics| metrics.discovery_away(away));
    }

    /// Does something to the proxy's status and metrics, once it has them.
    fn tell(&self, what: impl FnOnce(&Status, &Metrics)) {
        if let Some((status, metrics)) = &self.told {
            what(status, metrics);
        }
    }

    /// Says that the control plane is away, now and then.
    fn remind(&mut self, why: &str) {
        let every = if self.in_use { REMIND_OLD } else { REMIND };
        if self.reminded.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        self.reminded = Some(Instant::now());
        match self.in_use {
            true => tracing::warn!("no control plane: {why}; the policy in use stays"),
            false => tracing::warn!("no policy for {} yet: {why}; trying again", self.sidecar),
        }
    }
}

/// Waits for the proxy to start; for ever where it has, or never will.
async fn started(telling: &mut Option<oneshot::Receiver<Told>>) -> Told {
    let told = match telling {
        Some(telling) => telling.await.ok(),
        None => None,
    };
    *telling = None;
    match told {
        Some(told) => told,
        None => std::future::pending().await,
    }
}

/// The pause after so many failures in a row: `dice`, from 0 to 1, of a limit that doubles.
fn pause(failures: u32, dice: f64) -> Duration {
    let limit = SHORTEST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST);
    limit.mul_f64(dice)
}

/// An error with its causes: tonic's own text is "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_never_the_same_for_all() {
        let millis = Duration::from_millis;
        assert_eq!([0, 1, 2, 3].map(|failures| pause(failures, 1.0)), [500, 500, 1000, 2000].map(millis));
        assert_eq!((pause(100, 1.0), pause(100, 0.0)), (LONGEST, Duration::ZERO));
    }
}
