//! Several workers: connections go to the worker with the fewest, each worker has upstream connections of its own, and
//! the limit on connections counts all of them.
//!
//! A backend tells the workers apart: each worker keeps one upstream connection for requests that come one by one.

use std::{collections::BTreeMap, net::SocketAddr};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    metrics::Metrics,
    proxy::Proxy,
    raw::RawClient,
};

const WORKERS: usize = 4;

fn start(app: SocketAddr, limits: &str) -> Proxy {
    let policy = format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  admin: {{bind: "127.0.0.1:0"}}
  inbound: [{{bind: "127.0.0.1:0", app: "{app}"}}]
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec: {{limits: {{poolIdle: 60s, {limits}}}}}
"#
    );
    Proxy::with(&policy, |options| options.workers = Some(WORKERS))
}

fn open(metrics: &Metrics) -> f64 {
    metrics.sum("outrigger_downstream_connections_open", &[])
}

/// A caller with the worker that serves it, as the backend's connection number.
async fn caller(proxy: &Proxy, app: &Backend) -> (usize, Client) {
    let mut client = Client::http1(proxy.inbound(0), "app").await;
    assert_eq!(client.get("/").await.status, 200);
    (app.last().connection, client)
}

#[tokio::test]
async fn connections_go_to_the_worker_with_the_fewest() {
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::text("ok"));
    let proxy = start(app.address(), "");
    let mut callers: BTreeMap<usize, Vec<Client>> = BTreeMap::new();
    for _ in 0..3 * WORKERS {
        let (worker, client) = caller(&proxy, &app).await;
        callers.entry(worker).or_default().push(client);
    }
    let shares: Vec<usize> = callers.values().map(Vec::len).collect();
    assert_eq!(shares, [3; WORKERS], "an equal share each");
    assert_eq!(app.connections(), WORKERS, "each worker keeps its upstream connection");

    // A caller stays where it is.
    for (worker, clients) in &mut callers {
        for client in clients {
            client.get("/").await;
            assert_eq!(app.last().connection, *worker);
        }
    }

    // One worker loses its callers: it gets the next ones.
    let idle = *callers.keys().nth(2).expect("four workers");
    callers.remove(&idle);
    proxy.wait_metrics("its connections to end", |metrics| open(metrics) == 9.0).await;
    for _ in 0..3 {
        let (worker, client) = caller(&proxy, &app).await;
        assert_eq!(worker, idle, "the worker without connections");
        callers.entry(worker).or_default().push(client);
    }
    assert_eq!(proxy.metrics().await.sum("outrigger_downstream_connections_total", &[]), 15.0);
    assert_eq!(proxy.metrics().await.sum("outrigger_requests_total", &[]), 27.0, "all workers are counted");
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::text("ok"));
    let proxy = start(app.address(), "maxConnections: 6");
    let mut callers = Vec::new();
    for _ in 0..6 {
        callers.push(caller(&proxy, &app).await.1);
    }
    let mut refused = RawClient::connect(proxy.inbound(0)).await;
    assert!(refused.read_to_end().await.0.is_empty(), "closed without a word");
    assert_eq!(client::get(proxy.admin(), "/ready").await.status, 200, "the admin API has room of its own");
    for client in &mut callers {
        assert_eq!(client.get("/").await.status, 200, "open connections are not touched");
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_downstream_connections_refused_total", &[("side", "inbound")]), 1.0);
    assert_eq!(open(&metrics), 6.0);
    drop(callers.pop());
    proxy.wait_metrics("a place to be free", |metrics| open(metrics) == 5.0).await;
    callers.push(caller(&proxy, &app).await.1);
}
