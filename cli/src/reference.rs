//! `outrigger reference`: kinds, fields, findings and pages of the reference on the terminal.
//!
//! Kinds are told from the schema of this very binary; the other pages are those of `docs/reference/`, which a test holds
//! equal to the code. This file finds what is asked for; [`kind`] puts a kind into text.

mod kind;
mod topics;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;

use crate::exit;

/// Look up a kind, a field, a finding or a page of the reference.
///
/// Such as `TrafficPolicy`, `TrafficPolicy.spec.retry` or a field as a finding names it (`HTTPRoute.spec.rules[0].name`),
/// `OR145`, `errors`. Ends with 2 if there is no such thing.
#[derive(Debug, clap::Args)]
pub(crate) struct Reference {
    /// What to look up [default: what there is].
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

impl Reference {
    /// Prints the topic on standard output.
    ///
    /// # Errors
    /// When there is no such topic.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let text = match &self.topic {
            None => topics::overview(),
            Some(topic) => topics::find(topic)?,
        };
        // `reference | head` closes the pipe early.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(exit::FINE)
    }
}

#[cfg(test)]
mod tests;
