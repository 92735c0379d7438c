//! The discovery service over real sockets, asked by a plain gRPC client.

use http::uri::PathAndQuery;
use outrigger_config::wire::Node;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, client::Grpc as Client, transport::Channel};

use super::*;
use crate::world::tests::{POLICY, files, world};

struct Plane {
    address: std::net::SocketAddr,
    metrics: Metrics,
    publish: watch::Sender<Arc<World>>,
}

fn plane(max_age: Duration) -> Plane {
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let (publish, seen) = watch::channel(Arc::new(world(files(&[("policy.yaml", POLICY)]))));
    let metrics = Metrics::new();
    let discovery = Discovery { world: seen, metrics: metrics.clone(), identifier: "test".into(), max_age };
    tokio::spawn(serve(listener, discovery));
    Plane { address, metrics, publish }
}

struct Proxy {
    ask: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    async fn to(plane: &Plane, first: DeltaDiscoveryRequest) -> Result<Self, Status> {
        let channel = Channel::from_shared(format!("http://{}", plane.address)).unwrap().connect().await;
        let mut client = Client::new(channel.unwrap());
        client.ready().await.unwrap();
        let (ask, requests) = mpsc::channel(8);
        ask.send(first).await.unwrap();
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let requests = Request::new(ReceiverStream::new(requests));
        let answers = client.streaming(requests, PathAndQuery::from_static(METHOD), codec).await?;
        Ok(Self { ask, answers: answers.into_inner() })
    }

    async fn hears(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        timeout(Duration::from_secs(20), self.answers.message()).await.expect("an answer in time")
    }
}

fn request(url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "shop/cart".into(), ..Node::default() }),
        type_url: url.into(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn a_change_reaches_an_open_stream() {
    let plane = plane(MAX_AGE);
    let url = ResourceType::Endpoints.type_url();
    let mut proxy = Proxy::to(&plane, request(url)).await.unwrap();
    let first = proxy.hears().await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 2);
    let text = POLICY.replace("127.0.0.1:9000", "127.0.0.1:9001");
    plane.publish.send_replace(Arc::new(world(files(&[("policy.yaml", &text)]))));
    let ack = DeltaDiscoveryRequest { response_nonce: first.nonce, node: None, ..request(url) };
    proxy.ask.send(ack).await.unwrap();
    let second = proxy.hears().await.unwrap().unwrap();
    let names: Vec<_> = second.resources.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["shop/reviews:80"]);
}

#[tokio::test]
async fn what_is_not_served_is_refused_with_a_reason_and_counted() {
    let plane = plane(MAX_AGE);
    let mut stale = request(ResourceType::Workload.type_url());
    stale.response_nonce = "9".into();
    for (first, word) in [
        (request("type.googleapis.com/x.Y"), "x.Y"),
        (stale, "nonce"),
        (DeltaDiscoveryRequest::default(), "node"),
    ] {
        let mut proxy = Proxy::to(&plane, first).await.unwrap();
        let status = proxy.hears().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(word), "{status}");
    }
    let text = String::from_utf8(plane.metrics.render()).unwrap();
    for reason in ["unknown_type", "nonce", "node"] {
        let line = format!("outrigger_control_plane_refused_streams_total{{reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn a_stream_ends_after_its_time() {
    let plane = plane(Duration::from_millis(50));
    let mut proxy = Proxy::to(&plane, request(ResourceType::MeshConfig.type_url())).await.unwrap();
    assert!(proxy.hears().await.unwrap().is_some());
    assert_eq!(proxy.hears().await.unwrap(), None, "ended in order");
}
