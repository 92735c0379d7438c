//! Runs the programs that read and change the kernel's tables. It decides nothing about rules.
//!
//! There are two backends in use, nf_tables and the older x_tables, which do not see each other's rules; rules in both
//! are asked for trouble. So the backend is taken that has rules already, ours before anybody's.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{present::Present, rules::Family};

/// Where programs of root stand, where `PATH` does not have it.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The tables that x_tables has in this network namespace. To ask it for another one would make that, beside those of the
/// backend that works.
const X_TABLES: [(Family, &str); 2] =
    [(Family::IPv4, "/proc/net/ip_tables_names"), (Family::IPv6, "/proc/net/ip6_tables_names")];

/// Exists where the kernel has IPv6.
const HAS_IPV6: &str = "/proc/net/if_inet6";

/// How long another program may hold the tables of x_tables: seconds.
const LOCKED: &str = "10";

/// A backend's pair of programs for one family.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) name: String,
    save: PathBuf,
    restore: PathBuf,
}

/// Whether the kernel has the family.
pub(super) fn has(family: Family) -> bool {
    family == Family::IPv4 || Path::new(HAS_IPV6).exists()
}

/// Every backend that is installed, the preferred one first.
///
/// # Errors
/// When there is none.
fn installed(family: Family) -> Result<Vec<Tables>> {
    let base = match family {
        Family::IPv4 => "iptables",
        Family::IPv6 => "ip6tables",
    };
    let backends = ["-nft", "-legacy", ""].map(|backend| format!("{base}{backend}"));
    let found: Vec<Tables> = backends
        .into_iter()
        .filter_map(|name| {
            let (save, restore) = (find(&format!("{name}-save"))?, find(&format!("{name}-restore"))?);
            Some(Tables { name, save, restore })
        })
        .collect();
    if found.is_empty() {
        bail!(
            "none of {base}-nft, {base}-legacy and {base} is installed; they are in the package `iptables` (apt-get install \
             iptables, apk add iptables) or `iptables-nft` (dnf install iptables-nft)"
        );
    }
    Ok(found)
}

/// Every backend that works here, with what is in it.
///
/// # Errors
/// When none does.
pub(super) fn working(family: Family) -> Result<Vec<(Tables, Present)>> {
    let mut failures = Vec::new();
    let mut working: Vec<(Tables, Present)> = Vec::new();
    for tables in installed(family)? {
        // The plain name is a link to one of the others where those are there.
        if !working.is_empty() && !tables.name.contains('-') {
            break;
        }
        if !working.is_empty() && tables.name.ends_with("-legacy") && !has_nat(family) {
            continue;
        }
        match tables.present() {
            Ok(present) => working.push((tables, present)),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if working.is_empty() {
        let failures = failures.join("; ");
        bail!("{failures}{}", hint(&failures));
    }
    Ok(working)
}

/// The backend in use: the first with rules of ours, else with anybody's, else the first.
///
/// # Errors
/// When none works.
pub(super) fn in_use(family: Family) -> Result<(Tables, Present)> {
    let mut working = working(family)?;
    let ours = working.iter().position(|(_, present)| !present.is_empty());
    let anybodys = || working.iter().position(|(_, present)| present.foreign > 0);
    let at = ours.or_else(anybodys).unwrap_or_default();
    Ok(working.swap_remove(at))
}

impl Tables {
    /// What is in place.
    ///
    /// # Errors
    /// When the program fails: no rights, or no such tables in this kernel.
    pub(super) fn present(&self) -> Result<Present> {
        let output = Command::new(&self.save).args(["-t", "nat"]).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {}", self.save.display()))?;
        Ok(Present::read(&text(&self.save, output)?))
    }

    /// Applies a change, whole or not at all.
    ///
    /// # Errors
    /// As [`Tables::present`].
    pub(super) fn apply(&self, change: &str) -> Result<()> {
        let mut child = Command::new(&self.restore)
            .args(["--noflush", "--wait", LOCKED])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.restore.display()))?;
        if let Some(mut input) = child.stdin.take() {
            // One that ends early says why itself.
            let _ = input.write_all(change.as_bytes());
        }
        text(&self.restore, child.wait_with_output()?)?;
        Ok(())
    }
}

/// Whether x_tables has a nat table here.
fn has_nat(family: Family) -> bool {
    let names = X_TABLES.iter().find(|(of, _)| *of == family).map(|(_, names)| names);
    let names = names.and_then(|names| fs::read_to_string(names).ok()).unwrap_or_default();
    names.lines().any(|name| name == "nat")
}

/// What a program wrote, if it did its work.
fn text(program: &Path, output: Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().replace('\n', "; ");
        bail!("{} failed ({}): {said}", program.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn hint(said: &str) -> &'static str {
    if said.contains("ermission denied") || said.contains("must be root") {
        " (changing redirect rules needs root, or CAP_NET_ADMIN and CAP_NET_RAW)"
    } else {
        ""
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
}
