//! The page of the command line, from the command line itself.

use clap::{Arg, Command, CommandFactory};

use crate::CommandLine;

pub(super) fn page() -> String {
    let mut page =
        "# Commands\n\nExit codes: 0 fine, 1 findings, 2 a bad command line or input that cannot be used.\n"
            .to_owned();
    let mut root = CommandLine::command();
    root.build();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        page.push_str(&one(command));
    }
    page
}

fn one(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let about =
        command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut text =
        format!("\n## `outrigger {}`\n\n{}\n\n```sh\n{usage}\n```\n", command.get_name(), about.trim());
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|argument| argument.get_id() != "help").collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
        arguments.iter().for_each(|one| text.push_str(&argument(one)));
    }
    text
}

fn argument(argument: &Arg) -> String {
    let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = value.map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" "));
    let mut name: Vec<String> = Vec::new();
    name.extend(argument.get_short().map(|short| format!("-{short}")));
    name.extend(argument.get_long().map(|long| format!("--{long}")));
    let mut name = name.join(", ");
    if let Some(value) = value {
        name = format!("{name} {value}").trim().to_owned();
    }
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    if !meaning.ends_with(['.', ']']) {
        meaning.push('.');
    }
    let defaults = argument.get_default_values().iter().filter(|_| argument.get_action().takes_values());
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() {
        meaning.push_str(&format!(" Default: `{}`.", defaults.join(" ")));
    }
    for value in argument.get_possible_values().iter().filter(|_| argument.get_action().takes_values()) {
        let about = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        meaning.push_str(&format!("<br>`{}`{about}", value.get_name()));
    }
    format!("| `{name}` | {} |\n", meaning.replace('|', "\\|").replace('\n', " "))
}
