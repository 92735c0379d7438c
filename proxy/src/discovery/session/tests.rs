//! What a proxy takes, refuses and says.

use outrigger_config::{
    SourceFile, check,
    wire::{Any, Resource, Travels},
};

use super::*;

const POLICY: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec: {outbound: [{bind: "127.0.0.1:15001"}, {bind: "127.0.0.1:9000", service: {name: reviews, port: 80}}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "127.0.0.1:9000"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: ratings, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "127.0.0.1:9001"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules: [{backendRefs: [{group: outrigger.dev, kind: MeshService, name: ratings, port: 80}]}]
"#;

pub(crate) fn sidecar() -> ObjectName {
    ObjectName::new("shop", "cart")
}

fn resources() -> Resources {
    let checked = check(vec![SourceFile { path: "policy.yaml".into(), text: POLICY.into() }]);
    let report = checked.render_text(false);
    checked.policy.unwrap_or_else(|| panic!("{report}")).compile(None).unwrap()
}

fn resource<T: Travels>(of: &T, version: &str) -> Resource {
    Resource {
        version: version.into(),
        resource: Some(Any { type_url: T::TYPE.type_url().into(), value: of.encode() }),
        name: of.wire_name(),
        ..Resource::default()
    }
}

/// Every resource of the policy, by type, in the order in which they are sent.
fn answers() -> Vec<DeltaDiscoveryResponse> {
    let of = resources();
    let all = [
        (ResourceType::MeshConfig, vec![resource(&of.mesh, "1")]),
        (ResourceType::Endpoints, of.endpoints.iter().map(|one| resource(&**one, "1")).collect()),
        (ResourceType::Destination, of.destinations.iter().map(|one| resource(&**one, "1")).collect()),
        (ResourceType::Workload, vec![resource(&of.workload, "1")]),
    ];
    let answer = |(kind, resources): (ResourceType, Vec<Resource>)| DeltaDiscoveryResponse {
        resources,
        type_url: kind.type_url().into(),
        nonce: "7".into(),
        ..DeltaDiscoveryResponse::default()
    };
    all.into_iter().map(answer).collect()
}

pub(crate) fn held() -> Held {
    let mut session = Session::new(&sidecar(), Held::default());
    answers().into_iter().for_each(|answer| drop(session.hear(answer).unwrap()));
    session.held
}

#[test]
fn a_policy_is_used_when_it_is_whole() {
    let mut session = Session::new(&sidecar(), Held::default());
    for answer in answers() {
        assert!(session.whole().is_none() && !session.is_current());
        let heard = session.hear(answer).unwrap();
        let ack = heard.answer();
        assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("7", None));
    }
    assert!(session.is_current());
    let whole = session.whole().unwrap();
    let own = resources();
    assert_eq!((whole.workload, whole.mesh, whole.endpoints), (own.workload, own.mesh, own.endpoints));
    let names: Vec<String> = whole.destinations.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["shop/ratings", "shop/reviews"]);
}

#[test]
fn nothing_is_used_while_something_that_is_pointed_at_is_missing() {
    let mut session = Session::new(&sidecar(), held());
    assert!(session.whole().is_some());
    let mut gone = DeltaDiscoveryResponse {
        type_url: ResourceType::Destination.type_url().into(),
        removed_resources: vec!["shop/ratings".into()],
        ..DeltaDiscoveryResponse::default()
    };
    session.hear(gone.clone()).unwrap();
    assert!(session.whole().is_none(), "the route of reviews points at ratings");
    gone.removed_resources = vec!["shop/reviews".into()];
    session.hear(gone).unwrap();
    assert!(session.whole().is_none(), "a listener is pinned to reviews");
}

#[test]
fn a_bad_resource_is_refused_by_name_and_the_others_are_taken() {
    let mut session = Session::new(&sidecar(), held());
    let mut answer = answers().swap_remove(2);
    answer.resources.iter_mut().for_each(|one| one.version = "2".into());
    answer.resources[0].resource.as_mut().unwrap().value = b"?".to_vec();
    let heard = session.hear(answer).unwrap();
    let detail = heard.answer().error_detail.unwrap();
    assert!(detail.message.starts_with("destination `shop/ratings`: "), "{}", detail.message);
    let versions: Vec<_> = session.held().versions(ResourceType::Destination).into_iter().collect();
    let expected = [("shop/ratings", "1"), ("shop/reviews", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(versions, expected);
    assert!(session.whole().is_some(), "the former one stays");
}

#[test]
fn a_refusal_puts_the_former_one_back_and_one_without_may_be_missing() {
    for (before, after) in [(held(), "1"), (Held::default(), "")] {
        let mut session = Session::new(&sidecar(), before);
        for mut answer in answers() {
            answer.resources.iter_mut().for_each(|one| one.version = "2".into());
            let mut heard = session.hear(answer).unwrap();
            if heard.kind() == ResourceType::Destination {
                let error = DecodeError {
                    kind: ResourceType::Destination,
                    resource: "shop/ratings".into(),
                    field: String::new(),
                    reason: "no".into(),
                };
                session.refuse(&mut heard, vec![error]);
                assert_eq!(heard.answer().error_detail.unwrap().message, "destination `shop/ratings`: no");
            }
        }
        let versions = session.held().versions(ResourceType::Destination);
        assert_eq!(versions.get("shop/ratings").map_or("", String::as_str), after);
        assert!(session.whole().is_some());
    }
}

#[test]
fn a_stream_begins_with_what_is_here_and_is_current_when_the_workload_was_told() {
    let mut session = Session::new(&sidecar(), held());
    let asked = session.open();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|one| one.resource_names_subscribe == ["*"]));
    assert_eq!(asked[2].initial_resource_versions.len(), 2);
    assert_eq!(asked[0].node.as_ref().unwrap().id, "shop/cart");
    let nothing = |kind: ResourceType| DeltaDiscoveryResponse {
        type_url: kind.type_url().into(),
        ..DeltaDiscoveryResponse::default()
    };
    session.hear(nothing(ResourceType::Destination)).unwrap();
    assert!(!session.is_current());
    session.hear(nothing(ResourceType::Workload)).unwrap();
    assert!(session.is_current());
    session.close();
    assert!(!session.is_current());
}

#[test]
fn a_proxy_whose_sidecar_is_gone_serves_on() {
    let mut session = Session::new(&sidecar(), held());
    let gone = DeltaDiscoveryResponse {
        type_url: ResourceType::Workload.type_url().into(),
        removed_resources: vec!["shop/cart".into()],
        ..DeltaDiscoveryResponse::default()
    };
    session.hear(gone).unwrap();
    assert!(session.whole().is_some());
    let foreign = DeltaDiscoveryResponse { type_url: "x".into(), ..DeltaDiscoveryResponse::default() };
    assert_eq!(session.hear(foreign).unwrap_err(), Nonsense::Type("x".into()));
}
