//! The forms in which commands that read something write it: one list of words for all of them.

use anyhow::Result;
use serde::Serialize;

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// Everything, in a stable form.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    /// The value in this form; `table` makes that for people.
    ///
    /// # Errors
    /// When the value cannot be serialized.
    pub(crate) fn of(self, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<String> {
        Ok(match self {
            Output::Table => table(),
            Output::Json => serde_json::to_string_pretty(value)? + "\n",
            Output::Yaml => serde_yaml::to_string(value)?,
        })
    }
}
