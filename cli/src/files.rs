//! Policy files as commands read them: all of them together, without an error, or a report of what is wrong.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use outrigger_config::{Policy, SourceFile};
use outrigger_control_plane::source;

/// A policy without errors, of these files and of `extra`, which stands on no disk. Warnings are `outrigger check`'s to tell.
///
/// # Errors
/// When a file cannot be read or has an error; the text is the report.
pub(crate) fn policy(paths: &[PathBuf], extra: Option<SourceFile>) -> Result<Policy> {
    let mut files = source::read(paths)?;
    files.extend(extra);
    of(paths, files)
}

/// The policy of files that were read from these paths.
///
/// # Errors
/// When one has an error; the text is the report.
pub(crate) fn of(paths: &[PathBuf], files: Vec<SourceFile>) -> Result<Policy> {
    let checked = outrigger_config::check(files);
    let findings = checked.render_text(false);
    match checked.policy {
        Some(policy) => Ok(policy),
        None => bail!("{}: this policy has errors\n\n{}", names(paths), findings.trim_end()),
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| Path::display(path).to_string()).collect::<Vec<_>>().join(", ")
}

/// Takes what stands after the files of `-f` and belongs to no option: `-f PATH... A B` has one meaning where `A B` must
/// be there. `given` are those that stand elsewhere on the command line.
pub(crate) fn split_off(files: &mut Vec<PathBuf>, given: Vec<String>, wanted: usize) -> Vec<String> {
    let missing = wanted.saturating_sub(given.len());
    let after = files.split_off(files.len().saturating_sub(missing));
    given.into_iter().chain(after.into_iter().map(|path| path.display().to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_files_is_no_file() {
        let split = |files: &[&str], given: &[&str]| {
            let mut files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            let rest = split_off(&mut files, given.iter().map(ToString::to_string).collect(), 2);
            (files.len(), rest.join(" "))
        };
        assert_eq!(split(&["a", "b", "GET", "/"], &[]), (2, "GET /".to_owned()));
        assert_eq!(split(&["a"], &["GET", "/"]), (1, "GET /".to_owned()));
        assert_eq!(split(&["a", "/"], &["GET"]), (1, "GET /".to_owned()));
        assert_eq!(split(&["GET"], &[]), (0, "GET".to_owned()));
    }
}
