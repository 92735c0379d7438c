//! An OTLP/gRPC collector in this process: keeps every span that it gets, and fails as it is told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as Message, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Code, Request, Response, Status, async_trait};

use crate::wait::until;

/// A span as the collector got it, with numbers as text.
#[derive(Clone, Debug)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// As `id`; empty where there is none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `Server` or `Client`.
    pub kind: SpanKind,
    /// `tracestate`.
    pub state: String,
    /// Nanoseconds since 1970.
    pub began: u64,
    /// Nanoseconds since 1970.
    pub ended: u64,
    /// Whether its status is Error.
    pub failed: bool,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of its resource.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute, `""` where it is absent.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    fn read(message: Message, resource: &BTreeMap<String, String>) -> Self {
        let kind = SpanKind::try_from(message.kind).expect("a kind that is defined");
        let code = message.status.as_ref().map(|status| status.code);
        Self {
            trace: hex(&message.trace_id, 16),
            id: hex(&message.span_id, 8),
            parent: if message.parent_span_id.is_empty() {
                String::new()
            } else {
                hex(&message.parent_span_id, 8)
            },
            name: message.name,
            kind,
            state: message.trace_state,
            began: message.start_time_unix_nano,
            ended: message.end_time_unix_nano,
            failed: code == Some(StatusCode::Error.into()),
            attributes: texts(message.attributes),
            resource: resource.clone(),
        }
    }
}

fn hex(id: &[u8], length: usize) -> String {
    assert_eq!(id.len(), length, "the length of an id");
    assert!(id.iter().any(|byte| *byte != 0), "an id is not 0");
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(fields: Vec<KeyValue>) -> BTreeMap<String, String> {
    let count = fields.len();
    let text = |field: KeyValue| {
        let value = match field.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{}: {other:?}", field.key),
        };
        (field.key, value)
    };
    let texts: BTreeMap<_, _> = fields.into_iter().map(text).collect();
    assert_eq!(texts.len(), count, "no attribute stands twice");
    texts
}

/// What the collector does with a message.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Takes all of it.
    All,
    /// Takes all but so many spans.
    AllBut(i64),
    /// Refuses it with this code.
    Nothing(Code),
}

struct State {
    takes: Takes,
    spans: Vec<Span>,
    messages: usize,
    largest: usize,
}

/// A running collector. Dropping it closes its listener and its connections.
pub struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Collector {
    /// A collector on a free port that takes everything.
    pub async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// A collector at this address.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state =
            Arc::new(Mutex::new(State { takes: Takes::All, spans: Vec::new(), messages: 0, largest: 0 }));
        let service = TraceServiceServer::new(Service(state.clone()));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                let served =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                connections.spawn(served);
            }
        });
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from now on.
    pub fn takes(&self, takes: Takes) {
        lock(&self.state).takes = takes;
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.state).spans.clone()
    }

    /// Messages so far, those that were refused among them.
    pub fn messages(&self) -> usize {
        lock(&self.state).messages
    }

    /// The most spans in one message so far.
    pub fn largest(&self) -> usize {
        lock(&self.state).largest
    }

    /// Waits until there are at least `count` spans.
    pub async fn wait(&self, count: usize) -> Vec<Span> {
        until(&format!("{count} spans"), || async { Some(self.spans()).filter(|all| all.len() >= count) })
            .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Service(Arc<Mutex<State>>);

#[async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut state = lock(&self.0);
        state.messages += 1;
        let rejected_spans = match state.takes {
            Takes::All => 0,
            Takes::AllBut(count) => count,
            Takes::Nothing(code) => return Err(Status::new(code, "as the test wants it")),
        };
        let mut spans = Vec::new();
        for of_resource in request.into_inner().resource_spans {
            let resource =
                texts(of_resource.resource.map(|resource| resource.attributes).unwrap_or_default());
            for of_scope in of_resource.scope_spans {
                assert_eq!(of_scope.scope.map(|scope| scope.name).as_deref(), Some("outrigger"));
                assert!(of_scope.schema_url.starts_with("https://opentelemetry.io/schemas/1."));
                spans.extend(of_scope.spans.into_iter().map(|span| Span::read(span, &resource)));
            }
        }
        state.largest = state.largest.max(spans.len());
        state.spans.extend(spans);
        let partial_success = (rejected_spans > 0)
            .then(|| ExportTracePartialSuccess { rejected_spans, error_message: "too many".to_owned() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}
