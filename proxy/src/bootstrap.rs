//! What a proxy is made of, and how a policy becomes its listeners and its snapshot.
//!
//! [`apply`] is the one way in for a policy after the start: new listeners are bound first, then the snapshot is
//! swapped, then listeners that are gone are closed. If anything fails, nothing has changed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use outrigger_config::model::Resources;
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::{
    admin::{Admin, AdminState, certs::CertsView, services::ServiceView},
    app::{Options, StartError},
    balance::keeper::Keeper,
    ctx::Side,
    discovery::local::Prepared,
    drain::{Signal, Switch},
    identity::Follower,
    listen::{
        Listener,
        accept::{self, Door},
        own::Own,
    },
    policy::fallback,
    runtime::{
        Store, build_to_serve,
        snapshot::{ListenerKey, Snapshot},
        status::{Loaded, Status},
    },
    telemetry::{access_log::AccessLog, logging::LogLevel, metrics::Metrics, trace::Exporter},
    upstream::{dns::Resolver, health_check::Checker, limited::Peers},
    worker,
};

/// Descriptors that callers never get: for upstream connections, the admin API and policy files.
const MOST_CONNECTIONS: usize = 50_000;

/// The access log's last lines and the last spans may delay the end by this much, where who takes them is slow.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Everything that belongs to one running proxy.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) status: Arc<Status>,
    pub(crate) admin: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<Store>,
    pub(crate) log: AccessLog,
    spans: Exporter,
    resolver: Resolver,
    keeper: Keeper,
    checker: Checker,
    rotation: Follower,
    /// Told when a drain that is under way need not wait for new callers any more.
    pub(crate) hurry: Notify,
    switch: Switch,
    own: Own,
    doors: Mutex<Vec<Door>>,
    listeners: Mutex<Vec<Open>>,
    /// Sides on which a drain accepts no more: a policy that comes then opens nothing there.
    closed: Mutex<[bool; 2]>,
    most_connections: usize,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    background: Handle,
    runtime: Mutex<Option<Runtime>>,
}

/// One open listener.
#[derive(Debug)]
struct Open {
    listener: Arc<Listener>,
    accepting: JoinHandle<()>,
}

/// A bound socket that does not accept yet.
struct Bound {
    listener: Arc<Listener>,
    socket: std::net::TcpListener,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not stop a drain.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Starts everything but the listeners: runtimes, workers, the first snapshot.
    pub(crate) fn start(options: &Options, policy: Prepared) -> Result<Self, StartError> {
        let workers = options.workers.unwrap_or_else(default_workers).max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let metrics = Metrics::new(workers);
        let snapshot =
            build_to_serve(&policy.resources, (&policy.connectors, policy.identity), None, &metrics)?;
        let resources = policy.resources;
        let (status, store) = (Status::new(), Arc::new(Store::new(snapshot)));
        let socket = accept::bind(resources.workload.admin);
        let socket = socket.map_err(|source| StartError::bind(resources.workload.admin, "admin", source))?;
        let admin = socket.local_addr().map_err(StartError::Thread)?;
        let state = admin_state(&status, &metrics, &store, options.log_level.clone());
        {
            let _inside = runtime.enter();
            let admin = Admin::new(socket).map_err(StartError::Thread)?;
            runtime.spawn(admin.serve(Arc::new(state)));
        }
        let most_connections = most_connections(&resources);
        let (switch, drain) = Switch::new();
        let crew = Self {
            log: AccessLog::stdout(metrics.clone()).map_err(StartError::Thread)?,
            spans: Exporter::start(runtime.handle(), metrics.clone()),
            resolver: Resolver::new(runtime.handle().clone(), metrics.clone()),
            keeper: Keeper::start(runtime.handle(), metrics.clone()),
            checker: Checker::new(runtime.handle().clone(), metrics.clone()),
            rotation: Follower::new(runtime.handle().clone(), metrics.clone()),
            metrics,
            status,
            admin,
            store,
            hurry: Notify::new(),
            switch,
            own: Own::default(),
            doors: Mutex::default(),
            listeners: Mutex::default(),
            closed: Mutex::default(),
            most_connections,
            threads: Mutex::default(),
            background: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        };
        crew.hire(workers, &drain)?;
        crew.taken_up(resources);
        Ok(crew)
    }

    /// Starts the workers.
    fn hire(&self, workers: usize, drain: &Signal) -> Result<(), StartError> {
        let (peers, mailboxes) = Peers::new(workers);
        let stale = fallback::Store::new(&self.metrics);
        for (id, mailbox) in mailboxes.into_iter().enumerate() {
            let (send, connections) = mpsc::unbounded_channel();
            let thread = worker::spawn(worker::Parts {
                id,
                store: self.store.clone(),
                metrics: self.metrics.clone(),
                drain: drain.clone(),
                log: self.log.clone(),
                spans: self.spans.queue(),
                own: self.own.clone(),
                peers: peers.clone(),
                stale: stale.clone(),
                mailbox,
                connections,
                seed: rand::random(),
            })
            .map_err(StartError::Thread)?;
            lock(&self.threads).push(thread);
            lock(&self.doors).push(Door { send, open: Arc::new(AtomicUsize::new(0)) });
        }
        Ok(())
    }

    /// The runtime of everything that is not on a request's way.
    pub(crate) fn background(&self) -> &Handle {
        &self.background
    }

    /// Binds what a policy wants and is not bound yet.
    fn bind_new(&self, snapshot: &Snapshot) -> Result<Vec<Bound>, StartError> {
        let known: Vec<ListenerKey> = lock(&self.listeners).iter().map(|open| open.listener.key).collect();
        let closed = *lock(&self.closed);
        wanted(snapshot)
            .filter(|wanted| !closed[wanted.side as usize] && !known.contains(wanted))
            .map(|key| self.bind(key))
            .collect()
    }

    fn bind(&self, key: ListenerKey) -> Result<Bound, StartError> {
        let fail = |source: std::io::Error| {
            let in_use = source.kind() == std::io::ErrorKind::AddrInUse;
            let own = lock(&self.listeners).iter().any(|open| open.listener.bound.port() == key.bind.port());
            let fail = if in_use && own { StartError::bind_own } else { StartError::bind };
            fail(key.bind, key.side.as_str(), source)
        };
        let socket = accept::bind(key.bind).map_err(fail)?;
        let bound = socket.local_addr().map_err(fail)?;
        let metrics = self.metrics.listener(key.side, &bound.to_string());
        Ok(Bound { listener: Arc::new(Listener::new(key, bound, metrics)), socket })
    }

    /// Accepts on what was bound, and closes what `snapshot` no longer has.
    fn open(&self, bound: Vec<Bound>, snapshot: &Snapshot) -> Result<(), StartError> {
        let doors = lock(&self.doors).clone();
        let _inside = self.background.enter();
        let mut listeners = lock(&self.listeners);
        // A drain may have begun since they were bound.
        let closed = *lock(&self.closed);
        for Bound { listener, socket } in bound.into_iter().filter(|new| !closed[new.listener.side as usize])
        {
            let accepting = accept::spawn(socket, listener.clone(), doors.clone(), self.most_connections)
                .map_err(|source| StartError::bind(listener.bound, listener.side.as_str(), source))?;
            tracing::info!(side = listener.side.as_str(), address = %listener.bound, "listening");
            listeners.push(Open { listener, accepting });
        }
        let wanted: Vec<_> = wanted(snapshot).collect();
        listeners.retain(|open| {
            let stays = wanted.contains(&open.listener.key);
            if !stays {
                tracing::info!(side = open.listener.side.as_str(), address = %open.listener.bound, "closed");
                open.accepting.abort();
                open.listener.retire();
            }
            stays
        });
        let lead_back = listeners
            .iter()
            .map(|open| &open.listener)
            .filter(|listener| listener.side == Side::Outbound || snapshot.is_intercepted(listener.key));
        self.own.set(lead_back.map(|listener| listener.bound).collect());
        self.status.set_listeners(listeners.iter().map(|open| open.listener.shown(snapshot)).collect());
        Ok(())
    }

    /// Opens the first policy's listeners.
    pub(crate) fn listen(&self) -> Result<(), StartError> {
        let snapshot = self.store.load();
        let bound = self.bind_new(&snapshot)?;
        self.open(bound, &snapshot)
    }

    /// Takes up another policy, whole or not at all.
    pub(crate) fn apply(&self, policy: Prepared) -> Result<(), StartError> {
        let previous = self.store.load();
        let snapshot = build_to_serve(
            &policy.resources,
            (&policy.connectors, policy.identity),
            Some(&previous),
            &self.metrics,
        )?;
        let bound = self.bind_new(&snapshot)?;
        self.store.publish(snapshot);
        self.open(bound, &self.store.load())?;
        self.taken_up(policy.resources);
        Ok(())
    }

    /// Tells everybody that a policy is in use.
    fn taken_up(&self, resources: Resources) {
        let snapshot = self.store.load();
        let (generation, at) = (snapshot.generation, SystemTime::now());
        self.resolver.follow(&snapshot);
        self.keeper.follow(&snapshot);
        self.checker.follow(&snapshot);
        self.rotation.follow(snapshot.identity.as_ref());
        self.spans.follow(&resources.mesh, &resources.workload);
        self.metrics.config_applied(generation, at);
        self.status.set_loaded(Loaded { generation, at, resources: Arc::new(resources) });
        tracing::info!(generation, "policy in use");
    }

    /// Waits until every DNS endpoint was looked up once, and every endpoint that is checked was so once, but no longer
    /// than `most`: the first requests should find endpoints that are well, and a name server that is away should not
    /// keep the others' waiting.
    pub(crate) fn await_endpoints(&self, most: Duration) {
        let (tell, told) = std::sync::mpsc::channel();
        let names = self.resolver.first_answers();
        let checks = self.checker.first_answers();
        self.background.spawn(async move {
            names.await;
            checks.await;
            // Whoever waited may have given up.
            let _ = tell.send(());
        });
        let _ = told.recv_timeout(most);
    }

    /// Every open listener: side, configured address, bound address.
    pub(crate) fn listeners(&self) -> Vec<Arc<Listener>> {
        lock(&self.listeners).iter().map(|open| open.listener.clone()).collect()
    }

    /// The bound address of a listener, counted as the policy lists them.
    pub(crate) fn bound(&self, side: Side, index: usize) -> Option<SocketAddr> {
        let snapshot = self.store.load();
        let key = match side {
            Side::Inbound => snapshot.inbound.get(index)?.key,
            Side::Outbound => snapshot.outbound.get(index)?.key,
        };
        let open = self.listeners();
        open.iter().find(|open| open.key == key).map(|open| open.bound)
    }

    /// Connections that are open on one side, those of listeners that are closed already among them.
    pub(crate) fn connections(&self, side: Side) -> u64 {
        self.metrics.downstream_open(side)
    }

    /// Stops accepting on one side and lets its connections finish.
    pub(crate) fn close(&self, side: Side) {
        lock(&self.closed)[side as usize] = true;
        lock(&self.listeners).retain(|open| {
            if open.listener.side == side {
                open.accepting.abort();
            }
            open.listener.side != side
        });
        self.switch.close(side);
    }

    /// Ends the workers and waits, within [`LAST_WORDS`], until what they had to log is written.
    pub(crate) async fn finish(&self) {
        self.close_doors();
        let threads = std::mem::take(&mut *lock(&self.threads));
        let joined = tokio::task::spawn_blocking(|| {
            for thread in threads {
                // A worker that panicked has said so.
                let _ = thread.join();
            }
        });
        if tokio::time::timeout(LAST_WORDS, joined).await.is_err() {
            tracing::warn!("a worker does not end; what it has to log may be lost");
        }
        tokio::join!(self.log.flush(LAST_WORDS), self.spans.flush(LAST_WORDS));
    }

    fn close_doors(&self) {
        for open in lock(&self.listeners).drain(..) {
            open.accepting.abort();
        }
        lock(&self.doors).clear();
    }

    /// Ends workers and background at once.
    pub(crate) fn stop(&self) {
        self.close_doors();
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

/// The listeners that a policy has.
fn wanted(snapshot: &Snapshot) -> impl Iterator<Item = ListenerKey> + '_ {
    let inbound = snapshot.inbound.iter().map(|listener| listener.key);
    inbound.chain(snapshot.outbound.iter().map(|listener| listener.key))
}

/// What the admin API reads.
fn admin_state(
    status: &Arc<Status>,
    metrics: &Arc<Metrics>,
    store: &Arc<Store>,
    log_level: Option<LogLevel>,
) -> AdminState {
    let (store, of_certs) = (store.clone(), store.clone());
    AdminState {
        status: status.clone(),
        metrics: metrics.clone(),
        log_level,
        certs: Box::new(move || CertsView::of(of_certs.load().identity.as_deref(), SystemTime::now())),
        services: Box::new(move || {
            let snapshot = store.load();
            snapshot.services.iter().map(|service| ServiceView::of(&snapshot, service)).collect()
        }),
    }
}

/// What the policy allows, but never more than half of the descriptors: each request may need one upstream.
fn most_connections(resources: &Resources) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = files.map_or(usize::MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
    let policy = resources.mesh.limits.max_connections.map_or(MOST_CONNECTIONS, |most| most as usize);
    policy.min(half)
}

/// One worker per CPU that the cgroup grants.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
