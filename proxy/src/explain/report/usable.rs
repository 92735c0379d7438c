//! What an explanation says of which endpoints requests may go to.

use serde::Serialize;

use super::Setting;

/// What leaves endpoints out, and when that does not hold. How they are at the moment is the running proxy's to say.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usable {
    /// `outlierDetection`, field by field.
    pub outlier_detection: Vec<Part>,
    /// `healthCheck`, field by field; empty: there are no checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health_check: Vec<Part>,
    /// `loadBalancer.panicBelow`, in percent.
    pub panic_below: Setting<String>,
}

/// One field of a block.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its name in the block.
    pub name: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub setting: Setting<String>,
}
