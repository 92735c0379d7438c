//! `outrigger proxy` as a process: how it starts, what it says when it cannot, how it ends.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    ports,
    process::Process,
    wait::{Gate, until},
};
use rustix::process::Signal;
use tempfile::TempDir;

/// A proxy with one inbound listener, as a child process.
struct Running {
    process: Process,
    inbound: SocketAddr,
    admin: SocketAddr,
    _folder: TempDir,
}

fn policy(inbound: SocketAddr, admin: SocketAddr, app: SocketAddr) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: test}}\nspec:\n  inbound:\n  \
         - {{bind: \"{inbound}\", app: \"{app}\"}}\n  admin: {{bind: \"{admin}\"}}\n"
    );
    fs::write(&path, text).unwrap();
    (folder, path.display().to_string())
}

async fn start(app: SocketAddr, grace: &str) -> Running {
    let (inbound, admin) = (ports::free(), ports::free());
    let (folder, path) = policy(inbound, admin, app);
    let arguments = ["proxy", "--workers", "1", "--grace", grace, "-f", &path];
    let process = Process::start(env!("CARGO_BIN_EXE_outrigger"), arguments, &[]);
    until("the proxy to be ready", || async {
        tokio::net::TcpStream::connect(admin).await.ok()?;
        (client::get(admin, "/ready").await.status == 200).then_some(())
    })
    .await;
    Running { process, inbound, admin, _folder: folder }
}

#[tokio::test]
async fn sigterm_finishes_what_is_open_and_ends_with_0() {
    let app = Backend::http1("app").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("late").hold_for(&held));
    let mut proxy = start(app.address(), "20s").await;
    let inbound = proxy.inbound;
    let open = tokio::spawn(async move { client::get(inbound, "/").await });
    app.wait_requests(1).await;

    proxy.process.signal(Signal::TERM);
    until("the proxy to be no longer ready", || async {
        (client::get(proxy.admin, "/ready").await.status == 503).then_some(())
    })
    .await;
    gate.open();
    let answer = open.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "late"));
    assert_eq!(proxy.process.exit().await.code(), Some(0), "{}", proxy.process.output());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::text("never").hold_for(&Gate::closed()));
    let mut proxy = start(app.address(), "10m").await;
    let inbound = proxy.inbound;
    let open = tokio::spawn(async move {
        let mut client = Client::http1(inbound, "app").await;
        let request = client.request("GET", "/", "");
        client.call(request).await
    });
    app.wait_requests(1).await;

    proxy.process.signal(Signal::TERM);
    proxy.process.line("draining").await;
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().await.code(), Some(0), "{}", proxy.process.output());
    assert!(open.await.unwrap().is_err(), "the request was cut");
}

#[tokio::test]
async fn ctrl_c_with_nothing_open_ends_soon() {
    let app = Backend::http1("app").await;
    let mut proxy = start(app.address(), "10m").await;
    assert_eq!(client::get(proxy.inbound, "/").await.status, 200);
    let asked = std::time::Instant::now();
    proxy.process.signal(Signal::INT);
    assert_eq!(proxy.process.exit().await.code(), Some(0), "{}", proxy.process.output());
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_line_with_a_remedy_and_ends_with_2() {
    let admin = ports::free();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_folder, path) = policy(address, admin, "127.0.0.1:9".parse().unwrap());
    let mut process = Process::start(env!("CARGO_BIN_EXE_outrigger"), ["proxy", "-f", &path], &[]);
    assert_eq!(process.exit().await.code(), Some(2));
    let line = process.line("error:").await;
    assert!(line.contains(&address.to_string()) && line.contains("another process has this port"), "{line}");
}

#[tokio::test]
async fn an_app_that_is_not_there_is_a_warning_with_a_remedy() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = start(gone, "1s").await;
    let line = proxy.process.line("nothing listens on").await;
    assert!(line.contains(&gone.to_string()) && line.contains("policy.yaml:6:"), "{line}");
    assert_eq!(client::get(proxy.inbound, "/").await.status, 503);
}

#[tokio::test]
async fn a_bad_policy_at_the_start_is_reported_as_check_does_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yaml");
    fs::write(
        &path,
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: a}\nspec: {inbond: []}\n",
    )
    .unwrap();
    let path = path.display().to_string();
    let mut process = Process::start(env!("CARGO_BIN_EXE_outrigger"), ["proxy", "-f", &path], &[]);
    assert_eq!(process.exit().await.code(), Some(2));
    process.line("did you mean `inbound`?").await;
    assert!(process.output().contains("bad.yaml:4:8: error[OR110]"), "{}", process.output());
}

#[test]
fn check_and_proxy_read_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.yml", "a.yaml", "c.json", "notes.txt", ".swap.yaml", "deeper.yaml/x.yaml"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let paths = [folder.path().to_path_buf(), folder.path().join("notes.txt")];
    let by_check = outrigger_control_plane::source::read(&paths).unwrap();
    let by_proxy = outrigger_proxy::discovery::local::read(&paths).unwrap();
    assert_eq!(by_check, by_proxy);
    assert_eq!(by_check.len(), 4);
}
