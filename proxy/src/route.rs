//! Route rules compiled for matching: conditions, header changes, and the table that finds the rule for a request.

pub(crate) mod call;
pub(crate) mod matcher;
pub(crate) mod modifier;
pub(crate) mod rewrite;
mod server_names;
mod table;

pub use modifier::Modifier;
pub use rewrite::Redirection;
pub use server_names::ServerNames;
pub use table::RouteTable;
