//! `outrigger`: the one binary. This file reads the command line and ends the process; each command is a file.
//!
//! Exit codes are part of the interface: 0 fine, 1 findings, 2 usage or bad input.

mod admin;
mod certs;
mod check;
mod control_plane;
mod demo;
mod diff;
mod duration;
mod exit;
mod explain;
mod files;
mod intercept;
mod output;
mod proxy;
mod reference;
mod schema;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator: a proxy allocates small and short-lived things on every worker, where the system's is slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A sidecar service-mesh proxy that runs from one YAML file.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Proxy(proxy::Proxy),
    ControlPlane(control_plane::ControlPlane),
    Check(check::Check),
    Explain(explain::Explain),
    Test(test::Test),
    Diff(diff::Diff),
    Certs(certs::Certs),
    Intercept(intercept::Intercept),
    Reference(reference::Reference),
    Schema(schema::Schema),
}

fn main() -> ExitCode {
    // clap ends the process with 2 on a bad command line, and with 0 after help.
    let outcome = match CommandLine::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Proxy(proxy) => proxy.run(),
        Command::ControlPlane(control_plane) => control_plane.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Test(test) => test.run(),
        Command::Diff(diff) => diff.run(),
        Command::Certs(certs) => certs.run(),
        Command::Intercept(intercept) => intercept.run(),
        Command::Reference(reference) => reference.run(),
        Command::Schema(schema) => schema.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        exit::bad_input()
    })
}
