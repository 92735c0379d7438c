//! Network namespaces with a cable between them, and threads that live in them.
//!
//! What a test awaits by [`Namespace::run`] happens inside: sockets belong to the namespace of the thread that makes them.
//! Needs root, and `ip` of iproute2; ask [`crate::skip`] before.

use std::{
    future::Future,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::JoinHandle,
};

use rustix::{
    fd::AsFd,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::wait::within;

/// A network namespace. Dropping it removes it.
pub struct Namespace {
    name: String,
    runtime: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes one, with loopback up.
    ///
    /// # Panics
    /// When the kernel or `ip` refuses.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        run("ip", &["netns", "add", &name]);
        run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        let (end, ended) = oneshot::channel::<()>();
        let (send, runtime) = std::sync::mpsc::channel();
        let path = format!("/run/netns/{name}");
        let thread = std::thread::spawn(move || {
            let namespace = std::fs::File::open(path).expect("the namespace was made");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a network namespace");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("an event loop can be made");
            send.send(runtime.handle().clone()).expect("the maker waits for it");
            // Either the namespace is dropped or the test is over.
            let _ = runtime.block_on(ended);
        });
        let runtime = runtime.recv().expect("the thread has entered the namespace");
        Self { name, runtime, end: Some(end), thread: Some(thread) }
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on it.
    ///
    /// # Panics
    /// When that fails.
    pub fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat());
    }

    /// Runs a program in it to its end: exit code, and both outputs.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> (i32, String) {
        let inside = [&["netns", "exec", &self.name, program], arguments].concat();
        let output = Command::new("ip").args(&inside).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("ip {inside:?}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// Does something inside, and waits for it.
    ///
    /// # Panics
    /// When that panics, or takes too long.
    pub async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        match within("work in a namespace", self.runtime.spawn(future)).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told already.
            let _ = thread.join();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Two namespaces with a cable between them: 10.201.0.1 and fd00:201::1, 10.201.0.2 and fd00:201::2, each the other's way
/// to everything else.
pub fn pair() -> (Namespace, Namespace) {
    let (one, two) = (Namespace::new(), Namespace::new());
    one.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", two.name()]);
    for (namespace, own, other) in [(&one, "1", "2"), (&two, "2", "1")] {
        namespace.ip(&["address", "add", &format!("10.201.0.{own}/24"), "dev", "eth0"]);
        namespace.ip(&["address", "add", &format!("fd00:201::{own}/64"), "dev", "eth0", "nodad"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        namespace.ip(&["route", "add", "default", "via", &format!("10.201.0.{other}")]);
        namespace.ip(&["-6", "route", "add", "default", "via", &format!("fd00:201::{other}")]);
    }
    (one, two)
}

/// Two hosts and what is between them: 10.201.1.2 and 10.201.2.2, each the only host of its network, and a router that
/// sees every byte. First one host, then the router, then the other host.
pub fn routed() -> (Namespace, Namespace, Namespace) {
    let (one, router, two) = (Namespace::new(), Namespace::new(), Namespace::new());
    for (host, number) in [(&one, "1"), (&two, "2")] {
        let cable = format!("host{number}");
        router.ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", host.name()]);
        router.ip(&["address", "add", &format!("10.201.{number}.1/24"), "dev", &cable]);
        router.ip(&["link", "set", &cable, "up"]);
        host.ip(&["address", "add", &format!("10.201.{number}.2/24"), "dev", "eth0"]);
        host.ip(&["link", "set", "eth0", "up"]);
        host.ip(&["route", "add", "default", "via", &format!("10.201.{number}.1")]);
    }
    let (code, said) = router.exec("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(code, 0, "{said}");
    (one, router, two)
}
