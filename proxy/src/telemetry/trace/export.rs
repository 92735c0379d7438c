//! Spans on their way to the collector: a bounded queue between workers and the background runtime, and the task that
//! sends batches as OTLP over gRPC.
//!
//! No worker ever waits: a full queue costs spans, which are counted. A collector that is away costs nothing but them: a
//! batch is tried again for a while, with pauses that grow, and the queue holds what comes meanwhile. What is sent, and how
//! often, is decided in [`retry`]; what a span looks like in [`super::span`].

mod retry;

use std::{mem, sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use opentelemetry_semantic_conventions::attribute as name;
use outrigger_config::model::{MeshConfig, Workload};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    Ended,
    span::{Attributes, SCHEMA},
};
use crate::telemetry::metrics::{Metrics, SpansDropped};
use retry::{Backoff, Complaints, Verdict};

/// Requests whose spans wait, at most: below 12 MiB if each is as large as it may be, and about 2 MiB as they are.
const QUEUE: usize = 2048;
/// Spans of one message: below 2 MiB, where collectors take 4.
const BATCH: usize = 512;
/// A batch that is not full goes out after this.
const LINGER: Duration = Duration::from_secs(1);
/// To make a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For one try; OTLP's own default.
const TRY: Duration = Duration::from_secs(10);
/// A batch is given up this long after its first try.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end that workers write to.
#[derive(Clone, Debug)]
pub(crate) struct SpanQueue {
    queue: mpsc::Sender<Ended>,
    metrics: Arc<Metrics>,
}

impl SpanQueue {
    /// Hands over the spans of a request that has ended. Never waits.
    pub(crate) fn push(&self, finished: Ended) {
        let count = finished.count();
        self.metrics.spans_queued(count);
        if self.queue.try_send(finished).is_err() {
            self.metrics.spans_dropped(SpansDropped::QueueFull, count);
        }
    }
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
struct Collector {
    url: Arc<str>,
    resource: Resource,
}

/// Sends spans from a task on the background runtime.
#[derive(Debug)]
pub(crate) struct Exporter {
    queue: SpanQueue,
    collector: watch::Sender<Option<Collector>>,
    closing: watch::Sender<bool>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
    /// Tells this process from others of the same service.
    instance: String,
}

impl Exporter {
    /// Starts the task; it is idle until there are spans.
    pub(crate) fn start(background: &Handle, metrics: Arc<Metrics>) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (collector, current) = watch::channel(None);
        let (closing, closed) = watch::channel(false);
        let task = Task {
            spans,
            collector: current,
            closing: closed,
            metrics: metrics.clone(),
            link: None,
            backoff: Backoff::default(),
            complaints: Complaints::default(),
        };
        Self {
            queue: SpanQueue { queue, metrics },
            collector,
            closing,
            task: std::sync::Mutex::new(Some(background.spawn(task.run()))),
            instance: format!("{:032x}", rand::random::<u128>()),
        }
    }

    /// The workers' end.
    pub(crate) fn queue(&self) -> SpanQueue {
        self.queue.clone()
    }

    /// Spans go where this policy says. Without tracing in it, those of requests that are still open go where they went.
    pub(crate) fn follow(&self, mesh: &MeshConfig, workload: &Workload) {
        let Some(tracing) = &mesh.tracing else { return };
        let next =
            Collector { url: tracing.otlp.clone(), resource: resource(mesh, workload, &self.instance) };
        self.collector.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&next);
            *current = Some(next);
            changed
        });
    }

    /// Sends what is queued, within this time, and ends the task. What is left is lost, and said to be.
    pub(crate) async fn flush(&self, within: Duration) {
        self.closing.send_replace(true);
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task
            && timeout(within, task).await.is_err()
        {
            let lost = self.queue.metrics.spans_lost();
            tracing::warn!(spans = lost, "the collector takes no more spans; the last ones are lost");
        }
    }
}

/// Who the spans are of: the app that the Sidecar stands beside.
fn resource(mesh: &MeshConfig, workload: &Workload, instance: &str) -> Resource {
    let version = workload.version.as_deref();
    let own = [
        (name::SERVICE_NAME, Some(&*workload.name.name)),
        (name::SERVICE_NAMESPACE, Some(&*workload.name.namespace)),
        (name::SERVICE_VERSION, version),
        (name::SERVICE_INSTANCE_ID, Some(instance)),
        (name::TELEMETRY_SDK_NAME, Some("outrigger")),
        (name::TELEMETRY_SDK_LANGUAGE, Some("rust")),
        (name::TELEMETRY_SDK_VERSION, Some(env!("CARGO_PKG_VERSION"))),
    ];
    let written = mesh.tracing.iter().flat_map(|tracing| &tracing.resource);
    let mut fields = Attributes::default();
    for (key, value) in own {
        let overridden = written.clone().any(|(written, _)| **written == *key);
        fields.maybe(key, value.filter(|_| !overridden));
    }
    for (key, value) in written {
        fields.text(key, &**value);
    }
    Resource { attributes: Vec::<KeyValue>::from(fields), ..Resource::default() }
}

/// A connection to a collector, which is made with the first batch and again when it has broken.
struct Link {
    collector: Collector,
    client: TraceServiceClient<Channel>,
}

impl Link {
    fn new(collector: Collector) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(collector.url.to_string())
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(false);
        Ok(Self { collector, client: TraceServiceClient::new(endpoint.connect_lazy()) })
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "outrigger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA.to_owned() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.collector.resource.clone()),
                scope_spans: vec![scope_spans],
                schema_url: SCHEMA.to_owned(),
            }],
        }
    }

    /// One try. Gives the number of spans that the collector did not want.
    async fn send(&self, message: ExportTraceServiceRequest) -> Result<u64, Status> {
        let mut client = self.client.clone();
        let answer = match timeout(TRY, client.export(Request::new(message))).await {
            Ok(answer) => answer?.into_inner(),
            Err(_) => return Err(Status::new(Code::DeadlineExceeded, "no answer in time")),
        };
        let Some(partial) = answer.partial_success else { return Ok(0) };
        if partial.rejected_spans > 0 || !partial.error_message.is_empty() {
            tracing::debug!(
                spans = partial.rejected_spans,
                message = partial.error_message,
                "spans rejected"
            );
        }
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }
}

struct Task {
    spans: mpsc::Receiver<Ended>,
    collector: watch::Receiver<Option<Collector>>,
    closing: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    link: Option<Link>,
    backoff: Backoff,
    complaints: Complaints,
}

impl Task {
    async fn run(mut self) {
        let mut requests = Vec::with_capacity(BATCH);
        let mut spans = Vec::new();
        while self.gather(&mut requests).await {
            spans.extend(requests.drain(..).flat_map(Ended::spans));
            // A request may have several spans: what is too many for one message goes in the next.
            while !spans.is_empty() {
                let rest = spans.split_off(spans.len().min(BATCH));
                self.deliver(mem::replace(&mut spans, rest)).await;
            }
        }
    }

    /// Waits for spans, and a little more for others; `false` when there are none left and no more to come.
    async fn gather(&mut self, requests: &mut Vec<Ended>) -> bool {
        tokio::select! {
            biased;
            got = self.spans.recv_many(requests, BATCH) => if got == 0 { return false },
            // The queue was looked at first, and is empty.
            () = closed(&mut self.closing) => return false,
        }
        let until = Instant::now() + LINGER;
        while requests.len() < BATCH {
            let room = BATCH - requests.len();
            tokio::select! {
                biased;
                got = self.spans.recv_many(requests, room) => if got == 0 { break },
                () = tokio::time::sleep_until(until) => break,
                () = closed(&mut self.closing) => break,
            }
        }
        true
    }

    /// Sends one batch, again and again while that may help, and counts what became of it.
    async fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let first = Instant::now();
        let mut spans = Some(spans);
        let mut message = None;
        loop {
            let result = match self.link() {
                Ok(link) => {
                    let message =
                        message.get_or_insert_with(|| link.message(spans.take().unwrap_or_default()));
                    message.resource_spans[0].resource = Some(link.collector.resource.clone());
                    link.send(message.clone()).await
                }
                Err(status) => Err(status),
            };
            let status = match result {
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    self.metrics.spans_exported(count - rejected);
                    self.metrics.spans_dropped(SpansDropped::Rejected, rejected);
                    self.backoff = Backoff::default();
                    return self.complaints.well();
                }
                Err(status) => status,
            };
            self.complaints.failed(&status, &self.metrics, Instant::now());
            let reason = match retry::verdict(&status) {
                Verdict::Refused => SpansDropped::Refused,
                Verdict::Again(asked) => {
                    let pause = self.backoff.next(asked, rand::random());
                    if first.elapsed() + pause < PATIENCE && self.pause(pause).await {
                        continue;
                    }
                    SpansDropped::Unreachable
                }
            };
            return self.metrics.spans_dropped(reason, count);
        }
    }

    /// Waits before another try; less long when the policy names another collector. `false` when the process ends: then
    /// there is time for no more than one try.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = closed(&mut self.closing) => false,
            // Or the proxy is gone, and this task with it.
            _ = self.collector.changed() => true,
            () = sleep(pause) => true,
        }
    }

    /// The connection to the collector that policy names.
    fn link(&mut self) -> Result<&Link, Status> {
        let collector = self.collector.borrow_and_update().clone();
        let collector = collector.ok_or_else(|| Status::unavailable("no policy names a collector yet"))?;
        let link = match self.link.take() {
            Some(link) if link.collector == collector => link,
            _ => Link::new(collector)?,
        };
        Ok(self.link.insert(link))
    }
}

/// Ready once the process ends.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // A proxy that is gone ends too.
    let _ = closing.wait_for(|closing| *closing).await;
}

#[cfg(test)]
mod tests;
