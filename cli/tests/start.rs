//! A start that cannot be: one clear report with its remedy, nothing on standard output, exit code 2.

use std::{fs, net::TcpListener, os::unix::fs::symlink, path::Path};

use outrigger_tests::{ports, process::Process};

fn sidecar(name: &str, inbound: &str, admin: &str) -> String {
    format!(
        "---\napiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec:\n  inbound:\n  \
         - {{bind: \"{inbound}\", app: \"127.0.0.1:9\"}}\n  admin: {{bind: \"{admin}\"}}\n"
    )
}

/// Runs `outrigger proxy` with these arguments in `folder`, and gives what it said.
async fn refused(folder: &Path, arguments: &[&str]) -> String {
    let paths = arguments.iter().map(|argument| match argument.strip_prefix("@") {
        Some(name) => folder.join(name).display().to_string(),
        None => (*argument).to_owned(),
    });
    let arguments: Vec<String> = std::iter::once("proxy".to_owned()).chain(paths).collect();
    let mut process = Process::start(env!("CARGO_BIN_EXE_outrigger"), &arguments, &[]);
    let code = process.exit().await.code();
    process.line("error").await;
    let output = process.output();
    assert_eq!(code, Some(2), "{arguments:?}: {output}");
    assert!(!output.contains("panicked") && !output.contains("RUST_BACKTRACE"), "{output}");
    output
}

#[tokio::test]
async fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("empty/notes.txt"), "nothing here").unwrap();
    fs::create_dir(at.join("links")).unwrap();
    symlink("nowhere", at.join("links/mesh.yaml")).unwrap();
    fs::write(at.join("latin1.yaml"), b"kind: \xe9\n").unwrap();
    fs::write(at.join("nothing.yaml"), "").unwrap();
    // A path, and what the one line must say.
    let cases: [(&str, &[&str]); 5] = [
        ("@none.yaml", &["none.yaml: No such file or directory", "check the path"]),
        ("@empty", &["empty", ".yaml, .yml or .json"]),
        ("@links", &["links/mesh.yaml: No such file or directory"]),
        ("@latin1.yaml", &["latin1.yaml:1:7", "UTF-8"]),
        ("@nothing.yaml", &["nothing.yaml"]),
    ];
    for (path, says) in cases {
        let output = refused(at, &["-f", path]).await;
        for text in says {
            assert!(output.contains(text), "{path}: no {text:?} in:\n{output}");
        }
    }
    if !rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        fs::write(at.join("secret.yaml"), "").unwrap();
        fs::set_permissions(at.join("secret.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
        let output = refused(at, &["-f", "@secret.yaml"]).await;
        assert!(output.contains("secret.yaml: Permission denied"), "{output}");
    }
}

#[tokio::test]
async fn the_sidecar_to_be_is_not_clear() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let service = "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: web}\n\
                   spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:9\"}]}\n";
    fs::write(at.join("none.yaml"), service).unwrap();
    let output = refused(at, &["-f", "@none.yaml"]).await;
    assert!(output.contains("Sidecar"), "{output}");

    let two = sidecar("one", "127.0.0.1:0", "127.0.0.1:0") + &sidecar("two", "127.0.0.1:0", "127.0.0.1:0");
    fs::write(at.join("two.yaml"), two).unwrap();
    let output = refused(at, &["-f", "@two.yaml"]).await;
    for text in ["`default/one`", "`default/two`", "--sidecar NAMESPACE/NAME"] {
        assert!(output.contains(text), "no {text:?} in:\n{output}");
    }
    let output = refused(at, &["-f", "@two.yaml", "--sidecar", "default/three"]).await;
    assert!(output.contains("default/three") && output.contains("default/one"), "{output}");
    let output = refused(at, &["-f", "@two.yaml", "--sidecar", "three"]).await;
    assert!(output.contains("NAMESPACE/NAME"), "{output}");
}

#[tokio::test]
async fn addresses_that_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    let free = ports::free().to_string();
    // Inbound and admin address, which one cannot be had, and the remedy.
    let cases = [
        (taken.0.as_str(), free.as_str(), taken.0.as_str(), "inbound", "another process has this port"),
        ("127.0.0.1:0", &taken.0, &taken.0, "admin", "another process has this port"),
        ("192.0.2.1:80", &free, "192.0.2.1:80", "inbound", "this machine has no such address"),
    ];
    for (inbound, admin, address, which, remedy) in cases {
        fs::write(at.join("policy.yaml"), sidecar("test", inbound, admin)).unwrap();
        let output = refused(at, &["-f", "@policy.yaml"]).await;
        let errors: Vec<&str> = output.lines().filter(|line| line.contains("error")).collect();
        assert_eq!(errors.len(), 1, "one line: {output}");
        for text in [address, which, remedy] {
            assert!(errors[0].contains(text), "no {text:?} in {}", errors[0]);
        }
    }
}
