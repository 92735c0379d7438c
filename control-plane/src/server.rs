//! The discovery service on sockets: HTTP/2, gRPC, one task for each stream. What is said on a stream is [`Session`]'s.
//!
//! Everything that a peer may make large is bounded here: connections, streams, messages, names. Keepalive finds a proxy
//! that is gone within 20 s. A stream ends after a while by itself, so that proxies spread over replicas again.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outrigger_config::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, ResourceType};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, body::Body, server::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    metrics::Metrics,
    session::{Heard, Refusal, Session},
    snapshot::Snapshot,
    world::World,
};

/// The one method.
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Open connections. More wait in the kernel's queue.
const CONNECTIONS: usize = 10_000;
/// Streams of one connection: a proxy needs one.
const STREAMS: u32 = 8;
/// Bytes of one request: 10,000 names with their versions are some 2 MiB.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Between two pings, and until an answer: a dead link is found within 20 s.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(8);
/// How long the first byte of a connection, and the first request of a stream, may take.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a stream lasts, give or take a tenth.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// What all streams share.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    pub(crate) world: watch::Receiver<Arc<World>>,
    pub(crate) metrics: Metrics,
    /// This control plane's name in its answers.
    pub(crate) identifier: String,
    pub(crate) max_age: Duration,
}

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, discovery: Discovery) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let discovery = discovery.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(socket, discovery).await {
                        tracing::debug!(%error, "a discovery connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a discovery connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    socket: TcpStream,
    discovery: Discovery,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    timeout(FIRST_REQUEST, socket.readable()).await??;
    let service = hyper::service::service_fn(move |request| call(request, discovery.clone()));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .serve_connection(TokioIo::new(socket), service)
        .await?;
    Ok(())
}

async fn call(
    request: hyper::Request<Incoming>,
    discovery: Discovery,
) -> Result<hyper::Response<Body>, Infallible> {
    if request.uri().path() != METHOD {
        return Ok(Status::unimplemented(format!("there is {METHOD} alone")).into_http());
    }
    let codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(REQUEST_BYTES);
    let open = tower::service_fn(move |request: Request<Streaming<DeltaDiscoveryRequest>>| {
        let (send, answers) = mpsc::channel(1);
        tokio::spawn(discovery.clone().stream(request.into_inner(), send));
        async { Ok::<_, Status>(Response::new(ReceiverStream::new(answers))) }
    });
    Ok(grpc.streaming(open, request).await)
}

type Answers = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// Why a stream ends.
enum End {
    /// The proxy has gone, or need not be told.
    Quiet,
    /// The proxy is told why.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Discovery {
    async fn stream(self, requests: Streaming<DeltaDiscoveryRequest>, answers: Answers) {
        let metrics = self.metrics.clone();
        metrics.streams.inc();
        let end = self.talk(requests, &answers).await;
        metrics.streams.dec();
        if let Err(End::Refused(refusal)) = end {
            metrics.refused(refusal.word());
            tracing::warn!("a discovery stream is refused: {refusal}");
            // The proxy may have gone meanwhile.
            let _ = answers.send(Err(Status::invalid_argument(refusal.to_string()))).await;
        }
    }

    async fn talk(
        mut self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        answers: &Answers,
    ) -> Result<(), End> {
        let mut session = Session::new(self.identifier.clone());
        let first = timeout(FIRST_REQUEST, requests.message()).await;
        let Ok(Ok(Some(first))) = first else { return Err(End::Quiet) };
        self.hear(&mut session, first)?;
        let end = Instant::now() + self.max_age.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        loop {
            let seen = self.seen(&session);
            while let Some(answer) = session.next(&seen) {
                self.count(&answer);
                answers.send(Ok(answer)).await.map_err(|_| End::Quiet)?;
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.hear(&mut session, request)?,
                    Ok(None) | Err(_) => return Err(End::Quiet),
                },
                changed = self.world.changed() => changed.map_err(|_| End::Quiet)?,
                () = sleep_until(end) => return Ok(()),
                () = answers.closed() => return Err(End::Quiet),
            }
        }
    }

    fn hear(&mut self, session: &mut Session, request: DeltaDiscoveryRequest) -> Result<(), Refusal> {
        let opens = session.scope().is_none();
        let proxy = session.introduce(&request)?.sidecar.clone();
        let seen = self.seen(session);
        if opens && *seen == Snapshot::default() {
            tracing::warn!("the proxy of {proxy} asks for its policy, and no Sidecar has that name");
        }
        match session.hear(request, &seen)? {
            Heard::Asked => {}
            Heard::Acked(kind) => self.metrics.acked(kind),
            Heard::Nacked(kind, why) => {
                self.metrics.nacked(kind);
                tracing::error!("the proxy of {proxy} refuses: {why}");
            }
        }
        Ok(())
    }

    /// What the proxy sees; nothing while no Sidecar has its name.
    fn seen(&mut self, session: &Session) -> Arc<Snapshot> {
        let world = self.world.borrow_and_update();
        session.scope().and_then(|scope| world.snapshot(scope)).cloned().unwrap_or_default()
    }

    fn count(&self, answer: &DeltaDiscoveryResponse) {
        if let Some(kind) = ResourceType::of_type_url(&answer.type_url) {
            self.metrics.answered(kind, answer.resources.len() + answer.removed_resources.len());
        }
    }
}

/// Binds an address.
///
/// # Errors
/// As the system says.
pub(crate) fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

#[cfg(test)]
mod tests;
