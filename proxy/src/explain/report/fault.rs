//! What an explanation says of faults that are made on purpose.

use serde::Serialize;

use super::Setting;

/// What is done to the request on purpose.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// A pause before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultShare>,
    /// An answer instead of the service's: `503`, `grpc-14`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultShare>,
    /// The request header by which a request may ask for a fault itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Setting<String>>,
    /// The longest delay that it may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Setting<String>>,
    /// What this request asks for by that header, instead of all shares: `delay 200ms, abort 503`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// A fault that some requests get.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultShare {
    /// What it is.
    pub what: Setting<String>,
    /// How many of the requests get it.
    pub percent: Setting<f64>,
    /// Whether this one does; absent where only dice would tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit: Option<bool>,
}
