//! `hedgerow pull`: fetches a model once, so that serving needs no network.

use std::path::PathBuf;

use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_node::models::{self, Bar, FetchOptions, FetchedModel, GgufSummary, ModelError, ModelSource};
use indicatif::HumanBytes;
use serde::Serialize;

/// The arguments of `hedgerow pull`.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// `smollm2-135m-instruct`, a .gguf file, or a Hugging Face repository like `org/name:Q4_K_M`
    #[arg(default_value = models::BUILTIN_MODELS[0].name)]
    pub(crate) model: String,

    /// The file to take from the repository, where its name alone is ambiguous
    #[arg(long, value_name = "FILE")]
    pub(crate) hf_file: Option<String>,

    /// Print one JSON object: the model, or an `error` with its code and hint
    #[arg(long, conflicts_with = "path_only")]
    pub(crate) json: bool,

    /// Print the file's path and nothing else, for scripts
    #[arg(long)]
    pub(crate) path_only: bool,

    /// Never use the network; fail unless the model is here
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    pub(crate) offline: bool,

    /// Read the whole file and compare its checksum, even if that was done before
    #[arg(long)]
    pub(crate) verify: bool,

    /// Fetch the model even if it is here
    #[arg(long, conflicts_with = "offline")]
    pub(crate) force: bool,

    /// Keep models in this folder [default: $HEDGEROW_CACHE, else $XDG_CACHE_HOME/hedgerow, else ~/.cache/hedgerow]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache_dir: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    model: &'a FetchedModel,
    gguf: &'a GgufSummary,
}

/// What `--json` prints instead when there is no model, so that a script need not parse text.
#[derive(Serialize)]
struct PrintedError {
    error: PrintedCause,
}

#[derive(Serialize)]
struct PrintedCause {
    code: &'static str,
    message: String,
    hint: String,
}

/// Fetches the model, checks that it is complete, and prints its path.
pub(crate) fn run(args: &PullArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let bar = Bar::new(console.notes);
    let outcome = pull(args, &bar);
    bar.finish();
    if let (true, Err(error)) = (args.json, &outcome) {
        let error = PrintedCause { code: error.code(), message: error.to_string(), hint: error.hint() };
        console.print_line(serde_json::to_string_pretty(&PrintedError { error })?)?;
    }
    let (model, gguf) = outcome?;
    let text = if args.path_only {
        format!("{}\n", model.path.display())
    } else if args.json {
        serde_json::to_string_pretty(&Printed { model: &model, gguf: &gguf })? + "\n"
    } else {
        describe(&model, &gguf)
    };
    console.print(text)
}

fn pull(args: &PullArgs, bar: &Bar<'_>) -> Result<(FetchedModel, GgufSummary), ModelError> {
    let source = args.model.parse::<ModelSource>()?.with_file(args.hf_file.as_deref())?;
    let mut options = FetchOptions::from_environment()?;
    if let Some(folder) = &args.cache_dir {
        options = options.with_cache_folder(folder);
    }
    options.offline = args.offline;
    options.verify = args.verify;
    options.force = args.force;
    let model = models::fetch(&source, &options, &|progress| bar.show(progress))?;
    let gguf = models::validate_gguf(&model.path)?;
    Ok((model, gguf))
}

/// Formats the human-readable output.
fn describe(model: &FetchedModel, gguf: &GgufSummary) -> String {
    let size = format!("{} ({} bytes)", HumanBytes(model.bytes), model.bytes);
    let tensors: Vec<String> =
        gguf.tensor_types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let lines = [
        ("model", model.name.clone()),
        ("path", model.path.display().to_string()),
        ("size", size),
        ("sha256", model.sha256.clone().unwrap_or_else(|| "not compared; --verify works it out".to_owned())),
        ("quantization", gguf.quantization.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("tensors", tensors.join(", ")),
        ("from", format!("{}{}", model.origin, if model.from_cache { ", already here" } else { "" })),
    ];
    lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_text_output_has_size_checksum_and_origin() {
        let model = FetchedModel {
            name: "tiny".to_owned(),
            path: "/models/tiny.gguf".into(),
            bytes: 2048,
            sha256: Some("ab".to_owned()),
            from_cache: true,
            origin: "Python package tiny 1.0 (Apache-2.0)".to_owned(),
        };
        let gguf = GgufSummary {
            version: 3,
            architecture: Some("llama".to_owned()),
            name: None,
            context_tokens: Some(2048),
            cache_numbers: None,
            layers: None,
            hidden: None,
            experts_used: None,
            quantization: Some("Q4_1".to_owned()),
            tensor_count: 3,
            tensor_types: BTreeMap::from([("F32".to_owned(), 1), ("Q4_1".to_owned(), 2)]),
            chat_template: None,
            file_bytes: 2048,
        };
        let expected = "\
model         tiny
path          /models/tiny.gguf
size          2.00 KiB (2048 bytes)
sha256        ab
quantization  Q4_1
tensors       1 F32, 2 Q4_1
from          Python package tiny 1.0 (Apache-2.0), already here
";
        assert_eq!(describe(&model, &gguf), expected);
    }
}
