//! The page `docs/reference/cli.md`: every command and flag, as the command line declares them. A test keeps the page
//! equal; `UPDATE_EXPECT=1 cargo test --release -p hedgerow --lib reference` writes it anew.

use clap::{Arg, Command};
use expect_test::expect_file;

const HEAD: &str =
    "# Commands\n\nMade from the program's own declarations; `hedgerow COMMAND --help` says the same.\n";

fn page(command: &Command) -> String {
    let mut text = HEAD.to_owned();
    section(command, "hedgerow", &mut text);
    text
}

fn section(command: &Command, name: &str, text: &mut String) {
    if name != "hedgerow" {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n## {name}\n\n{}.\n", cell(&about).trim_end_matches('.')));
        let shown: Vec<&Arg> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
        if !shown.is_empty() {
            text.push_str("\n| argument | what | default | environment |\n|---|---|---|---|\n");
            shown.into_iter().for_each(|arg| text.push_str(&row(arg)));
        }
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        section(inner, &format!("{name} {}", inner.get_name()), text);
    }
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn row(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str());
    let values =
        if arg.get_action().takes_values() { values.collect::<Vec<_>>().join(" ") } else { String::new() };
    let names = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    let argument = format!("{names} {values}");
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let choices = arg.get_possible_values();
    let names: Vec<&str> =
        choices.iter().filter(|choice| !choice.is_hide_set()).map(|choice| choice.get_name()).collect();
    let choices = if names.is_empty() || !arg.get_action().takes_values() {
        String::new()
    } else {
        format!(" One of {}.", names.join(", "))
    };
    let defaults: Vec<_> = match arg.is_hide_default_value_set() || !arg.get_action().takes_values() {
        true => Vec::new(),
        false => arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect(),
    };
    let default = defaults.join(",");
    let env = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let what = cell(&help);
    let what = if choices.is_empty() { what } else { format!("{}.{choices}", what.trim_end_matches('.')) };
    format!("| {} | {what} | {} | {} |\n", code(&cell(&argument)), code(&default), code(&env))
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_page_of_commands_is_as_the_command_line_declares_them() {
    let mut command = super::command();
    command.build();
    expect_file!["../../../../docs/reference/cli.md"].assert_eq(&page(&command));
}
