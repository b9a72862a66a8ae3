//! The page `docs/reference/configuration.md`: every key of `config/default.toml`, with its comment, default, flag and
//! environment variable. A test keeps the page equal; `UPDATE_EXPECT=1 cargo test --release -p hedgerow-node --lib
//! reference` writes it anew.

use expect_test::expect_file;

use super::args::KEYS;
use super::layers::DEFAULTS;

const HEAD: &str = "# Configuration

Made from `config/default.toml`, the defaults themselves. A flag overrides the environment, which overrides the configuration file
(`--config`, or `~/.config/hedgerow/config.toml`, or `/etc/hedgerow/hedgerow.toml`), which overrides the defaults. `hedgerow config`
prints the values in effect and where each comes from.
";

fn page() -> String {
    let mut text = HEAD.to_owned();
    let (mut section, mut comment, mut is_table) = (String::new(), Vec::new(), false);
    for line in DEFAULTS.lines().skip_while(|line| !line.is_empty()) {
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            text.push_str(&format!("\n## {name}\n\n"));
            if !comment.is_empty() {
                text.push_str(&format!("{}\n\n", comment.join(" ")));
            }
            comment.clear();
            is_table = false;
        } else if let Some((key, default)) = line.split_once(" = ") {
            if !is_table {
                text.push_str("| key | what | default | flag | environment |\n|---|---|---|---|---|\n");
                is_table = true;
            }
            let own = KEYS.iter().filter(|(_, of, name)| *of == section && *name == key);
            let flags: Vec<&str> = own.map(|(flag, ..)| *flag).filter(|flag| *flag != "model_flag").collect();
            let name = |prefix: &str, name: String| format!("`{prefix}{name}`");
            let long =
                flags.iter().map(|flag| name("--", flag.replace('_', "-"))).collect::<Vec<_>>().join(", ");
            let env = flags
                .iter()
                .map(|flag| name("HEDGEROW_", flag.to_uppercase()))
                .collect::<Vec<_>>()
                .join(", ");
            text.push_str(&format!("| `{key}` | {} | `{default}` | {long} | {env} |\n", comment.join(" ")));
            comment.clear();
        } else if line.is_empty() {
            comment.clear();
        }
    }
    text
}

#[test]
fn the_page_of_keys_is_as_the_defaults_have_them() {
    expect_file!["../../../../docs/reference/configuration.md"].assert_eq(&page());
}
