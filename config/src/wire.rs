//! Policy on its way from a control plane to a proxy: the messages of `proto/`, and what they are in the model.
//!
//! Both directions are whole: a resource that was encoded decodes to one that is equal, places included, and a field that
//! is added on either side does not compile until the other has it. Bytes are the same for equal resources, so that
//! their hash can be their version. What cannot be decoded names the resource, the field and the reason. Messages alone:
//! no transport, no state of a stream.

mod destination;
mod endpoints;
mod field;
mod mesh;
mod route;
mod settings;
mod workload;

#[cfg(test)]
mod tests;

use prost::Message;

use self::field::Field;
use crate::model::{Destination, Endpoints, MeshConfig, Workload};

/// The generated messages, by package.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

pub use generated::{
    envoy::{
        config::core::v3::{ControlPlane, Node},
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource},
    },
    google::rpc::Status,
};
pub use prost_types::Any;

/// The messages of the model.
use generated::outrigger::discovery::v1 as proto;

/// The types of resources, in the order in which a proxy needs them: what is pointed at comes before what points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// [`MeshConfig`]: one, named `default`.
    MeshConfig,
    /// [`Endpoints`], named `namespace/name:port`.
    Endpoints,
    /// [`Destination`], named `namespace/name`.
    Destination,
    /// [`Workload`], named `namespace/name`.
    Workload,
}

impl ResourceType {
    /// Every type, in order.
    pub const ALL: [Self; 4] = [Self::MeshConfig, Self::Endpoints, Self::Destination, Self::Workload];

    /// The type as metrics and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::MeshConfig => "mesh_config",
            Self::Endpoints => "endpoints",
            Self::Destination => "destination",
            Self::Workload => "workload",
        }
    }

    /// The type as the protocol has it.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::MeshConfig => "type.googleapis.com/outrigger.discovery.v1.MeshConfig",
            Self::Endpoints => "type.googleapis.com/outrigger.discovery.v1.Endpoints",
            Self::Destination => "type.googleapis.com/outrigger.discovery.v1.Destination",
            Self::Workload => "type.googleapis.com/outrigger.discovery.v1.Workload",
        }
    }

    /// The type of a type URL; `None`: none of ours.
    pub fn of_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.type_url() == url)
    }
}

/// The name of the one [`MeshConfig`].
pub const MESH_CONFIG: &str = "default";

/// Why a resource cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} `{resource}`: {}{reason}", .kind.word(), at(.field))]
pub struct DecodeError {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub resource: String,
    /// The path of the field, such as `ports[0].settings.retry.attempts`; empty: the whole.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

fn at(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

/// A resource of the model, as it travels.
pub trait Travels: Sized {
    /// Its type.
    const TYPE: ResourceType;

    /// The name under which it travels.
    fn wire_name(&self) -> String;

    /// The message, in bytes that are equal for equal resources.
    fn encode(&self) -> Vec<u8>;

    /// Reads it from bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn decode(name: &str, bytes: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! travels {
    ($($type:ident: $name:expr;)*) => {$(
        impl Travels for $type {
            const TYPE: ResourceType = ResourceType::$type;

            fn wire_name(&self) -> String {
                let name: fn(&Self) -> String = $name;
                name(self)
            }

            fn encode(&self) -> Vec<u8> {
                let message: proto::$type = self.put();
                message.encode_to_vec()
            }

            fn decode(name: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
                let fail = |field: String, reason: String| DecodeError {
                    kind: Self::TYPE,
                    resource: name.to_owned(),
                    field,
                    reason,
                };
                let message = proto::$type::decode(bytes).map_err(|error| fail(String::new(), error.to_string()))?;
                let decoded = Self::take(message).map_err(|fault| fail(fault.path, fault.reason))?;
                let own = decoded.wire_name();
                match own == name {
                    true => Ok(decoded),
                    false => Err(fail("name".to_owned(), format!("it calls itself `{own}`"))),
                }
            }
        }
    )*};
}

travels! {
    MeshConfig: |_| MESH_CONFIG.to_owned();
    Endpoints: |endpoints| endpoints.service.to_string();
    Destination: |destination| destination.name.to_string();
    Workload: |workload| workload.name.to_string();
}
