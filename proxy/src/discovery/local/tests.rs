//! Changes of real files, as editors, scripts and Kubernetes make them. Every wait is bounded and ends with its event.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use tempfile::TempDir;

use super::*;

/// No test waits longer for something that should happen.
const BOUND: Duration = Duration::from_secs(10);

fn policy(name: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec:\n  inbound:\n  \
         - {{bind: \"127.0.0.1:0\", app: \"127.0.0.1:3000\"}}\n"
    )
}

struct Followed {
    folder: TempDir,
    policies: mpsc::Receiver<Change>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl Followed {
    /// Follows `path` below a fresh folder that `prepare` has filled. The poll is off: events alone must do.
    async fn start(path: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let mut source = LocalSource::new(vec![folder.path().join(path)], None);
        source.pace.poll = Duration::from_secs(3600);
        source.load().expect("a good policy");
        let (send, policies) = mpsc::channel(1);
        let (status, metrics) = (Status::new(), Metrics::new(1));
        let followed = Self { folder, policies, status, metrics };
        tokio::spawn(source.watch(send, followed.status.clone(), followed.metrics.clone()));
        // This runtime has one thread: the task runs until it waits, and then it watches.
        tokio::task::yield_now().await;
        followed
    }

    async fn file(name: &str) -> Self {
        Self::start("mesh.yaml", |folder| fs::write(folder.join("mesh.yaml"), policy(name)).unwrap()).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The Sidecar of the next policy.
    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(BOUND, self.policies.recv()).await;
        let Change { policy: Prepared { resources, .. }, in_use } =
            next.expect("a policy in time").expect("followed");
        in_use.send(true).expect("the source waits for this");
        resources.workload.name.name.to_string()
    }

    async fn rejection(&self) -> Arc<Rejection> {
        let mut rejections = self.status.rejections();
        let refused = tokio::time::timeout(BOUND, rejections.wait_for(Option::is_some)).await;
        refused.expect("refused in time").expect("followed").clone().expect("waited for")
    }

    fn nothing_yet(&mut self) {
        assert!(self.policies.try_recv().is_err(), "nothing has changed");
    }
}

#[tokio::test]
async fn an_edit_in_place_and_an_atomic_rename_are_taken_up() {
    let mut followed = Followed::file("one").await;
    fs::write(followed.path("mesh.yaml"), policy("two")).unwrap();
    assert_eq!(followed.next().await, "two");
    fs::write(followed.path("mesh.yaml.new"), policy("three")).unwrap();
    fs::rename(followed.path("mesh.yaml.new"), followed.path("mesh.yaml")).unwrap();
    assert_eq!(followed.next().await, "three");
    fs::write(followed.path("mesh.yaml"), policy("four")).unwrap();
    assert_eq!(followed.next().await, "four", "the file that came by rename is followed too");
}

#[tokio::test]
async fn a_bad_edit_changes_nothing_and_is_told_with_its_place() {
    let mut followed = Followed::file("one").await;
    fs::write(followed.path("mesh.yaml"), policy("two").replace("inbound", "inbond")).unwrap();
    let rejection = followed.rejection().await;
    assert!(rejection.text.contains("mesh.yaml:5:3: error[OR110] spec.inbond"), "{rejection:?}");
    let place = |finding: &serde_json::Value| finding["code"] == "OR110" && finding["line"] == 5;
    assert!(rejection.findings.iter().any(place), "{rejection:?}");
    assert!(followed.metrics.render().contains("outrigger_config_rejections_total 1\n"));
    followed.nothing_yet();
    fs::write(followed.path("mesh.yaml"), policy("two")).unwrap();
    assert_eq!(followed.next().await, "two");
}

#[tokio::test]
async fn a_bad_edit_that_is_taken_back_is_forgotten() {
    let mut followed = Followed::file("one").await;
    fs::write(followed.path("mesh.yaml"), "kind: [").unwrap();
    followed.rejection().await;
    fs::write(followed.path("mesh.yaml"), policy("one")).unwrap();
    let mut rejections = followed.status.rejections();
    let cleared = tokio::time::timeout(BOUND, rejections.wait_for(Option::is_none)).await;
    cleared.expect("in time").expect("followed");
    followed.nothing_yet();
}

#[tokio::test]
async fn a_file_that_vanishes_changes_nothing_until_it_is_back() {
    let mut followed = Followed::file("one").await;
    fs::remove_file(followed.path("mesh.yaml")).unwrap();
    let rejection = followed.rejection().await;
    assert!(rejection.text.contains("mesh.yaml: No such file"), "{rejection:?}");
    followed.nothing_yet();
    fs::write(followed.path("mesh.yaml"), policy("two")).unwrap();
    assert_eq!(followed.next().await, "two");
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed_on() {
    let mut followed = Followed::start("policy", |folder| {
        fs::create_dir(folder.join("policy")).unwrap();
        fs::write(folder.join("policy/mesh.yaml"), policy("one")).unwrap();
    })
    .await;
    fs::remove_dir_all(followed.path("policy")).unwrap();
    followed.rejection().await;
    fs::create_dir(followed.path("new")).unwrap();
    fs::write(followed.path("new/mesh.yaml"), policy("two")).unwrap();
    fs::rename(followed.path("new"), followed.path("policy")).unwrap();
    assert_eq!(followed.next().await, "two");
    fs::write(followed.path("policy/mesh.yaml"), policy("three")).unwrap();
    assert_eq!(followed.next().await, "three");
}

#[tokio::test]
async fn a_config_map_swap_is_taken_up_as_a_whole() {
    let fill = |folder: &Path, version: &str, name: &str| {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("mesh.yaml"), policy(name)).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let mut followed = Followed::start("", |folder| {
        fill(folder, "..1", "one");
        symlink("..data/mesh.yaml", folder.join("mesh.yaml")).unwrap();
    })
    .await;
    for (version, name) in [("..2", "two"), ("..3", "three")] {
        fill(followed.folder.path(), version, name);
        assert_eq!(followed.next().await, name);
    }
    fs::remove_dir_all(followed.path("..1")).unwrap();
    fs::remove_dir_all(followed.path("..2")).unwrap();
    fill(followed.folder.path(), "..4", "four");
    assert_eq!(followed.next().await, "four");
}

#[tokio::test]
async fn half_a_file_is_never_applied() {
    use std::io::Write as _;
    let mut followed = Followed::file("one").await;
    // The first half is a valid policy of its own.
    let (first, second) = (policy("two"), "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\n");
    let mut file = fs::File::create(followed.path("mesh.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    file.flush().unwrap();
    // Longer than files must rest, shorter than they may take.
    let resting = tokio::time::timeout(Duration::from_millis(300), followed.policies.recv()).await;
    assert!(resting.is_err(), "applied while it was being written");
    file.write_all(second.as_bytes()).unwrap();
    file.write_all(b"metadata: {name: default}\nspec: {trustDomain: whole.example}\n").unwrap();
    drop(file);
    let next = tokio::time::timeout(BOUND, followed.policies.recv()).await;
    let resources = next.expect("in time").expect("followed").policy.resources;
    assert_eq!(&*resources.mesh.trust_domain, "whole.example");
}

#[tokio::test]
async fn a_change_between_load_and_watch_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, policy("one")).unwrap();
    let source = LocalSource::new(vec![path.clone()], None);
    source.load().expect("a good policy");
    fs::write(&path, policy("two")).unwrap();
    let (send, mut policies) = mpsc::channel(1);
    tokio::spawn(source.watch(send, Status::new(), Metrics::new(1)));
    let next = tokio::time::timeout(BOUND, policies.recv()).await.expect("in time").expect("followed");
    assert_eq!(&*next.policy.resources.workload.name.name, "two");
}

#[tokio::test]
async fn following_ends_with_its_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, policy("one")).unwrap();
    let (send, policies) = mpsc::channel(1);
    let watching =
        tokio::spawn(LocalSource::new(vec![path], None).watch(send, Status::new(), Metrics::new(1)));
    drop(policies);
    tokio::time::timeout(BOUND, watching).await.expect("in time").expect("no panic");
}

fn with_bundle(name: &str) -> String {
    let service = "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: out}\nspec:\n  \
                   ports: [{port: 80}]\n  hosts: [example.com]\n  endpoints: [{address: \"192.0.2.1:443\"}]\n  \
                   tls: {mode: Simple, trustBundle: tls/ca.pem}\n";
    format!("{}---\n{service}", policy(name))
}

fn bundle() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

#[tokio::test]
async fn a_named_file_is_followed_as_the_policy_is() {
    let mut followed = Followed::start("mesh.yaml", |folder| {
        fs::create_dir(folder.join("tls")).unwrap();
        fs::write(folder.join("tls/ca.pem"), bundle()).unwrap();
        fs::write(folder.join("mesh.yaml"), with_bundle("one")).unwrap();
    })
    .await;
    // Rotated.
    fs::write(followed.path("tls/new.pem"), bundle()).unwrap();
    fs::rename(followed.path("tls/new.pem"), followed.path("tls/ca.pem")).unwrap();
    assert_eq!(followed.next().await, "one");
    // Spoilt.
    fs::write(followed.path("tls/ca.pem"), "no PEM").unwrap();
    let rejection = followed.rejection().await;
    assert!(
        rejection.text.contains("mesh.yaml:15:36: error[OR160] spec.tls.trustBundle: "),
        "{}",
        rejection.text
    );
    assert!(rejection.text.contains("tls/ca.pem: the file holds no certificate"), "{}", rejection.text);
    assert_eq!(rejection.findings[0]["line"], 15);
    // Mended.
    fs::write(followed.path("tls/ca.pem"), bundle()).unwrap();
    assert_eq!(followed.next().await, "one");
    // A policy that names a file which is not there, until it is.
    let other = with_bundle("two").replace("tls/ca.pem", "other.pem");
    fs::write(followed.path("mesh.yaml"), other).unwrap();
    followed.status.clear_rejection();
    followed.rejection().await;
    fs::write(followed.path("other.pem"), bundle()).unwrap();
    assert_eq!(followed.next().await, "two");
    followed.nothing_yet();
}

#[test]
fn reports_say_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, format!("{}---\n{}", policy("one"), policy("two"))).unwrap();
    let error = LocalSource::new(vec![path.clone()], None).load().unwrap_err().to_string();
    assert!(error.contains("`default/one`") && error.contains("--sidecar NAMESPACE/NAME"), "{error}");
    let chosen = LocalSource::new(vec![path], Some(ObjectName::new("default", "two"))).load();
    assert_eq!(&*chosen.expect("chosen").resources.workload.name.name, "two");
}

#[test]
fn contents_are_judged_once() {
    let of = |policy| Signature { policy, named: 0 };
    let mut judge = Judge { in_use: Some(of(1)), judged: Some(of(1)) };
    assert_eq!(judge.look(Wake::Changed, of(1)), Verdict::Nothing);
    assert_eq!(judge.look(Wake::Poll, of(2)), Verdict::Wait);
    assert_eq!(judge.look(Wake::Changed, of(2)), Verdict::Compile);
    assert_eq!(judge.look(Wake::Changed, of(2)), Verdict::Nothing);
    assert_eq!(judge.look(Wake::Poll, of(2)), Verdict::Nothing);
    assert_eq!(judge.look(Wake::Changed, of(1)), Verdict::TakenBack);
    assert_eq!(judge.look(Wake::Changed, of(2)), Verdict::Compile, "it was refused, or it would be in use");
}
