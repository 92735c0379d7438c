//! What the real binary's logs say of tunnels, and of destinations that no Service names.

use std::{fs, net::SocketAddr};

use outrigger_tests::{
    backend::Backend,
    client::Client,
    ports,
    process::Process,
    raw::RawClient,
    switching::{Http2Caller, KEY, Switching},
    wait::until,
};
use serde_json::Value;

async fn opened(to: SocketAddr, head: &str, bytes: &str) -> RawClient {
    let mut client = RawClient::connect(to).await;
    client.send(head).await;
    client.read_until("\r\n\r\n").await;
    client.clear();
    client.send(bytes).await;
    client.read_until(bytes).await;
    client
}

#[tokio::test]
async fn tunnels_and_foreign_destinations_in_the_logs() {
    let (chat, outside) = (Switching::websocket().await, Backend::http1("outside").await);
    let [outbound, admin] = [ports::free(), ports::free()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let policy = format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec: {{outbound: [{{bind: "{outbound}"}}], admin: {{bind: "{admin}"}}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: chat}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec: {{egress: {{mode: Log}}, telemetry: {{accessLog: {{format: json}}}}}}
"#,
        chat.address()
    );
    fs::write(&path, policy).unwrap();
    let arguments = ["proxy", "--grace", "2s", "-f", &path.display().to_string()];
    let process = Process::start(env!("CARGO_BIN_EXE_outrigger"), arguments, &[]);
    until("the proxy to listen", || async { tokio::net::TcpStream::connect(outbound).await.ok() }).await;

    let websocket = format!(
        "GET /chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let mut client = opened(outbound, &websocket, "hello").await;
    client.finish().await;
    client.read_to_end().await;
    opened(outbound, &websocket.replace("/chat", "/reset"), "hello").await.reset();
    let mut tunnel = Http2Caller::connect(outbound).await.extended("websocket", "chat", &[]).await;
    tunnel.send("hello, hello");
    tunnel.read(12).await;
    tunnel.finish();
    tunnel.read_to_end().await;
    let foreign = outside.address().to_string();
    let connect = format!("CONNECT {foreign} HTTP/1.1\r\nHost: {foreign}\r\n\r\n");
    let mut client = RawClient::connect(outbound).await;
    client.send(connect).await;
    client.read_until("\r\n\r\n").await;
    drop(client);
    assert_eq!(Client::http1(outbound, &foreign).await.get("/foreign").await.status, 200);

    let log = || -> Vec<Value> {
        process.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let line = async |method: &str, path: &str, authority: &str| {
        until(&format!("the line of {method} {path}"), || async {
            log().into_iter().find(|line| {
                line["method"] == method && line["path"] == path && line["authority"] == authority
            })
        })
        .await
    };
    let fine = line("GET", "/chat", "chat").await;
    assert_eq!(
        (&fine["status"], &fine["bytes_in"], &fine["bytes_out"]),
        (&101.into(), &5.into(), &5.into()),
        "{fine}"
    );
    assert_eq!((&fine["service"], &fine["flags"]), (&"default/chat:80".into(), &Value::Null), "{fine}");
    let reset = line("GET", "/reset", "chat").await;
    assert_eq!((&reset["status"], &reset["flags"]), (&101.into(), &"DC".into()), "{reset}");
    let http2 = line("CONNECT", "/chat?room=1", "chat").await;
    assert_eq!(
        (&http2["status"], &http2["bytes_in"], &http2["protocol"]),
        (&200.into(), &12.into(), &"HTTP/2".into())
    );
    let tunnel = line("CONNECT", "", &foreign).await;
    assert_eq!((&tunnel["status"], &tunnel["service"]), (&200.into(), &"egress".into()), "{tunnel}");

    let told = || process.output().matches("a destination that no Service names").count();
    until("both foreign destinations to be told", || async { (told() == 2).then_some(()) }).await;
    let text = process.line("a destination that no Service names").await;
    assert!(text.contains(&foreign.rsplit(':').next().unwrap().to_owned()), "{text}");
}
