//! Every policy of the examples and golden files survives the way, and what is wrong is named.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    SourceFile, check,
    model::{
        Backoff, Fallback, FixedResponse, Identity, IdentityFiles, IdentitySource, MtlsMode, Resources,
        ServerNameMatch, SettingLayer, SettingOrigin, TrafficSettings,
    },
    spiffe::SpiffeId,
};

/// The resources of every Sidecar of every policy file below a folder of this repository.
fn compiled(folder: &str) -> Vec<(String, Resources)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = SourceFile { path: name.clone(), text: fs::read(&path).unwrap() };
        let Some(policy) = check(vec![file]).policy else { continue };
        for sidecar in policy.sidecars() {
            all.push((name.clone(), policy.compile(Some(&sidecar)).unwrap()));
        }
    }
    assert!(!all.is_empty());
    all
}

fn survives<T: Travels + PartialEq + std::fmt::Debug>(from: &T) {
    let bytes = from.encode();
    let back = T::decode(&from.wire_name(), &bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(back, *from);
    assert_eq!(back.encode(), bytes, "equal resources have equal bytes");
}

#[test]
fn every_policy_of_the_repository_survives_with_its_places() {
    for folder in ["tests/compile", "../examples"] {
        for (name, resources) in compiled(folder) {
            eprintln!("{name}: {}", resources.workload.name);
            survives(&resources.mesh);
            survives(&resources.workload);
            resources.destinations.iter().for_each(|one| survives(&**one));
            resources.endpoints.iter().for_each(|one| survives(&**one));
        }
    }
}

/// The resources of the golden file that has every field.
fn everything() -> Resources {
    static READ: OnceLock<Resources> = OnceLock::new();
    let read =
        || compiled("tests/compile").into_iter().find(|(name, _)| name == "everything.yaml").unwrap().1;
    READ.get_or_init(read).clone()
}

#[test]
fn identities_and_modes_survive() {
    let mut resources = everything();
    let origin = resources.workload.origin.clone();
    let file = |path: &str| crate::model::FileRef { path: path.into(), origin: origin.clone() };
    let id = SpiffeId::of_account("cluster.local", "shop", "cart");
    resources.workload.identity = Some(
        Identity {
            source: IdentitySource::Files(IdentityFiles {
                certificate: file("c.pem"),
                private_key: file("k.pem"),
                trust_bundle: file("ca.pem"),
            }),
            trust_domain: "cluster.local".into(),
            expected: Some(id.clone()),
            origin: origin.clone(),
        }
        .into(),
    );
    resources.mesh.mtls = MtlsMode::Strict;
    survives(&resources.workload);
    survives(&resources.mesh);
    let mut endpoints = (*resources.endpoints[0]).clone();
    endpoints.endpoints.iter_mut().for_each(|one| one.identity = Some(id.clone()));
    survives(&endpoints);
}

#[test]
fn what_is_wrong_names_resource_field_and_reason() {
    let resources = everything();
    let with_routes = |one: &&std::sync::Arc<Destination>| one.ports.iter().any(|port| port.routes.is_some());
    let destination = resources.destinations.iter().find(with_routes).unwrap();
    let at = destination.ports.iter().position(|port| port.routes.is_some()).unwrap();
    let name = destination.wire_name();
    let mut message: proto::Destination = Field::put(&**destination);
    let told = |message: &proto::Destination| {
        Destination::decode(&name, &message.encode_to_vec()).unwrap_err().to_string()
    };
    message.ports[at].routes.as_mut().unwrap().rules[0].matches[0].path = None;
    let path = format!("destination `{name}`: ports[{at}].routes.rules[0].matches[0].path: it is missing");
    assert_eq!(told(&message), path);
    message.ports[at].port = 70_000;
    assert_eq!(told(&message), format!("destination `{name}`: ports[{at}].port: 70000 is more than 65535"));
    message.ports.clear();
    message.cluster_ips = vec!["10.0.0.300".into()];
    let path = format!("destination `{name}`: cluster_ips[0]: `10.0.0.300` is not an IP address");
    assert_eq!(told(&message), path);
    let other = Destination::decode("shop/other", &destination.encode()).unwrap_err();
    assert_eq!((other.field.as_str(), other.resource.as_str()), ("name", "shop/other"));
    let cut = destination.encode();
    assert!(Destination::decode(&name, &cut[..cut.len() - 1]).is_err());
}

#[test]
fn types_are_known_by_the_names_of_their_messages() {
    for kind in ResourceType::ALL {
        assert_eq!(ResourceType::of_type_url(kind.type_url()), Some(kind));
    }
    assert_eq!(ResourceType::of_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster"), None);
}

fn texts() -> impl Strategy<Value = std::sync::Arc<str>> {
    ".{0,12}".prop_map(Into::into)
}

fn times() -> impl Strategy<Value = Duration> {
    (0..u64::from(u32::MAX), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

prop_compose! {
    fn some_settings()(
        request in proptest::option::of(times()),
        (base, max) in (times(), times()),
        (attempts, percent) in (any::<u32>(), 0.0..100.0f64),
        statuses in proptest::collection::vec(any::<u16>(), 0..4),
        headers in proptest::collection::vec((texts(), texts()), 0..4),
        leaves in proptest::collection::vec((texts(), texts(), any::<u32>()), 0..4),
        burst in proptest::option::of(any::<u32>()),
    ) -> TrafficSettings {
        let mut settings = TrafficSettings::default();
        settings.timeouts.request = request;
        settings.retry.backoff = Backoff { base, max, ..Backoff::default() };
        settings.retry.attempts = attempts;
        settings.retry.budget.percent = percent;
        settings.retry.on.statuses = statuses;
        settings.circuit_breaker.limits.requests = burst;
        let body = headers.first().map(|(name, _)| name.clone()).unwrap_or_else(|| "".into());
        settings.circuit_breaker.fallback = Some(Fallback::Response(FixedResponse { status: 200, headers, body }));
        settings.origins = leaves.into_iter().map(|(leaf, file, line)| {
            let origin = crate::model::Origin { file, line, column: 1 };
            (leaf.to_string().into(), SettingOrigin { layer: SettingLayer::Rule, policy: None, origin })
        }).collect::<BTreeMap<_, _>>();
        settings
    }
}

proptest! {
    #[test]
    fn any_settings_survive(settings in some_settings()) {
        let mut mesh = everything().mesh;
        mesh.defaults = settings.into();
        survives(&mesh);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = Destination::decode("a/b", &bytes);
        let _ = Endpoints::decode("a/b:1", &bytes);
        let mut whole = everything().workload.encode();
        let at = at.index(whole.len());
        whole[at] ^= bytes.first().copied().unwrap_or(1);
        let _ = Workload::decode("a/b", &whole);
    }

    #[test]
    fn server_names_survive(name in texts()) {
        for one in [ServerNameMatch::Exact(name.clone()), ServerNameMatch::Below(name)] {
            let message: proto::ServerNameMatch = one.put();
            prop_assert_eq!(ServerNameMatch::take(message).unwrap(), one);
        }
    }
}
