//! From resources to a policy that can be used: the files that it names, read. And whose fault it is when that fails.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use outrigger_config::{
    model::{Destination, Egress, Limits, MeshConfig, MtlsMode, ObjectName, Origin, Resources, Workload},
    wire::{DecodeError, Travels},
};

use super::local::{Prepared, named};
use crate::{
    identity::Identity,
    pem::{Contents, Unusable},
    runtime::build_to_serve,
    telemetry::metrics::Metrics,
    upstream::tls::Connectors,
};

/// A policy that can be used, and the files that it was made of.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) policy: Prepared,
    pub(super) files: Files,
}

/// Files that a policy names, and what tells their contents from others.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    signature: u64,
}

impl Files {
    /// Whether they hold something else by now.
    pub(super) fn changed(&self) -> bool {
        Contents::read(&self.paths).signature() != self.signature
    }
}

/// Reads the files that resources name. Whoever the proxy is already goes on.
///
/// # Errors
/// Every file that is of no use.
pub(super) fn prepare(resources: Resources, in_use: Option<&Arc<Identity>>) -> Result<Ready, Vec<Unusable>> {
    let paths = named::paths(&resources);
    let contents = Contents::read(&paths);
    let connectors = Connectors::read(&resources, |path| contents.of(path));
    let identity = match &resources.workload.identity {
        None => Ok(None),
        Some(source) => match in_use.filter(|identity| identity.is(source)) {
            Some(identity) => Ok(Some(identity.clone())),
            None => Identity::read(source, SystemTime::now()).map(|made| Some(Arc::new(made))),
        },
    };
    match (connectors, identity) {
        (Ok(connectors), Ok(identity)) => {
            let files = Files { paths, signature: contents.signature() };
            Ok(Ready { policy: Prepared { resources, connectors, identity }, files })
        }
        (connectors, identity) => {
            let of_identity = identity.err().map(|(unusable, _)| unusable);
            Err(connectors.err().into_iter().flatten().chain(of_identity).collect())
        }
    }
}

/// What is wrong with files, on one line.
pub(super) fn text(unusable: &[Unusable]) -> String {
    let one = |one: &Unusable| format!("{}: {}: {}", one.origin, one.field, one.message);
    unusable.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Resources that came, to be judged.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// The Mesh.
    MeshConfig(Arc<MeshConfig>),
    /// Destinations by name.
    Destinations(Vec<Arc<Destination>>),
    /// The Workload.
    Workload(Arc<Workload>),
}

/// What is wrong with resources, each tried for itself, so that one is told from the others.
pub(super) fn judge(came: &Came) -> Vec<DecodeError> {
    let metrics = Metrics::new(1);
    match came {
        Came::MeshConfig(mesh) => {
            let alone = Resources { mesh: (**mesh).clone(), ..alone() };
            fault(&**mesh, try_one(alone, &metrics)).into_iter().collect()
        }
        Came::Workload(workload) => {
            // Its listeners point at what may still be on its way.
            let own = Workload { inbound: Vec::new(), outbound: Vec::new(), ..(**workload).clone() };
            fault(&**workload, try_one(Resources { workload: own, ..alone() }, &metrics))
                .into_iter()
                .collect()
        }
        Came::Destinations(all) => {
            let one = |one: &Arc<Destination>| {
                let alone = Resources { destinations: vec![one.clone()], ..alone() };
                fault(&**one, try_one(alone, &metrics))
            };
            all.iter().filter_map(one).collect()
        }
    }
}

fn fault<T: Travels>(of: &T, tried: Result<(), String>) -> Option<DecodeError> {
    let reason = tried.err()?;
    Some(DecodeError { kind: T::TYPE, resource: of.wire_name(), field: String::new(), reason })
}

/// The least that can be built.
fn alone() -> Resources {
    let origin = Origin { file: "".into(), line: 0, column: 0 };
    let mesh = MeshConfig {
        trust_domain: "cluster.local".into(),
        mtls: MtlsMode::default(),
        egress: Egress::Deny,
        proxy_form_egress: Egress::Deny,
        limits: Limits::default(),
        defaults: Arc::default(),
        access_log: None,
        tracing: None,
    };
    let workload = Workload {
        name: ObjectName::new("", ""),
        version: None,
        origin,
        zone: None,
        service_account: "".into(),
        inbound: Vec::new(),
        outbound: Vec::new(),
        identity: None,
        admin: ([127, 0, 0, 1], 0).into(),
    };
    Resources { mesh, workload, destinations: Vec::new(), endpoints: Vec::new() }
}

/// Builds resources as if they were a policy. Counters that this needs are thrown away.
fn try_one(resources: Resources, metrics: &Metrics) -> Result<(), String> {
    let Ready { policy, .. } = prepare(resources, None).map_err(|unusable| text(&unusable))?;
    let Prepared { resources, connectors, identity } = policy;
    let built = build_to_serve(&resources, (&connectors, identity), None, metrics);
    built.map(drop).map_err(|error| error.to_string())
}
