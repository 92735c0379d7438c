//! The wire between a proxy and its control plane: connections, pauses, what is written down. What is said is
//! [`Session`]'s.
//!
//! It has a thread of its own: it is there before the proxy has a policy, and so before its runtimes. A control plane that is
//! away changes nothing about a policy in use, for however long.

mod chores;

use std::{
    path::PathBuf,
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

use self::chores::{Chore, Chores};
use super::{
    last_known_good::LastKnownGood,
    local::Change,
    prepare::{Files, Ready, judge, prepare, text},
    resources::Held,
    session::{Heard, Session},
};
use crate::{app::StartError, identity::Identity, runtime::status::Status, telemetry::metrics::Metrics};

/// The one method.
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Bytes of one answer: half a MiB and one resource more, which may be a Service with all of its routes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two pings, and until an answer: a dead link is found within 20 s.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(8);
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

/// Where a proxy's policy comes from that has none of its own.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// `http://host:port` of each replica.
    pub addresses: Vec<String>,
    /// Where the policy is kept for the next start; `None`: nowhere.
    pub state: Option<PathBuf>,
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Discovery {
    changes: mpsc::Receiver<Change>,
    tell: oneshot::Sender<Told>,
}

/// What a proxy has that has started.
type Told = (Arc<Status>, Arc<Metrics>);

impl Discovery {
    /// Begins to ask for the policy of a Sidecar.
    ///
    /// # Errors
    /// An address that is none, or a folder that cannot be made.
    pub(crate) fn start(from: &ControlPlane, sidecar: &ObjectName) -> Result<Self, StartError> {
        let endpoints =
            from.addresses.iter().map(|address| endpoint(address)).collect::<Result<Vec<_>, _>>()?;
        let kept = from.state.as_ref().map(|folder| {
            LastKnownGood::new(folder, sidecar)
                .map_err(|error| StartError::ControlPlane(format!("{}: {error}", folder.display())))
        });
        let kept = kept.transpose()?;
        let held = kept.as_ref().map(load).unwrap_or_default();
        let (send, changes) = mpsc::channel(1);
        let (tell, told) = oneshot::channel();
        let session = Session::new(sidecar, held);
        let sidecar = sidecar.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a system that gave a thread gives an event loop");
            runtime.block_on(async {
                let client = Client {
                    sidecar,
                    endpoints,
                    session,
                    kept,
                    send,
                    told: None,
                    telling: told,
                    identity: None,
                    in_use: false,
                    untried: false,
                    files: Files::default(),
                    chores: Chores::new(),
                    reminded: None,
                };
                client.run().await;
            });
        };
        let thread = std::thread::Builder::new().name("discovery".to_owned()).spawn(run);
        thread.map_err(StartError::Thread)?;
        Ok(Self { changes, tell })
    }

    /// Waits for the first policy, for ever; `None`: the client has died.
    pub(crate) fn first(&mut self) -> Option<Change> {
        // Who starts a proxy may be inside a runtime, where this thread could not wait.
        std::thread::scope(|scope| scope.spawn(|| self.changes.blocking_recv()).join().ok().flatten())
    }

    /// The policies after the first; the client may tell the proxy's status and metrics from here on.
    pub(crate) fn follow(self, status: Arc<Status>, metrics: Arc<Metrics>) -> mpsc::Receiver<Change> {
        // A client that has died has said so.
        let _ = self.tell.send((status, metrics));
        self.changes
    }
}

fn endpoint(address: &str) -> Result<Endpoint, StartError> {
    let bad =
        |why: &str| StartError::ControlPlane(format!("`{address}`: {why}; such as http://127.0.0.1:15012"));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| bad(&error.to_string()))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().port().is_none() {
        return Err(bad("it must be http:// with host and port"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true))
}

fn load(kept: &LastKnownGood) -> Held {
    match kept.load() {
        Ok(held) => held.unwrap_or_default(),
        Err(error) => {
            tracing::error!("{}: the kept policy is of no use: {error}", kept.file().display());
            Held::default()
        }
    }
}

/// Why a stream ended.
enum End {
    /// Nobody wants a policy any more.
    Unwanted,
    /// The control plane has ended it in order, or it is lost: why.
    Lost(String),
}

struct Client {
    sidecar: ObjectName,
    endpoints: Vec<Endpoint>,
    session: Session,
    kept: Option<LastKnownGood>,
    send: mpsc::Sender<Change>,
    told: Option<Told>,
    telling: oneshot::Receiver<Told>,
    identity: Option<Arc<Identity>>,
    /// Some policy is in use.
    in_use: bool,
    /// What the proxy has is not what is in use.
    untried: bool,
    files: Files,
    chores: Chores,
    reminded: Option<Instant>,
}

impl Client {
    async fn run(mut self) {
        let mut failures = 0;
        for at in (0..self.endpoints.len()).cycle() {
            let End::Lost(why) = self.stream(self.endpoints[at].clone()).await else { return };
            failures = if self.session.is_current() { 0 } else { failures + 1 };
            self.session.close();
            self.tell(|_, metrics| metrics.discovery_lost(SystemTime::now()));
            if !self.in_use {
                self.take_up_kept().await;
            }
            let end = Instant::now() + pause(failures, rand::random());
            self.remind(&why);
            loop {
                tokio::select! {
                    () = sleep_until(end) => break,
                    () = sleep(REMIND) => self.remind(&why),
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
            self.tell(|_, metrics| metrics.discovery_current());
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

    /// Does something to the proxy's status and metrics, once it has them.
    fn tell(&mut self, what: impl FnOnce(&Status, &Metrics)) {
        if self.told.is_none() {
            self.told = self.telling.try_recv().ok();
        }
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

    #[test]
    fn addresses_are_http_with_a_port() {
        assert!(endpoint("http://127.0.0.1:15012").is_ok());
        for address in ["127.0.0.1:15012", "https://a:1", "http://a", "", "http://"] {
            let error = endpoint(address).unwrap_err().to_string();
            assert!(error.contains("such as http://127.0.0.1:15012"), "{error}");
        }
    }
}
