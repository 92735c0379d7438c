//! Why policy could not be had from where it should come from, or a control plane not be started, each with its remedy.

use std::{io, net::SocketAddr, path::PathBuf};

/// A failure of a policy source. Its text is one line, and ends with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The path names nothing.
    #[error("{}: no such file or folder; check the path after -f", .0.display())]
    Missing(PathBuf),
    /// This user may not read it.
    #[error("{}: permission denied; let this user read it (chmod, chown), or run as one who may", .0.display())]
    Forbidden(PathBuf),
    /// The folder holds nothing that is read.
    #[error("{}: no policy file in this folder; policy files end in .yaml, .yml or .json", .0.display())]
    Empty(PathBuf),
    /// The file is larger than any policy.
    #[error("{}: {size} bytes, the limit of a policy file is {limit}; split it, or check the path after -f", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Anything else that the system says.
    #[error("{}: {source}; check the path after -f", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SourceError {
    /// The error for what the system said about a path.
    pub(crate) fn of(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            io::ErrorKind::PermissionDenied => Self::Forbidden(path),
            _ => Self::Read { path, source },
        }
    }
}

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another address, or stop who has it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
