//! Rotations of real files, as scripts and Kubernetes make them. Every wait is bounded and ends with its event.

use std::{fs, os::unix::fs::symlink, path::Path};

use outrigger_config::model::{self, FileRef, IdentityFiles, IdentitySource, Origin};
use tempfile::TempDir;

use super::{
    super::tests::forge::{Authority, leaf},
    *,
};

/// No test waits longer for something that should happen.
const BOUND: Duration = Duration::from_secs(10);

const CART: &str = "spiffe://mesh.test/ns/shop/sa/cart";
const WEB: &str = "spiffe://mesh.test/ns/shop/sa/web";

fn source(folder: &Path) -> model::Identity {
    let origin = Origin { file: folder.join("mesh.yaml").display().to_string().into(), line: 1, column: 1 };
    let file = |path: &str| FileRef { path: path.into(), origin: origin.clone() };
    model::Identity {
        source: IdentitySource::Files(IdentityFiles {
            certificate: file("tls.crt"),
            private_key: file("tls.key"),
            trust_bundle: file("ca.crt"),
        }),
        trust_domain: "mesh.test".into(),
        expected: None,
        origin: origin.clone(),
    }
}

/// An identity whose files are followed.
struct Followed {
    folder: TempDir,
    rotation: Rotation,
    metrics: Arc<Metrics>,
}

impl Followed {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let identity = Identity::read(&source(folder.path()), SystemTime::now()).map_err(|(why, _)| why);
        let metrics = Metrics::new(1);
        let rotation = Rotation::new(Arc::new(identity.unwrap()), metrics.clone());
        Self { folder, rotation, metrics }
    }

    /// Files in the folder itself.
    fn plain(authority: &Authority) -> Self {
        let (certificate, key) = authority.sign_pem(&leaf(&[CART]));
        Self::start(|folder| {
            put(folder, "tls.crt", &certificate);
            put(folder, "tls.key", &key);
            put(folder, "ca.crt", &authority.pem());
        })
    }

    fn put(&self, name: &str, text: &str) {
        put(self.folder.path(), name, text);
    }

    fn put_pair(&self, (certificate, key): &(String, String)) {
        self.put("tls.crt", certificate);
        self.put("tls.key", key);
    }

    /// Lets it act until something is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Identity) -> bool) {
        let identity = self.rotation.identity.clone();
        let acted = async {
            while !is_so(&identity) {
                self.rotation.step().await;
            }
        };
        assert!(tokio::time::timeout(BOUND, acted).await.is_ok(), "waited for {what}");
    }

    async fn until_taken(&mut self, what: &str) {
        let before = self.rotation.identity.generation();
        self.until(what, |identity| identity.generation() > before).await;
        assert!(self.rotation.identity.refused().is_none());
    }

    /// Rotations that were taken and refused, as metrics say.
    fn counted(&self) -> (u64, u64) {
        let text = self.metrics.render();
        let of = |result: &str| {
            let line = format!("outrigger_identity_rotations_total{{result=\"{result}\"}} ");
            text.lines().find_map(|text| text.strip_prefix(&line)).unwrap().parse().unwrap()
        };
        (of("ok"), of("rejected"))
    }
}

/// Whole at once, as an atomic rename makes it.
fn put(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

#[tokio::test]
async fn half_a_certificate_the_whole_of_it_and_then_its_key_are_one_rotation() {
    let authority = Authority::new("root");
    let mut followed = Followed::plain(&authority);
    let first = followed.rotation.identity.current();
    let (certificate, key) = authority.sign_pem(&leaf(&[CART]));
    // In place, half of it, and then the whole.
    for end in [certificate.len() / 2, certificate.len()] {
        fs::write(followed.folder.path().join("tls.crt"), &certificate[..end]).unwrap();
        followed.rotation.look_again = None;
        while followed.rotation.look_again.is_none() {
            followed.rotation.step().await;
        }
    }
    assert_eq!(followed.rotation.identity.current().generation(), first.generation());
    followed.put("tls.key", &key);
    followed.until_taken("both halves").await;
    let second = followed.rotation.identity.current();
    assert_ne!(first.svid().serial(), second.svid().serial());
    assert_eq!(followed.counted(), (1, 0), "the state in between is nobody's business");
}

#[tokio::test]
async fn what_is_of_no_use_is_refused_once_and_changes_nothing() {
    let authority = Authority::new("root");
    let mut followed = Followed::plain(&authority);
    let read = |name: &str| fs::read_to_string(followed.folder.path().join(name)).unwrap();
    let good = (read("tls.crt"), read("tls.key"));
    let first = followed.rotation.identity.generation();
    followed.put_pair(&authority.sign_pem(&leaf(&[WEB])));
    followed.until("a refusal", |identity| identity.refused().is_some()).await;
    let refused = followed.rotation.identity.refused().unwrap();
    assert!(refused.text.contains("tls.crt: ") && refused.text.contains(WEB) && refused.text.contains(CART));
    assert_eq!((followed.counted(), followed.rotation.identity.generation()), ((0, 1), first));
    // The same again, which is no news.
    let again = fs::read_to_string(followed.folder.path().join("tls.key")).unwrap();
    followed.put("tls.key", &again);
    followed.rotation.step().await;
    assert_eq!(followed.counted(), (0, 1));
    followed.put_pair(&good);
    followed.until("what is in use to be back", |identity| identity.refused().is_none()).await;
    assert_eq!((followed.counted(), followed.rotation.identity.generation()), ((0, 1), first));
    fs::remove_file(followed.folder.path().join("tls.key")).unwrap();
    followed.until("a refusal", |identity| identity.refused().is_some()).await;
    followed.put_pair(&authority.sign_pem(&leaf(&[CART])));
    followed.until_taken("the next good pair").await;
    assert_eq!(followed.counted(), (1, 2));
}

#[tokio::test]
async fn a_secret_is_swapped_whole() {
    let authority = Authority::new("root");
    let write = |folder: &Path, version: &str| {
        let (certificate, key) = authority.sign_pem(&leaf(&[CART]));
        fs::create_dir(folder.join(version)).unwrap();
        for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.pem())] {
            fs::write(folder.join(version).join(name), text).unwrap();
        }
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let mut followed = Followed::start(|folder| {
        write(folder, "..1");
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    });
    for (version, before) in [("..2", "..1"), ("..3", "..2")] {
        write(followed.folder.path(), version);
        fs::remove_dir_all(followed.folder.path().join(before)).unwrap();
        followed.until_taken(version).await;
    }
    assert_eq!(followed.counted(), (2, 0));
}

#[tokio::test]
async fn roots_overlap_while_one_follows_the_other() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut followed = Followed::plain(&old);
    let names = |identity: &Identity| {
        let current = identity.current();
        current.authorities().iter().map(|authority| authority.subject.to_string()).collect::<Vec<_>>()
    };
    // The new one's certificate before the new one is trusted.
    followed.put_pair(&new.sign_pem(&leaf(&[CART])));
    followed.until("a refusal", |identity| identity.refused().is_some()).await;
    followed.put_pair(&old.sign_pem(&leaf(&[CART])));
    followed.until_taken("the old authority's").await;
    followed.put("ca.crt", &(old.pem() + &new.pem()));
    followed.until_taken("both authorities").await;
    assert_eq!(names(&followed.rotation.identity), ["CN=old", "CN=new"]);
    // The old one must not go while it is in use.
    followed.put("ca.crt", &new.pem());
    followed.until("a refusal", |identity| identity.refused().is_some()).await;
    followed.put("ca.crt", &(old.pem() + &new.pem()));
    followed.until("both again", |identity| identity.refused().is_none()).await;
    followed.put_pair(&new.sign_pem(&leaf(&[CART])));
    followed.until_taken("the new authority's").await;
    followed.put("ca.crt", &new.pem());
    followed.until_taken("the new authority alone").await;
    assert_eq!(names(&followed.rotation.identity), ["CN=new"]);
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_once_and_another_one_is_taken_after_it() {
    let authority = Authority::new("root");
    let mut followed = Followed::plain(&authority);
    let ends = followed.rotation.identity.current().svid().not_after();
    for (now, stage) in
        [(ends - Duration::from_secs(1), Stage::Tenth), (ends + Duration::from_secs(1), Stage::Expired)]
    {
        followed.rotation.tell_age(now);
        assert_eq!(followed.rotation.told, stage);
    }
    followed.put_pair(&authority.sign_pem(&leaf(&[CART])));
    followed.until_taken("the next").await;
    assert_eq!(followed.rotation.told, Stage::Fresh);
}

#[tokio::test]
async fn policy_says_whom_to_follow() {
    let authority = Authority::new("root");
    let Followed { folder, rotation, metrics } = Followed::plain(&authority);
    let first = rotation.identity.clone();
    drop(rotation);
    assert!(first.is(&source(folder.path())));
    let mut other = source(folder.path());
    other.expected = Some(first.current().svid().id().clone());
    assert!(!first.is(&other));
    let gauge = || metrics.render().contains("outrigger_identity_not_after_seconds");
    let follower = Follower::new(Handle::current(), metrics.clone());
    follower.follow(None);
    follower.follow(Some(&first));
    follower.follow(Some(&first));
    assert!(gauge());
    let second = Identity::read(&other, SystemTime::now()).map_err(|(why, _)| why).unwrap();
    follower.follow(Some(&Arc::new(second)));
    assert!(gauge());
    follower.follow(None);
    assert!(!metrics.render().contains("outrigger_identity"));
}
