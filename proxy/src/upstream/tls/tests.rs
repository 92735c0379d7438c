//! Which files make TLS possible, what is said about those that do not, and that no secret shows.

use std::collections::HashMap;

use outrigger_config::model::{ClientIdentity, FileRef, Origin};
use rcgen::{CertificateParams, KeyPair};

use super::*;

fn origin(line: u32) -> Origin {
    Origin { file: "folder/policy.yaml".into(), line, column: 1 }
}

fn file(path: &str, line: u32) -> FileRef {
    FileRef { path: path.into(), origin: origin(line) }
}

/// Mutual TLS to `name` with the files `ca.pem`, `cert.pem` and `key.pem`.
fn mutual(name: &str) -> Arc<OutwardTls> {
    Arc::new(OutwardTls {
        server_name: name.into(),
        trust_bundle: Some(file("ca.pem", 2)),
        identity: Some(ClientIdentity {
            certificate: file("cert.pem", 3),
            private_key: file("/keys/key.pem", 4),
        }),
        origin: origin(1),
    })
}

fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn files() -> HashMap<&'static str, String> {
    let (certificate, key) = certificate();
    HashMap::from([
        ("folder/ca.pem", certificate.clone()),
        ("folder/cert.pem", certificate),
        ("/keys/key.pem", key),
    ])
}

fn read(source: &Arc<OutwardTls>, files: &HashMap<&'static str, String>) -> Result<Outward, Unusable> {
    let read = |path: &Path| match files.get(path.to_str().unwrap()) {
        Some(text) => Ok(text.clone().into_bytes()),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    Outward::read(source.clone(), read, &SystemRoots::default())
}

#[test]
fn paths_are_relative_to_the_policy_file_and_contents_tell_apart() {
    let (source, mut held) = (mutual("example.com"), files());
    let (one, same) = (read(&source, &held).unwrap(), read(&source, &held).unwrap());
    assert!(one == same && one.id() != same.id());
    held.insert("folder/ca.pem", certificate().0);
    assert!(one != read(&source, &held).unwrap(), "another bundle");
    assert!(one != Outward::unread(source));
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let (other, other_key) = certificate();
    let two = |first: &str, second: &str| format!("{first}{second}");
    for (path, text, line, field, message) in [
        ("folder/ca.pem", None, 2, "trustBundle", "folder/ca.pem: entity not found"),
        ("folder/ca.pem", Some("hello".to_owned()), 2, "trustBundle", "the file holds no certificate"),
        (
            "folder/ca.pem",
            Some(two(&other, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
            2,
            "trustBundle",
            "certificate number 2 cannot be an authority",
        ),
        ("folder/cert.pem", Some(other_key.clone()), 3, "certificate", "the file holds no certificate"),
        ("folder/cert.pem", Some(other.clone()), 4, "privateKey", "the key is not that of the certificate"),
        (
            "/keys/key.pem",
            Some(other.clone()),
            4,
            "privateKey",
            "/keys/key.pem: the file holds no private key",
        ),
        ("/keys/key.pem", Some(other_key), 4, "privateKey", "the key is not that of the certificate"),
    ] {
        let mut held = files();
        held.remove(path);
        held.extend(text.map(|text| (path, text)));
        let error = read(&mutual("example.com"), &held).unwrap_err();
        assert_eq!((error.origin.line, &*error.field), (line, &*format!("spec.tls.{field}")), "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
    }
    let error = read(&mutual("a..b"), &files()).unwrap_err();
    assert_eq!((error.origin.line, &*error.field), (1, "spec.tls"));
}

#[test]
fn no_key_shows_in_a_dump() {
    let held = files();
    let key = held["/keys/key.pem"].lines().nth(1).unwrap().to_owned();
    let shown = format!("{:?}", read(&mutual("example.com"), &held).unwrap());
    assert!(shown.contains("key.pem") && !shown.contains(&key) && !shown.contains("PRIVATE"), "{shown}");
}
