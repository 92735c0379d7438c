//! Where policy comes from: files and folders, followed while they change.

pub mod local;

pub(crate) mod watch;
