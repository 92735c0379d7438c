//! Where policy comes from: files and folders, followed while they change; or a control plane.

pub mod client;
pub mod local;

mod last_known_good;
mod prepare;
mod resources;
mod session;
pub(crate) mod watch;
