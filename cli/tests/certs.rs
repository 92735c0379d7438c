//! Who a proxy is, as a person sees it: `outrigger certs`, the log, a start with files that are of no use; and that the
//! private key shows nowhere.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use outrigger_tests::{
    authority::{Authority, BUNDLE, CERTIFICATE, KEY, Svid},
    client,
    metrics::Metrics,
    ports,
    process::Process,
    wait::until,
};
use tempfile::TempDir;

const CART: &str = "spiffe://cluster.local/ns/default/sa/cart";

fn policy(admin: SocketAddr, name: &str, account: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec:\n  \
         serviceAccount: {account}\n  inbound:\n  - {{bind: \"127.0.0.1:0\", app: \"127.0.0.1:9\"}}\n  \
         admin: {{bind: \"{admin}\"}}\n  identity:\n    files:\n      certificate: certs/{CERTIFICATE}\n      \
         privateKey: certs/{KEY}\n      trustBundle: certs/{BUNDLE}\n"
    )
}

fn outrigger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(arguments).output().expect("the binary runs")
}

fn certs(admin: SocketAddr, form: &str) -> (Option<i32>, String) {
    let output = outrigger(&["certs", "--admin", &admin.to_string(), "-o", form]);
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

struct Running {
    process: Process,
    admin: SocketAddr,
    folder: TempDir,
}

impl Running {
    async fn start(svid: &Svid, log_level: &str) -> Self {
        let admin = ports::free();
        let folder = tempfile::tempdir().unwrap();
        svid.write_to(&folder.path().join("certs"));
        let path = folder.path().join("policy.yaml");
        fs::write(&path, policy(admin, "cart", "cart")).unwrap();
        let path = path.display().to_string();
        let arguments = ["proxy", "--workers", "1", "--log-level", log_level, "-f", &path];
        let process = Process::start(env!("CARGO_BIN_EXE_outrigger"), arguments, &[]);
        until("the proxy to be ready", || async {
            tokio::net::TcpStream::connect(admin).await.ok()?;
            (client::get(admin, "/ready").await.status == 200).then_some(())
        })
        .await;
        Self { process, admin, folder }
    }

    fn put(&self, svid: &Svid) {
        svid.write_to(&self.folder.path().join("certs"));
    }

    async fn identity(&self) -> serde_json::Value {
        client::get(self.admin, "/certs").await.json()["identity"].clone()
    }

    async fn config_generation(&self) -> f64 {
        Metrics::scrape(self.admin).await.sum("outrigger_config_generation", &[])
    }

    async fn until_serial(&self, serial: &str) {
        until("the next certificate", || async {
            (self.identity().await["certificate"]["serial"] == serial).then_some(())
        })
        .await;
    }
}

/// The lines of a PEM text that are its secret.
fn secrets(pem: &str) -> Vec<&str> {
    pem.lines().filter(|line| !line.starts_with("-----") && line.len() > 16).collect()
}

#[tokio::test]
async fn certs_tells_who_the_proxy_is_and_what_became_of_the_next_certificate() {
    let authority = Authority::new("cluster.local");
    let first = authority.svid(CART);
    let proxy = Running::start(&first, "info").await;
    let (code, text) = certs(proxy.admin, "table");
    assert_eq!(code, Some(0), "{text}");
    for shown in [CART, &first.serial, "23 h 59 min left", CERTIFICATE, KEY, BUNDLE, "CN=cluster.local"] {
        assert!(text.contains(shown), "no {shown}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&certs(proxy.admin, "json").1).unwrap();
    let yaml: serde_json::Value = serde_yaml::from_str(&certs(proxy.admin, "yaml").1).unwrap();
    assert_eq!(json["identity"]["certificate"]["serial"], first.serial.as_str());
    assert_eq!(json["identity"]["id"], yaml["identity"]["id"]);

    let second = authority.svid(CART);
    proxy.put(&second);
    proxy.until_serial(&second.serial).await;
    proxy.process.line("certificate, key or trust bundle replaced").await;
    assert_eq!(proxy.config_generation().await, 1.0, "a rotation compiles no policy");

    proxy.put(&authority.svid("spiffe://cluster.local/ns/default/sa/web"));
    let line = proxy.process.line("what is in use stays").await;
    assert!(line.contains("sa/web") && line.contains("serviceAccount"), "{line}");
    let (code, text) = certs(proxy.admin, "table");
    assert!(code == Some(1) && text.contains("REJECTED") && text.contains("sa/web"), "{code:?} {text}");
    assert_eq!(proxy.identity().await["certificate"]["serial"], second.serial.as_str());
    let metrics = Metrics::scrape(proxy.admin).await;
    let rotations = |result| metrics.sum("outrigger_identity_rotations_total", &[("result", result)]);
    assert_eq!((rotations("ok"), rotations("rejected")), (1.0, 1.0));
    assert!(metrics.sum("outrigger_identity_not_after_seconds", &[]) > 1.7e9);
}

#[tokio::test]
async fn the_private_key_shows_nowhere() {
    let authority = Authority::new("cluster.local");
    let (first, second) = (authority.svid(CART), authority.svid(CART));
    let mut proxy = Running::start(&first, "trace").await;
    // A certificate without its key, which is refused, and then both.
    let mut half = second.clone();
    half.key_pem.clone_from(&first.key_pem);
    half.serial = "half".to_owned();
    proxy.put(&half);
    proxy.process.line("the key is not that of the certificate").await;
    let told = client::get(proxy.admin, "/certs").await.text();
    proxy.put(&second);
    proxy.until_serial(&second.serial).await;
    let mut shown = vec![told];
    for path in ["/certs", "/config_dump", "/metrics", "/services", "/logging", "/"] {
        shown.push(client::get(proxy.admin, path).await.text());
    }
    shown.extend(["table", "json", "yaml"].map(|form| certs(proxy.admin, form).1));
    proxy.process.signal(rustix::process::Signal::INT);
    proxy.process.exit().await;
    shown.push(proxy.process.output());
    let all = shown.join("\n");
    assert!(all.contains(&second.serial) && all.contains("\"level\": \"trace\""), "{all}");
    for key in [&first.key_pem, &second.key_pem] {
        for line in secrets(key) {
            assert!(!all.contains(line), "the key shows");
        }
        // And not in another form: the bytes themselves, as a dump of a vector shows them.
        let der = Svid { key_pem: key.clone(), ..first.clone() }.der().1;
        let bytes = format!("{:?}", &der.secret_der()[8..24]);
        assert!(!all.contains(bytes.trim_matches(['[', ']'])), "the key's bytes show");
    }
    assert!(!all.contains("PRIVATE KEY"), "not even its frame");
}

#[tokio::test]
async fn files_that_are_of_no_use_end_the_start_with_their_place_and_a_remedy() {
    let authority = Authority::new("cluster.local");
    let other = Authority::new("cluster.local");
    let good = authority.svid(CART);
    let with = |change: fn(&mut Svid, &Authority)| {
        let mut svid = good.clone();
        change(&mut svid, &other);
        svid
    };
    let now = std::time::SystemTime::now();
    let past = authority.issue(CART).valid(now - Duration::from_secs(7200), now - Duration::from_secs(3600));
    // What is wrong, the line of the policy that names the file, and what helps.
    let cases = [
        (authority.issue("spiffe://cluster.local/ns/default/sa/web").make(), 11, "sa/web", "serviceAccount"),
        (past.make(), 11, "has expired", "another one issued"),
        (Authority::new("else.where").svid("spiffe://else.where/x"), 11, "`else.where`", "trustDomain"),
        (authority.issue(CART).and_uri("spiffe://cluster.local/x").make(), 11, "more than one URI", "SPIFFE"),
        (with(|svid, _| svid.key_pem = "no key".to_owned()), 12, "no private key", "BEGIN PRIVATE KEY"),
        (with(|svid, other| svid.key_pem = other.svid(CART).key_pem), 12, "not that of", "own key"),
        (with(|svid, other| svid.bundle_pem = other.bundle_pem()), 11, "no authority", "trustBundle"),
        (with(|svid, _| svid.bundle_pem = String::new()), 13, "no certificate", "BEGIN CERTIFICATE"),
    ];
    for (svid, line, wrong, helps) in cases {
        let folder = tempfile::tempdir().unwrap();
        svid.write_to(&folder.path().join("certs"));
        let said = refused(folder.path());
        for text in [&*format!("policy.yaml:{line}:"), wrong, helps, "spec.identity.files."] {
            assert!(said.contains(text), "no {text:?} in:\n{said}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let said = refused(folder.path());
    let errors = said.matches("error[").count();
    assert!(said.contains("tls.crt: No such file") && errors == 1, "{said}");
}

/// Starts a proxy that does not, and gives what it says.
fn refused(folder: &Path) -> String {
    let path = folder.join("policy.yaml");
    fs::write(&path, policy(ports::free(), "cart", "cart")).unwrap();
    let output = outrigger(&["proxy", "-f", &path.display().to_string()]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[tokio::test]
async fn nobody_there_is_one_line_with_a_remedy() {
    let output = outrigger(&["certs", "--admin", &ports::free().to_string()]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("Connection refused") && said.contains("--admin") && said.lines().count() == 1,
        "{said}"
    );
}
