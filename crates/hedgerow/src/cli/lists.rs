//! Flags that take a list: separated by commas, by repeating the flag, or as several values after one flag, as a
//! shell expands `*.gguf`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
#[cfg(feature = "lab")]
use hedgerow_lab::commands::can_be_of as is_lab_value;

/// Rewrites `--list a b` as `--list a --list b`. The values of a list end at another flag, at `--`, or at an argument
/// that cannot be a value of the list, such as a command's positional file.
pub(super) fn spread(words: impl Iterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut words = words.peekable();
    let mut spread: Vec<OsString> = words.next().into_iter().collect();
    let mut command = command;
    while let Some(word) = words.next() {
        if word == "--" {
            spread.push(word);
            spread.extend(words);
            break;
        }
        if let Some(inner) = command.find_subcommand(&word) {
            command = inner;
        }
        let list =
            command.get_arguments().find(|arg| is_list(arg) && long(arg).is_some_and(|it| word == *it));
        spread.push(word.clone());
        let Some(list) = list else { continue };
        let Some(first) = words.next() else { break };
        spread.push(first);
        while let Some(next) = words.next_if(|next| !is_flag(next) && can_be_of(list, next)) {
            spread.extend([word.clone(), next]);
        }
    }
    spread
}

/// Whether a flag takes several values.
pub(super) fn is_list(arg: &Arg) -> bool {
    arg.get_value_delimiter() == Some(',') && !arg.is_positional()
}

fn long(arg: &Arg) -> Option<String> {
    arg.get_long().map(|name| format!("--{name}"))
}

fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// Whether an argument could be one or several values of this list.
fn can_be_of(list: &Arg, word: &OsStr) -> bool {
    // Any name is accepted: it cannot be distinguished from the command's argument, which comes before the flag.
    ["also", "models"].contains(&list.get_id().as_str())
        || word.to_str().is_some_and(|word| is_lab_value(list.get_id().as_str(), word))
}

/// Without the lab, `--also` is the only list.
#[cfg(not(feature = "lab"))]
fn is_lab_value(_list: &str, _word: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread_of(line: &str) -> String {
        let command = crate::cli::command();
        let words = spread(line.split(' ').map(OsString::from), &command);
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// Every flag of every command.
    fn flags(command: &Command, found: &mut Vec<Arg>) {
        found.extend(command.get_arguments().cloned());
        command.get_subcommands().for_each(|inner| flags(inner, found));
    }

    #[test]
    fn several_values_of_a_list_become_repeated_flags() {
        for (line, expected) in [
            ("hedgerow serve m --also a b", "hedgerow serve m --also a --also b"),
            ("hedgerow serve m --also a b --port 0", "hedgerow serve m --also a --also b --port 0"),
            ("hedgerow serve --also a,b c -- m", "hedgerow serve --also a,b --also c -- m"),
            ("hedgerow serve m --also=a", "hedgerow serve m --also=a"),
            (
                "hedgerow simulate --policy exact fifo s.toml",
                "hedgerow simulate --policy exact --policy fifo s.toml",
            ),
            ("hedgerow simulate --policy exact,fifo s.toml", "hedgerow simulate --policy exact,fifo s.toml"),
            ("hedgerow quantize --to q8_0 q4_0 m.gguf", "hedgerow quantize --to q8_0 --to q4_0 m.gguf"),
            ("hedgerow bench serve --rate 1 2 4", "hedgerow bench serve --rate 1 --rate 2 --rate 4"),
            ("hedgerow figures --only a d paper", "hedgerow figures --only a --only d paper"),
            ("hedgerow plan --seeds 1 2", "hedgerow plan --seeds 1 --seeds 2"),
        ] {
            assert_eq!(spread_of(line), expected);
        }
    }

    #[test]
    fn every_list_can_be_distinguished_from_the_arguments_after_it() {
        let mut all = Vec::new();
        flags(&crate::cli::command(), &mut all);
        let lists: Vec<&Arg> = all.iter().filter(|arg| is_list(arg)).collect();
        assert!(lists.len() > 12, "{} lists", lists.len());
        for list in lists {
            // This panics for a list flag that is not handled.
            let takes_a_file = can_be_of(list, OsStr::new("some/file.toml"));
            assert_eq!(takes_a_file, list.get_id() == "also", "--{}", list.get_id());
        }
    }
}
