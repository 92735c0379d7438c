//! The last policy that a proxy used, kept in a file: so it starts also while every control plane is away.
//!
//! The file is written beside its place, synced and renamed, so there is the former or the new one and nothing between. It
//! begins with what it is and a checksum; one that is cut, altered or of another form is left aside with a reason, and
//! never more than that. Policy holds paths of private keys, never keys.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use outrigger_config::{
    model::ObjectName,
    wire::{DeltaDiscoveryResponse, Resource, ResourceType},
};
use prost::Message as _;

use super::resources::Held;

/// What the file begins with; the number is that of its form.
const FORM: &[u8] = b"outrigger last-known-good 1\n";
/// Bytes of the checksum after it.
const CHECKSUM: usize = 32;
/// Bytes of the largest file that is read. 10,000 routes are some 15 MiB.
const FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Where it is kept.
#[derive(Clone, Debug)]
pub(super) struct LastKnownGood {
    file: PathBuf,
}

/// Why a file that is there is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Useless {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Too much for a policy.
    #[error("it has more than {FILE_BYTES} bytes")]
    TooLarge,
    /// Another program's, or of another version.
    #[error("it is none, or one of another version")]
    Form,
    /// Cut or altered.
    #[error("its checksum is wrong: it was cut or altered")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("{0}")]
    Content(String),
}

impl LastKnownGood {
    /// That of a Sidecar, in a folder that is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn new(folder: &Path, sidecar: &ObjectName) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { file: folder.join(format!("{}.{}.policy", sidecar.namespace, sidecar.name)) })
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads it; `None`: there is none.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(super) fn load(&self) -> Result<Option<Held>, Useless> {
        match fs::metadata(&self.file) {
            Ok(metadata) if metadata.len() > FILE_BYTES => return Err(Useless::TooLarge),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        parse(&fs::read(&self.file)?).map(Some)
    }

    /// Writes it.
    ///
    /// # Errors
    /// As the system says; then the former one is still there.
    pub(super) fn save(&self, held: &Held) -> io::Result<()> {
        let resources: Vec<Resource> = held.all().map(|(_, resource)| resource).collect();
        let content =
            DeltaDiscoveryResponse { resources, ..DeltaDiscoveryResponse::default() }.encode_to_vec();
        let beside = self.file.with_extension("policy.new");
        let mut file = File::create(&beside)?;
        file.write_all(FORM)?;
        file.write_all(digest::digest(&digest::SHA256, &content).as_ref())?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&beside, &self.file)?;
        match self.file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Held, Useless> {
    let rest = bytes.strip_prefix(FORM).ok_or(Useless::Form)?;
    let (checksum, content) = rest.split_at_checked(CHECKSUM).ok_or(Useless::Checksum)?;
    if digest::digest(&digest::SHA256, content).as_ref() != checksum {
        return Err(Useless::Checksum);
    }
    let message = DeltaDiscoveryResponse::decode(content);
    let message = message.map_err(|error| Useless::Content(error.to_string()))?;
    let mut held = Held::default();
    for resource in &message.resources {
        let url = resource.resource.as_ref().map_or("", |any| &any.type_url);
        let kind = ResourceType::of_type_url(url);
        let kind = kind.ok_or_else(|| Useless::Content(format!("there are no resources of type `{url}`")))?;
        held.put(kind, resource).map_err(|error| Useless::Content(error.to_string()))?;
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::session::tests::{held, sidecar};

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = LastKnownGood::new(&folder.path().join("state"), &sidecar()).unwrap();
        assert!(kept.load().unwrap().is_none());
        kept.save(&held()).unwrap();
        assert_eq!(kept.load().unwrap(), Some(held()));
        let whole = fs::read(kept.file()).unwrap();
        for length in [0, 5, FORM.len(), FORM.len() + CHECKSUM - 1, whole.len() - 1] {
            fs::write(kept.file(), &whole[..length]).unwrap();
            assert!(kept.load().is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(parse(&altered).is_err(), "byte {at}");
        }
        let newer = [b"outrigger last-known-good 2\n", &whole[FORM.len()..]].concat();
        assert!(matches!(parse(&newer), Err(Useless::Form)));
        kept.save(&held()).unwrap();
        assert_eq!(kept.load().unwrap(), Some(held()));
        assert_eq!(fs::read_dir(folder.path().join("state")).unwrap().count(), 1);
    }
}
