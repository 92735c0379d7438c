//! Order, nonces and refusals of one stream.

use outrigger_config::wire::Node;

use super::*;
use crate::world::tests::{POLICY, snapshot};

fn request(kind: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "shop/cart".into(), ..Node::default() }),
        type_url: kind.type_url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(answer: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: answer.type_url.clone(),
        response_nonce: answer.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn say(session: &mut Session, request: DeltaDiscoveryRequest, seen: &Snapshot) -> Result<Heard, Refusal> {
    session.introduce(&request)?;
    session.hear(request, seen)
}

fn opened(seen: &Snapshot) -> Session {
    let mut session = Session::new("test".into());
    for kind in ResourceType::ALL {
        assert_eq!(say(&mut session, request(kind), seen), Ok(Heard::Asked));
    }
    session
}

fn kind(answer: &DeltaDiscoveryResponse) -> ResourceType {
    ResourceType::of_type_url(&answer.type_url).unwrap()
}

#[test]
fn a_workload_comes_when_all_that_it_may_point_at_is_there() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut session = opened(&seen);
    let answers: Vec<_> = std::iter::from_fn(|| session.next(&seen)).collect();
    let first: Vec<_> = answers.iter().map(kind).collect();
    assert_eq!(first, [ResourceType::MeshConfig, ResourceType::Endpoints, ResourceType::Destination]);
    for answer in &answers {
        assert_eq!(session.next(&seen), None);
        assert_eq!(session.hear(ack(answer), &seen), Ok(Heard::Acked(kind(answer))));
    }
    let last = session.next(&seen).unwrap();
    assert_eq!((kind(&last), last.resources[0].name.as_str()), (ResourceType::Workload, "shop/cart"));
    session.hear(ack(&last), &seen).unwrap();
    assert_eq!(session.next(&seen), None);
}

#[test]
fn who_is_slow_gets_the_newest_and_holds_up_no_other_type() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut session = opened(&seen);
    let answers: Vec<_> = std::iter::from_fn(|| session.next(&seen)).collect();
    for answer in answers.iter().filter(|answer| kind(answer) != ResourceType::Endpoints) {
        session.hear(ack(answer), &seen).unwrap();
    }
    let newer = |port: &str| snapshot(&POLICY.replace("port: 80", port), "shop/cart");
    let changed = session.next(&newer("port: 81")).unwrap();
    assert_eq!(kind(&changed), ResourceType::Destination);
    session.hear(ack(&changed), &seen).unwrap();
    let newest = newer("port: 82");
    let endpoints = answers.iter().find(|answer| kind(answer) == ResourceType::Endpoints).unwrap();
    session.hear(ack(endpoints), &newest).unwrap();
    let names: Vec<_> = session.next(&newest).unwrap().resources.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["shop/cart:82", "shop/reviews:82"]);
}

#[test]
fn what_a_proxy_refuses_is_not_sent_again() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut session = opened(&seen);
    let answer = session.next(&seen).unwrap();
    let mut nack = ack(&answer);
    nack.error_detail =
        Some(Status { code: 3, message: "mesh_config `default`: no".into(), details: Vec::new() });
    let heard = session.hear(nack, &seen);
    assert_eq!(heard, Ok(Heard::Nacked(ResourceType::MeshConfig, "mesh_config `default`: no".into())));
    let rest: Vec<_> = std::iter::from_fn(|| session.next(&seen)).map(|answer| kind(&answer)).collect();
    assert!(!rest.contains(&ResourceType::MeshConfig));
}

#[test]
fn strangers_are_refused_with_a_reason() {
    let seen = snapshot(POLICY, "shop/cart");
    let first = |request| say(&mut Session::new("test".into()), request, &seen).unwrap_err();
    let mut nobody = request(ResourceType::Workload);
    nobody.node = None;
    assert_eq!(first(nobody), Refusal::Node("the first request has no node".into()));
    let mut unknown = request(ResourceType::Workload);
    unknown.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".into();
    let refusal = first(unknown);
    assert_eq!(refusal.word(), "unknown_type");
    assert!(refusal.to_string().contains("outrigger.discovery.v1.Destination"), "{refusal}");
    let mut stale = request(ResourceType::Workload);
    stale.response_nonce = "7".into();
    assert_eq!(first(stale), Refusal::Nonce("7".into()));
    let mut session = opened(&seen);
    let answer = session.next(&seen).unwrap();
    session.hear(ack(&answer), &seen).unwrap();
    assert_eq!(session.hear(ack(&answer), &seen), Err(Refusal::Nonce("1".into())), "acknowledged twice");
}
