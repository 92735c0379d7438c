//! The files that policy names (certificates, keys): their contents as they were read, and which files each of the last
//! policies names, so that a change of one of them is noticed as a change of the policy is.
//!
//! Contents live as long as a policy is taken up and are in no error and no log.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use outrigger_config::model::Resources;

/// Bytes of one named file. A bundle of every public authority is a quarter of a MiB.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The files that resources name, in their order, each once.
pub(super) fn paths(resources: &Resources) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let tls = resources.destinations.iter().filter_map(|destination| destination.tls.as_ref());
    for (_, file) in tls.flat_map(|tls| tls.files()) {
        let path = file.located();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// What named files held at one moment.
pub(super) struct Contents(Vec<(PathBuf, Held)>);

/// The bytes, or why there are none: kind and text of the error, which can be given out more than once.
type Held = Result<Vec<u8>, (io::ErrorKind, String)>;

impl Contents {
    /// Reads them.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let read = |path: &PathBuf| {
            let bytes = read(path).map_err(|error| (error.kind(), error.to_string()));
            (path.clone(), bytes)
        };
        Self(paths.iter().map(read).collect())
    }

    /// What one of them held, or why that is not known.
    ///
    /// # Errors
    /// As reading it gave.
    pub(super) fn of(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes.clone()),
            Some((_, Err((kind, text)))) => Err(io::Error::new(*kind, text.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A number that differs when contents differ. Not for anything that an attacker chooses.
    pub(super) fn signature(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, bytes) in &self.0 {
            path.hash(&mut hasher);
            bytes.as_ref().map_err(|(_, text)| text).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    // A pipe would keep the reader waiting.
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    if metadata.len() > FILE_BYTES {
        return Err(io::Error::other(format!("more than {FILE_BYTES} bytes")));
    }
    fs::read(path)
}

/// Which files the policy in use names, and the one that was looked at last; each policy by its own signature.
#[derive(Debug, Default)]
pub(super) struct Named {
    in_use: Option<(u64, Vec<PathBuf>)>,
    judged: Option<(u64, Vec<PathBuf>)>,
}

impl Named {
    /// A policy names these.
    pub(super) fn judge(&mut self, policy: u64, paths: Vec<PathBuf>) {
        self.judged = Some((policy, paths));
    }

    /// The policy that was judged last is in use.
    pub(super) fn take_up(&mut self) {
        self.in_use.clone_from(&self.judged);
    }

    /// What a policy names, as far as it is known: nothing of one that was not judged.
    pub(super) fn of(&self, policy: u64) -> Vec<PathBuf> {
        let known = [&self.judged, &self.in_use].into_iter().flatten().find(|(of, _)| *of == policy);
        known.map(|(_, paths)| paths.clone()).unwrap_or_default()
    }

    /// Every file whose change matters.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        [&self.in_use, &self.judged].into_iter().flatten().flat_map(|(_, paths)| paths.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_tell_contents_and_their_lack_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let now = || Contents::read(std::slice::from_ref(&path)).signature();
        let missing = now();
        fs::write(&path, "a").unwrap();
        let first = now();
        fs::write(&path, "b").unwrap();
        assert!(missing != first && first != now());
        fs::write(&path, "a").unwrap();
        assert_eq!(first, now());
    }

    #[test]
    fn what_is_no_file_or_too_much_of_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let huge = folder.path().join("huge.pem");
        fs::File::create(&huge).unwrap().set_len(FILE_BYTES + 1).unwrap();
        let contents = Contents::read(&[folder.path().to_path_buf(), huge.clone()]);
        assert_eq!(contents.of(folder.path()).unwrap_err().to_string(), "not a file");
        assert!(contents.of(&huge).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn the_policy_in_use_is_known_while_others_are_judged() {
        let mut named = Named::default();
        named.judge(1, vec!["a".into()]);
        named.take_up();
        named.judge(2, vec!["b".into()]);
        named.judge(3, Vec::new());
        assert_eq!(named.of(1), [PathBuf::from("a")]);
        assert!(named.of(2).is_empty());
        assert_eq!(named.all(), [PathBuf::from("a")]);
    }
}
