//! PEM files that policy names: certificates, keys and authorities, and what is said of a file that is of no use.
//!
//! Contents are secret: they are in no error and no dump. What the certificates say is for others to judge.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use outrigger_config::model::{FileRef, Origin};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Bytes of one file. A bundle of every public authority is a quarter of a MiB.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A file, or the lack of one, that policy names in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Where policy names it.
    pub(crate) origin: Origin,
    /// The field that names it.
    pub(crate) field: String,
    /// What is wrong, with the file's path.
    pub(crate) message: String,
    /// What helps.
    pub(crate) help: &'static str,
}

/// Reads files and follows what they hold.
pub(crate) struct Reader<R> {
    read: R,
    /// The field whose members name the files.
    within: &'static str,
    contents: DefaultHasher,
}

impl<R: Fn(&Path) -> io::Result<Vec<u8>>> Reader<R> {
    /// Reads files that the members of the field `within` name, by `read`.
    pub(crate) fn new(within: &'static str, read: R) -> Self {
        Self { read, within, contents: DefaultHasher::new() }
    }

    /// A number that differs when what was read so far differs. Not for anything that an attacker chooses.
    pub(crate) fn signature(&self) -> u64 {
        self.contents.finish()
    }

    /// The certificates of a file, in their order; at least one.
    pub(crate) fn certificates(
        &mut self,
        field: &str,
        file: &FileRef,
    ) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let bytes = self.bytes(field, file)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let help = "PEM: blocks that begin with `-----BEGIN CERTIFICATE-----`";
        match read {
            Ok(certificates) if certificates.is_empty() => {
                Err(self.unusable(field, file, "the file holds no certificate", help))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.unusable(field, file, &error.to_string(), help)),
        }
    }

    /// The first private key of a file.
    pub(crate) fn key(&mut self, field: &str, file: &FileRef) -> Result<PrivateKeyDer<'static>, Unusable> {
        let bytes = self.bytes(field, file)?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            let help = "PEM, not encrypted: a block that begins with `-----BEGIN PRIVATE KEY-----`";
            self.unusable(field, file, "the file holds no private key", help)
        })
    }

    fn bytes(&mut self, field: &str, file: &FileRef) -> Result<Vec<u8>, Unusable> {
        match (self.read)(&file.located()) {
            Ok(bytes) => {
                self.contents.write(&bytes);
                self.contents.write_usize(bytes.len());
                Ok(bytes)
            }
            Err(error) => {
                let what = error.to_string();
                self.contents.write(what.as_bytes());
                self.contents.write_usize(usize::MAX);
                let help = match error.kind() {
                    io::ErrorKind::NotFound => "a relative path is taken from the folder of the policy file",
                    io::ErrorKind::PermissionDenied => "let the proxy's user read it",
                    _ => "check the file",
                };
                Err(self.unusable(field, file, &what, help))
            }
        }
    }

    /// Says of a file why it is of no use.
    pub(crate) fn unusable(&self, field: &str, file: &FileRef, what: &str, help: &'static str) -> Unusable {
        Unusable {
            origin: file.origin.clone(),
            field: format!("{}.{field}", self.within),
            message: format!("{}: {what}", file.located().display()),
            help,
        }
    }
}

/// What named files held at one moment.
pub(crate) struct Contents(Vec<(PathBuf, Held)>);

/// The bytes, or why there are none: kind and text of the error, which can be given out more than once.
type Held = Result<Vec<u8>, (io::ErrorKind, String)>;

impl Contents {
    /// Reads them, each at once.
    pub(crate) fn read(paths: &[PathBuf]) -> Self {
        let read = |path: &PathBuf| {
            let bytes = read_file(path).map_err(|error| (error.kind(), error.to_string()));
            (path.clone(), bytes)
        };
        Self(paths.iter().map(read).collect())
    }

    /// The files that were read.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    /// Those of other files too.
    pub(crate) fn and(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// What one of them held, or why that is not known.
    ///
    /// # Errors
    /// As reading it gave.
    pub(crate) fn of(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes.clone()),
            Some((_, Err((kind, text)))) => Err(io::Error::new(*kind, text.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A number that differs when contents differ. Not for anything that an attacker chooses.
    pub(crate) fn signature(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, bytes) in &self.0 {
            path.hash(&mut hasher);
            bytes.as_ref().map_err(|(_, text)| text).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Reads a file, if it is one and not too much of one.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
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
        assert_eq!(read_file(folder.path()).unwrap_err().to_string(), "not a file");
        assert!(read_file(&huge).unwrap_err().to_string().contains("more than"));
    }
}
