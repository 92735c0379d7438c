//! The policy model of Outrigger: policy files in, checked and compiled resources out. No I/O, no clock, no network.
//!
//! The way of a policy, one direction: bytes -> `yaml` nodes with places -> `schema` objects, by `convert` -> `validate`
//! across objects -> [`Policy`] -> `compile` for one Sidecar -> [`model::Resources`], which the proxy reads.
//!
//! ```
//! let text = b"apiVersion: outrigger.dev/v1alpha1
//! kind: MeshService
//! metadata: {name: reviews}
//! spec:
//!   ports: [{port: 80, protocl: http2}]
//!   endpoints: [{address: \"127.0.0.1:9000\"}]
//! ";
//! let file = outrigger_config::SourceFile { path: "reviews.yaml".to_owned(), text: text.to_vec() };
//! let checked = outrigger_config::check(vec![file]);
//! assert_eq!(checked.errors(), 1);
//! assert_eq!(checked.findings[0].to_string(),
//!     "reviews.yaml:5:22: error[OR110] spec.ports[0].protocl: unknown field `protocl`");
//! ```

pub mod model;
pub mod wire;

mod cases;
mod check;
mod compile;
mod convert;
mod diagnostic;
mod diff;
mod duration;
mod objects;
mod policy;
mod protocol;
mod read;
mod reference;
mod references;
mod schema;
mod services;
mod spiffe;
mod suggest;
mod unsupported;
mod validate;
mod yaml;

pub use cases::{Case, CaseRequest, CheckedCases, Expected, read_cases};
pub use check::{Checked, check};
pub use diagnostic::{Code, Finding, Related, Severity};
pub use diff::{Change, ChangeKind, FieldChange, SidecarDiff};
pub use duration::{format_duration, parse_duration};
pub use policy::{CompileError, Policy};
pub use reference::{FieldReference, KindReference, ObjectReference, reference, referenced_kinds};
pub use schema::{KINDS, json_schema};
pub use spiffe::{SpiffeId, SpiffeIdFlaw};
pub use suggest::nearest;

/// One policy file: its name as the user gave it, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name that findings show.
    pub path: String,
    /// The content.
    pub text: Vec<u8>,
}
