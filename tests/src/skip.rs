//! Tests that need more than a plain machine: root, or a program that is not always there.
//!
//! Such a test asks first and returns when the answer is yes. With `OUTRIGGER_TESTS=all` a missing thing is a failure,
//! so that CI cannot pass by skipping.

use std::{env, path::Path, process::Command};

/// Whether the test `name` must be skipped because this process is not root.
///
/// # Panics
/// With `OUTRIGGER_TESTS=all`, instead of skipping.
#[must_use]
pub fn without_root(name: &str) -> bool {
    !rustix::process::geteuid().is_root() && skip(name, "it needs root")
}

/// Whether the test `name` must be skipped because `program` is not installed; `package` is the Debian package to name.
///
/// # Panics
/// With `OUTRIGGER_TESTS=all`, instead of skipping.
#[must_use]
pub fn without_program(name: &str, program: &str, package: &str) -> bool {
    let reason = format!("it needs `{program}` (Debian: apt-get install {package})");
    !is_installed(program) && skip(name, &reason)
}

/// As [`without_program`], for a program out of a PyPI wheel.
///
/// # Panics
/// With `OUTRIGGER_TESTS=all`, instead of skipping.
#[must_use]
pub fn without_wheel(name: &str, program: &str, wheel: &str) -> bool {
    let reason = format!("it needs `{program}` out of the PyPI wheel `{wheel}`, which ./test gets");
    !is_installed(program) && skip(name, &reason)
}

/// Whether the test `name` must be skipped because this process may not make network namespaces, as in most containers, or
/// because the kernel has no nat table for `iptables` there: the name of one of the programs of that family.
///
/// # Panics
/// With `OUTRIGGER_TESTS=all`, instead of skipping.
#[must_use]
pub fn without_nat(name: &str, iptables: &str) -> bool {
    let run = |arguments: &[&str]| {
        let output = Command::new("unshare").args(["--net", "--mount"]).args(arguments).output();
        output.map_err(|error| error.to_string()).and_then(|output| match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
    };
    let reason = match run(&["true"]) {
        Err(said) => format!("it needs network namespaces ({said})"),
        Ok(()) => match run(&[iptables, "-t", "nat", "-S"]) {
            Err(said) => format!("it needs the nat table of {iptables} ({said})"),
            Ok(()) => return false,
        },
    };
    skip(name, &reason)
}

/// Whether `program` stands in a folder of `PATH`, or where Debian keeps what only root runs.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| Path::new(&folder).join(program).is_file())
}

fn skip(name: &str, reason: &str) -> bool {
    assert!(
        env::var("OUTRIGGER_TESTS").as_deref() != Ok("all"),
        "{name} cannot run: {reason}, and OUTRIGGER_TESTS=all allows no skip"
    );
    eprintln!("SKIPPED {name}: {reason}");
    true
}
