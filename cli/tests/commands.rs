//! The commands as a person runs them: exit codes, and that one clear line tells what is wrong and what helps.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

const GOOD: &str = "apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:8080\"}]}
";

fn outrigger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(arguments).output().expect("the binary runs")
}

fn policy(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a temporary file is writable");
    path.display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_ends_with_0_on_a_good_policy_and_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let good = policy(folder.path(), "good.yaml", GOOD);
    let output = outrigger(&["check", "-f", &good]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "ok: 1 MeshService\n"));
}

#[test]
fn check_ends_with_1_on_findings_and_shows_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let bad = GOOD.replace("port: 80", "port: 800000").replace("endpoints", "endpoint");
    let bad = policy(folder.path(), "bad.yaml", &bad);
    let output = outrigger(&["check", "-f", &bad]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        report.contains("bad.yaml:4:")
            && report.contains("did you mean")
            && report.contains("not ok: 2 errors"),
        "{report}"
    );

    let output = outrigger(&["check", "-o", "json", "-f", &bad]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    assert_eq!((output.status.code(), report["errors"].as_u64()), (Some(1), Some(2)), "{report:#}");
    let output = outrigger(&["check", "-o", "yaml", "-f", &bad]);
    let text = String::from_utf8(output.stdout).expect("text on standard output");
    assert_eq!(serde_yaml::from_str::<serde_json::Value>(&text).expect("YAML"), report);
}

#[test]
fn check_speaks_to_code_scanning_and_to_pull_requests() {
    let folder = tempfile::tempdir().unwrap();
    let bad = policy(folder.path(), "bad.yaml", &GOOD.replace("port: 80", "port: 800000"));
    let output = outrigger(&["check", "-o", "sarif", "-f", &bad]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    assert_eq!((output.status.code(), log["version"].as_str()), (Some(1), Some("2.1.0")));
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(1), "{log:#}");

    let output = outrigger(&["check", "-o", "github", "-f", &bad]);
    let line = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(line.starts_with("::error file=") && line.lines().count() == 1, "{line}");

    let good = policy(folder.path(), "good.yaml", GOOD);
    let output = outrigger(&["check", "-o", "github", "-f", &good]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""));
}

#[test]
fn check_reads_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["check", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(GOOD.replace("port: 80", "port: 800000").as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("<stdin>:4:23: error[OR116]"), "{}", text(&output.stdout));
}

#[test]
fn check_of_a_folder_takes_its_files_together() {
    let folder = tempfile::tempdir().unwrap();
    policy(folder.path(), "a.yaml", GOOD);
    policy(folder.path(), "b.yaml", &GOOD.replace("reviews", "ratings"));
    let output = outrigger(&["check", "-f", &folder.path().display().to_string()]);
    assert_eq!(text(&output.stdout), "ok: 2 MeshService\n");
}

#[test]
fn what_cannot_be_read_is_one_line_with_a_remedy_and_ends_with_2() {
    for command in [&["check", "-f", "/no/such/file.yaml"][..], &["proxy", "-f", "/no/such/file.yaml"]] {
        let output = outrigger(command);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        assert!(error.lines().count() == 1 && error.contains("/no/such/file.yaml"), "{command:?}: {error}");
    }
}

#[test]
fn a_bad_command_line_ends_with_2() {
    for command in
        [&["check"][..], &["proxy"], &["nonsense"], &["schema", "Nonsense"], &["demo", "--for", "5"]]
    {
        let output = outrigger(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", text(&output.stderr));
    }
}

#[test]
fn schema_prints_the_schema_of_every_kind_that_it_names() {
    for kind in outrigger_config::KINDS {
        let output = outrigger(&["schema", kind]);
        let schema: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("JSON on standard output");
        assert!(output.status.success() && schema["$schema"].is_string(), "{kind}");
    }
}

#[test]
fn the_policy_of_the_readme_is_good_and_fits_into_ten_lines() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("the README has a policy");
    let (text, _) = rest.split_once("```").expect("the policy ends");
    assert!(text.lines().count() <= 10, "{text}");
    let folder = tempfile::tempdir().unwrap();
    let output = outrigger(&["check", "-f", &policy(folder.path(), "policy.yaml", text)]);
    assert_eq!(self::text(&output.stdout), "ok: 1 Sidecar, 1 MeshService\n");
}
