//! One control plane, from its options to its end: reads the folder, publishes worlds, serves discovery and its own metrics.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_config::SourceFile;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    debounce::Debounce,
    error::StartError,
    left_out::{self, LeftOut, Sound},
    metrics::Metrics,
    server::{self, Discovery},
    snapshot::Interner,
    source::files,
    world::World,
};

/// Policy is published when nothing has changed for this long,
const QUIET: Duration = Duration::from_millis(100);
/// and no later than this after a change.
const MOST: Duration = Duration::from_secs(1);
/// How long a request to the own metrics may take to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of policy files.
    pub folder: PathBuf,
    /// Where discovery is served. Port 0: any free port.
    pub bind: SocketAddr,
    /// Where `/metrics` and `/ready` are served.
    pub metrics: SocketAddr,
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where discovery is served.
    pub discovery: SocketAddr,
    /// Where `/metrics` and `/ready` are served.
    pub metrics: SocketAddr,
}

impl ControlPlane {
    /// Starts it, within a runtime: it returns when it serves, and lives as long as the runtime.
    ///
    /// # Errors
    /// When the folder cannot be read, or an address not be bound.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let said = files::read(&options.folder)?;
        let bind = |address: SocketAddr| {
            let socket = server::bind(address).map_err(|source| StartError::Bind { address, source })?;
            let bound = socket.local_addr().map_err(|source| StartError::Bind { address, source })?;
            Ok::<_, StartError>((socket, bound))
        };
        let (discovery, discovery_at) = bind(options.bind)?;
        let (own, own_at) = bind(options.metrics)?;
        let metrics = Metrics::new();
        let mut publisher = Publisher::new(metrics.clone());
        let first = publisher.compile(said.clone());
        let (publish, world) = watch::channel(Arc::new(first));
        let (tell, told) = watch::channel(said);
        tokio::spawn(files::follow(options.folder, tell));
        tokio::spawn(publisher.run(told, publish));
        let identifier = format!("outrigger/{}", env!("CARGO_PKG_VERSION"));
        let serving = Discovery { world, metrics: metrics.clone(), identifier, max_age: server::MAX_AGE };
        tokio::spawn(server::serve(discovery, serving));
        tokio::spawn(serve_metrics(own, metrics));
        tracing::info!(address = %discovery_at, metrics = %own_at, "serving discovery");
        Ok(Self { discovery: discovery_at, metrics: own_at })
    }
}

/// Makes worlds of what the source says.
#[derive(Debug)]
struct Publisher {
    interner: Interner,
    left_out: Vec<LeftOut>,
    metrics: Metrics,
}

impl Publisher {
    fn new(metrics: Metrics) -> Self {
        Self { interner: Interner::default(), left_out: Vec::new(), metrics }
    }

    /// The world of these files. What is left out is reported once.
    fn compile(&mut self, files: Vec<SourceFile>) -> World {
        let Sound { policy, left_out, warnings } = left_out::take(files);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for one in left_out.iter().filter(|one| !self.left_out.contains(one)) {
            let LeftOut { file, line, errors } = one;
            tracing::error!("{file}:{line}: this object is left out: {}", errors.join("; "));
        }
        self.metrics.left_out.set(left_out.len() as i64);
        self.left_out = left_out;
        let world = World::of(&policy, &mut self.interner);
        self.metrics.sidecars.set(world.len() as i64);
        self.metrics.generation.inc();
        world
    }

    /// Publishes until nobody listens. Endpoints go at once, everything else after a pause.
    async fn run(mut self, mut told: watch::Receiver<Vec<SourceFile>>, publish: watch::Sender<Arc<World>>) {
        let mut debounce = Debounce::new(QUIET, MOST);
        let mut waiting: Option<Arc<World>> = None;
        loop {
            let due = debounce.due();
            let rested = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = rested => {
                    debounce.clear();
                    if let Some(world) = waiting.take() {
                        send(&publish, world);
                    }
                    continue;
                }
                () = publish.closed() => return,
            }
            let files = told.borrow_and_update().clone();
            let compiled = tokio::task::spawn_blocking(move || {
                let world = self.compile(files);
                (self, world)
            });
            // A panic was reported by its hook; without the publisher the mesh stays as it is.
            let Ok((publisher, world)) = compiled.await else { return };
            self = publisher;
            let now = publish.borrow().clone();
            let endpoints = Arc::new(now.with_endpoints_of(&world));
            send(&publish, endpoints.clone());
            if *endpoints == world {
                waiting = None;
                debounce.clear();
            } else {
                waiting = Some(Arc::new(world));
                debounce.note(Instant::now());
            }
            self.interner.tidy();
        }
    }
}

/// Publishes a world that differs from the last one.
fn send(publish: &watch::Sender<Arc<World>>, world: Arc<World>) {
    publish.send_if_modified(|before| {
        let changed = **before != *world;
        *before = world;
        changed
    });
}

async fn serve_metrics(listener: TcpListener, metrics: Metrics) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let metrics = metrics.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let answer = answer(request.uri().path(), &metrics);
            async { Ok::<_, Infallible>(answer) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
        // Whoever does not take the answer does not get it.
        tokio::spawn(builder.serve_connection(TokioIo::new(socket), service));
    }
}

fn answer(path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/metrics" => (StatusCode::OK, Bytes::from(metrics.render())),
        // Whoever is asked has read its policy: it binds after that.
        "/ready" => (StatusCode::OK, Bytes::from_static(b"ready\n")),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"there are /metrics and /ready\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
