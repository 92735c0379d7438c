//! Outrigger between programs that others wrote: curl and nghttp before it, nginx behind it.
//!
//! They are Debian packages, which `./test` gets; without them these tests are skipped and say so.

use std::{fs, net::SocketAddr, process::Stdio};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    mesh::{self, Proxy},
    outside::{Authority, TlsFront},
    skip,
    wait::{until, within},
};
use tokio::process::{Child, Command};

/// Runs a program to its end; gives its standard output.
async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within(program, output).await.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[tokio::test]
async fn curl_over_each_version_of_http() {
    if skip::without_program("curl_over_each_version_of_http", "curl", "curl") {
        return;
    }
    let app = Backend::http1("app").await;
    let proxy = Proxy::start(&mesh::inbound(app.address(), "http1", &[])).await;
    let url = format!("http://{}/hello?a=b", proxy.inbound(0));
    for (version, seen) in
        [("--http1.0", "HTTP/1.1"), ("--http1.1", "HTTP/1.1"), ("--http2-prior-knowledge", "HTTP/1.1")]
    {
        let text = run("curl", &["-sS", "--fail", version, &url]).await;
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&answer["path"], &answer["version"]), (&"/hello?a=b".into(), &seen.into()), "{version}");
    }
}

#[tokio::test]
async fn curl_uploads_and_waits_to_be_asked() {
    if skip::without_program("curl_uploads_and_waits_to_be_asked", "curl", "curl") {
        return;
    }
    let app = Backend::http1("app").await;
    let proxy = Proxy::start(&mesh::inbound(app.address(), "http1", &[])).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![b'x'; 3_000_000]).unwrap();
    let (url, body) = (format!("http://{}/up", proxy.inbound(0)), format!("@{}", file.path().display()));
    for extra in [
        &["-H", "Expect: 100-continue"][..],
        &["-H", "Transfer-Encoding: chunked"],
        &["--http2-prior-knowledge"],
    ] {
        let arguments = [&["-sS", "--fail", "--data-binary", &body, &url], extra].concat();
        let answer: serde_json::Value = serde_json::from_str(&run("curl", &arguments).await).unwrap();
        assert_eq!(answer["bodyBytes"], 3_000_000, "{extra:?}");
    }
}

#[tokio::test]
async fn curl_uses_the_outbound_listener_as_its_http_proxy() {
    let name = "curl_uses_the_outbound_listener_as_its_http_proxy";
    if skip::without_program(name, "curl", "curl") {
        return;
    }
    let backend = Backend::http1("reviews").await;
    let service = mesh::service("reviews", "http1", &[backend.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let via = format!("http://{}", proxy.outbound(0));
    let text = run("curl", &["-sS", "--fail", "--proxy", &via, "http://reviews/list"]).await;
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["path"], &answer["authority"]), (&"/list".into(), &"reviews".into()));
}

/// `examples/http-proxy.yaml` with curl, by absolute URI and by CONNECT, plain and with the app's own TLS inside.
#[tokio::test]
async fn curl_tunnels_through_the_outbound_listener() {
    let name = "curl_tunnels_through_the_outbound_listener";
    if skip::without_program(name, "curl", "curl") {
        return;
    }
    let (reviews, api) = (Backend::http1("reviews").await, Backend::http1("api").await);
    let authority = Authority::new("ca");
    let front = TlsFront::start(api.address(), &authority.issue(&["api.example.com"]), &["http/1.1"]).await;
    let example =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/http-proxy.yaml")).unwrap();
    let policy = example
        .replace("127.0.0.1:15001", "127.0.0.1:0")
        .replace("  outbound:", "  admin: {bind: \"127.0.0.1:0\"}\n  outbound:")
        .replace("127.0.0.1:9001", &reviews.address().to_string())
        .replace("dns: \"api.example.com:443\"", &format!("address: \"{}\"", front.address()));
    let proxy = Proxy::start(&policy).await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), authority.pem()).unwrap();
    let (via, ca) = (format!("http://{}", proxy.outbound(0)), ca.path().display().to_string());
    let ask = async |arguments: &[&str]| -> serde_json::Value {
        let text = run("curl", &[&["-sS", "--fail", "--proxy", &via], arguments].concat()).await;
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(ask(&["http://reviews/list"]).await["authority"], "reviews");
    assert_eq!(ask(&["--proxytunnel", "http://reviews/tunnelled"]).await["path"], "/tunnelled");
    let answer = ask(&["--cacert", &ca, "https://api.example.com/v1?a=b"]).await;
    assert_eq!((&answer["backend"], &answer["path"]), (&"api".into(), &"/v1?a=b".into()));
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_tunnels_total", &[("kind", "connect")]), 2.0);
    let refused =
        ["-sS", "-o", "/dev/null", "-w", "%{http_connect}", "--proxy", &via, "https://elsewhere.example/"];
    let output = Command::new("curl").args(refused).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "404", "egress is denied");
}

#[tokio::test]
async fn nghttp_multiplexes_on_one_connection() {
    if skip::without_program("nghttp_multiplexes_on_one_connection", "nghttp", "nghttp2-client") {
        return;
    }
    let app = Backend::http2("app").await;
    app.answer(|_| Answer::text(vec![b'y'; 200_000]));
    let proxy = Proxy::start(&mesh::inbound(app.address(), "http2", &[])).await;
    let url = format!("http://{}/", proxy.inbound(0));
    run("nghttp", &["--no-verify-peer", "-n", "-m", "50", "-w", "16", &url]).await;
    assert_eq!(app.requests(), 50);
    let accepted = proxy.metrics().await.sum("outrigger_downstream_connections_total", &[]);
    assert_eq!(accepted, 1.0, "all on one connection");
}

/// A running nginx.
struct Nginx {
    _child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

/// Starts nginx with HTTP/1.1 (or HTTP/2 prior knowledge) on a free port.
async fn nginx(listen: &str) -> Nginx {
    let folder = tempfile::tempdir().unwrap();
    // nginx cannot tell which port it got, so one is chosen here; the next to ask for it is nginx.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = folder.path().display().to_string();
    fs::write(folder.path().join("index.html"), "<p>nginx\n").unwrap();
    fs::write(folder.path().join("big.bin"), vec![b'z'; 2_000_000]).unwrap();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr crit;\n\
         events {{}}\n\
         http {{ access_log off; default_type text/plain; gzip on; gzip_min_length 1; gzip_types text/plain;\n\
         client_body_temp_path {path}/c; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;\n\
         uwsgi_temp_path {path}/u; scgi_temp_path {path}/s; keepalive_requests 5;\n\
         server {{ listen {address} {listen}; root {path}; }} }}\n"
    );
    fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let child = Command::new("nginx")
        .args(["-p", &path, "-e", "stderr", "-c", &format!("{path}/nginx.conf")])
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("nginx to listen", || async { tokio::net::TcpStream::connect(address).await.ok() }).await;
    Nginx { _child: child, _folder: folder, address }
}

#[tokio::test]
async fn nginx_behind_it_over_both_versions() {
    if skip::without_program("nginx_behind_it_over_both_versions", "nginx", "nginx-light") {
        return;
    }
    for (listen, protocol) in [("", "http1"), ("http2", "http2")] {
        let nginx = nginx(listen).await;
        let service = mesh::service("web", protocol, &[nginx.address]);
        let proxy = Proxy::start(&mesh::pinned("web", &[&service])).await;
        let mut http1 = Client::http1(proxy.outbound(0), "web").await;
        let mut http2 = Client::http2(proxy.outbound(0), "web").await;
        // nginx closes a connection after five requests: no caller may notice.
        for _ in 0..12 {
            assert_eq!(http1.get("/index.html").await.text(), "<p>nginx\n", "{protocol}");
            assert_eq!(http2.get("/index.html").await.text(), "<p>nginx\n", "{protocol}");
        }
        assert_eq!(http1.get("/big.bin").await.body.len(), 2_000_000, "{protocol}");
        assert_eq!(http2.get("/big.bin").await.body.len(), 2_000_000, "{protocol}");
        assert_eq!(http1.get("/none").await.status, 404, "{protocol}");
        let head = http1.request("HEAD", "/big.bin", "");
        let head = http1.call(head).await.unwrap();
        assert_eq!((head.header("content-length"), head.body.len()), ("2000000", 0), "{protocol}");
    }
}
