//! `outrigger schema`: the JSON Schema of a kind, for editors and for other tools.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::exit;

/// Print the JSON Schema (draft 2020-12) of a kind of policy object.
#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// The kind.
    #[arg(value_parser = PossibleValuesParser::new(outrigger_config::KINDS))]
    kind: String,
}

impl Schema {
    /// Prints the schema on standard output.
    ///
    /// # Errors
    /// When there is no such kind, which the command line has ruled out.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let schema = outrigger_config::json_schema(&self.kind)
            .ok_or_else(|| anyhow::anyhow!("there is no kind `{}`", self.kind))?;
        // `schema | head` closes the pipe early.
        let _ = io::stdout().write_all(format!("{schema:#}\n").as_bytes());
        Ok(exit::FINE)
    }
}
