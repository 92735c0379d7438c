//! The demo's policy file: written once, then changed in place, so that what the user edits in it stays.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::layout::Replica;

/// Weights of reviews v1 and v2 at the start.
pub(super) const FIRST_WEIGHTS: (u32, u32) = (90, 10);

/// What stands in the file for routes and traffic, with retries.
const RETRY: &str = "  retry:
    attempts: 3
    on: [connect-failure, refused-stream, reset, gateway-error, unavailable]
    budget: {percent: 100, minPerSecond: 100}   # a demo of faults: every attempt may be repeated
    idempotent: true
";

/// The same without: what `--sabotage retry` writes.
const NO_RETRY: &str = "  retry: {attempts: 0}\n";

/// What answers while all of reviews v2 fails.
const FALLBACK: &str = "  circuitBreaker:
    fallback: {service: {name: reviews-v1, port: 80}}
";

/// When reviews v2 is left in peace.
const BREAKER: &str = "---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews-v2, namespace: demo}
spec:
  targetRefs: [{kind: Service, name: reviews-v2}]
  circuitBreaker:
    trip: {failurePercent: 60, window: 2s, minRequests: 4}
    open: {initial: 400ms, max: 800ms}          # short: nobody wants to wait for a demo
    probe: {requests: 1}
";

/// What the policy leaves out, to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Nothing.
    Nothing,
    /// Failed attempts are not repeated.
    Retries,
    /// A Service that fails is called on, and nothing stands in for it.
    Breakers,
}

/// The policy file of the demo.
pub(super) struct PolicyFile {
    path: PathBuf,
    /// What the demo wrote last: anything else in the file is the user's.
    written: String,
    /// Whether what the demo wrote last was made of a person's text.
    edited: bool,
}

impl PolicyFile {
    /// Writes the first policy into `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn create(folder: &Path, replicas: &[Replica], without: Without) -> io::Result<Self> {
        let mut file = Self { path: folder.join("mesh.yaml"), written: String::new(), edited: false };
        file.write(first(replicas, without))?;
        Ok(file)
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a person has changed the file: from then on nobody can say what should come of it.
    pub(super) fn is_foreign(&self) -> bool {
        self.edited || self.read().is_ok_and(|text| text != self.written)
    }

    /// The weights of v1 and v2 that the file has now; `None` where it has none that can be found.
    pub(super) fn weights(&self) -> Option<(u32, u32)> {
        let text = self.read().ok()?;
        let weight = |version| weight_at(&text, version).and_then(|range| text[range].parse().ok());
        Some((weight("v1")?, weight("v2")?))
    }

    /// Changes the weights, and nothing else. Says whether there were weights to change.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn set_weights(&mut self, (v1, v2): (u32, u32)) -> io::Result<bool> {
        let mut text = self.read()?;
        for (version, weight) in [("v1", v1), ("v2", v2)] {
            let Some(range) = weight_at(&text, version) else { return Ok(false) };
            text.replace_range(range, &weight.to_string());
        }
        self.write(text)?;
        Ok(true)
    }

    /// Misspells a field, and gives back the text to restore with [`PolicyFile::restore`].
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn misspell(&mut self) -> io::Result<String> {
        let good = self.read()?;
        self.write(good.replace(", weight: ", ", weigth: "))?;
        Ok(good)
    }

    /// Puts a text back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn restore(&mut self, text: String) -> io::Result<()> {
        self.write(text)
    }

    fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }

    /// Replaces the file in one step, so that no sidecar reads half of it.
    fn write(&mut self, text: String) -> io::Result<()> {
        self.edited |= !self.written.is_empty() && self.is_foreign();
        let next = self.path.with_extension("next");
        fs::write(&next, &text)?;
        fs::rename(&next, &self.path)?;
        self.written = text;
        Ok(())
    }
}

/// Where the digits of a version's weight stand.
fn weight_at(text: &str, version: &str) -> Option<std::ops::Range<usize>> {
    let line = format!("name: reviews-{version}, port: 80, weight: ");
    let start = text.find(&line)? + line.len();
    let digits = text[start..].find(|c: char| !c.is_ascii_digit())?;
    (digits > 0).then_some(start..start + digits)
}

fn first(replicas: &[Replica], without: Without) -> String {
    let mut text = String::from(
        "# The whole mesh of the demo. Edit it while the demo runs: every sidecar takes up a good edit within a\n\
         # moment and loses no request; a bad one is refused, and the policy before it stays.\n",
    );
    text.push_str(&traffic(without));
    for service in ["frontend", "reviews", "reviews-v1", "reviews-v2", "ratings"] {
        text.push_str(&mesh_service(service, replicas));
    }
    for replica in replicas {
        text.push_str(&sidecar(replica));
    }
    text
}

fn traffic(without: Without) -> String {
    let (v1, v2) = FIRST_WEIGHTS;
    let retry = if without == Without::Retries { NO_RETRY } else { RETRY };
    let (fallback, breaker) = if without == Without::Breakers { ("", "") } else { (FALLBACK, BREAKER) };
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: reviews, namespace: demo}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: reviews}}]
  rules:
  - name: split
    backendRefs:
    - {{name: reviews-v1, port: 80, weight: {v1}}}
    - {{name: reviews-v2, port: 80, weight: {v2}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: reviews, namespace: demo}}
spec:
  targetRefs: [{{kind: Service, name: reviews}}]
  timeouts: {{attempt: 250ms}}
{fallback}{retry}---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: ratings, namespace: demo}}
spec:
  targetRefs: [{{kind: Service, name: ratings}}]
{retry}{breaker}"
    )
}

fn mesh_service(name: &str, replicas: &[Replica]) -> String {
    let protocol = if name == "ratings" { "grpc" } else { "http1" };
    let mut text = format!(
        "\
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: {name}, namespace: demo}}
spec:
  ports: [{{port: 80, protocol: {protocol}}}]
  endpoints:
"
    );
    for replica in replicas.iter().filter(|replica| belongs(replica, name)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - {{address: \"{}\"}}   # {}", replica.inbound, replica.name);
    }
    text
}

/// `reviews` is all of its versions.
fn belongs(replica: &Replica, service: &str) -> bool {
    replica.service == service || (service == "reviews" && replica.service.starts_with("reviews-"))
}

fn sidecar(replica: &Replica) -> String {
    let Replica { name, service, app, inbound, outbound, admin } = replica;
    let protocol = if *service == "ratings" { "grpc" } else { "http1" };
    format!(
        "\
---
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: {name}, namespace: demo}}
spec:
  inbound:
  - {{bind: \"{inbound}\", app: \"{app}\", protocol: {protocol}, service: {{name: {service}, port: 80}}}}
  outbound:
  - {{bind: \"{outbound}\"}}
  admin: {{bind: \"{admin}\"}}
"
    )
}
