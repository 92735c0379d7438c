//! The exit codes of every command.

use std::process::ExitCode;

/// All is well.
pub(crate) const FINE: ExitCode = ExitCode::SUCCESS;
/// The command did its work, and what it found is not well.
pub(crate) const FINDINGS: ExitCode = ExitCode::FAILURE;

/// The command could not do its work: a bad command line, or input that cannot be used.
pub(crate) fn bad_input() -> ExitCode {
    // `ExitCode::from` is no const function.
    ExitCode::from(2)
}
