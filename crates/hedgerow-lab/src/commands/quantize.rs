//! `hedgerow quantize`: stores a model in fewer bits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow_node::catalogue;
use hedgerow_node::console::Console;
use hedgerow_node::models::{self, Bar, FetchOptions, ModelSource};
use hedgerow_node::quantize::{self, Job, Made, QuantizeError};
use hedgerow_workload::hint::hinted;
use indicatif::HumanBytes;
use serde_json::json;

/// The arguments of `hedgerow quantize`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  hedgerow quantize model.F16.gguf --to q8_0,q4_0,q3_k_m\n\nA model that is \
quantized already can be the source too; what was lost stays lost, and each file says so."
)]
pub struct QuantizeArgs {
    /// The model: smollm2-135m-instruct, a .gguf file, or a Hugging Face repository as org/repo:QUANT
    model: String,
    /// The precisions to make: f16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, q3_k_m, q2_k, … (a wrong one lists all)
    #[arg(long, value_name = "PRECISION", value_delimiter = ',', required = true)]
    to: Vec<String>,
    /// Importance matrix of this model, as llama.cpp's llama-imatrix writes it (GGUF)
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Folder for the new files [default: the source's, or that of the models if the source is a repository's]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Make a file again that is there already
    #[arg(long)]
    force: bool,
    /// Threads; 0: one for each core
    #[arg(short = 't', long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: u32,
    /// Never use the network to get the model
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Print one JSON object: the files, or an `error` with its code and hint
    #[arg(long)]
    json: bool,
}

/// Makes every requested precision.
pub fn run(args: &QuantizeArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let bar = Bar::new(console.notes);
    let made = make(args, &bar);
    bar.finish();
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            let (code, hint) = (error.code(), error.hint());
            if args.json {
                let error = json!({ "error": { "code": code, "message": error.to_string(), "hint": hint } });
                console.print_line(format!("{error:#}"))?;
            }
            return Err(hinted(error, hint));
        }
    };
    catalogue::note(&made.iter().map(|made| made.path.as_path()).collect::<Vec<_>>(), console.notes);
    let text = if args.json {
        serde_json::to_string_pretty(&json!({ "files": made }))? + "\n"
    } else {
        made.iter().map(describe).collect::<Vec<_>>().join("\n")
    };
    console.print(text)
}

fn make(args: &QuantizeArgs, bar: &Bar<'_>) -> Result<Vec<Made>, QuantizeError> {
    let mut precisions =
        args.to.iter().map(|name| quantize::precision(name.trim())).collect::<Result<Vec<_>, _>>()?;
    let mut seen = std::collections::BTreeSet::new();
    precisions.retain(|precision| seen.insert(*precision));
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    let source: ModelSource = args.model.parse()?;
    let fetched = models::fetch(&source, &options, &|progress| bar.show(progress))?;
    let beside =
        || fetched.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = match (&args.out, &source) {
        (Some(folder), _) => folder.clone(),
        (None, ModelSource::HuggingFace { .. }) => options.models.clone(),
        (None, ModelSource::Builtin(_) | ModelSource::Path(_)) => beside().to_owned(),
    };
    let job = Job::new(fetched, folder, args.imatrix.as_deref(), args.threads, args.force)?;
    let planned = job.plan(&precisions)?;
    planned.iter().map(|planned| planned.run(&|progress| bar.show(progress))).collect()
}

/// Formats the human-readable output.
fn describe(made: &Made) -> String {
    let bytes = HumanBytes(made.origin.bytes);
    let mix: Vec<String> = made
        .tensors
        .iter()
        .map(|(kind, share)| format!("{} {kind} ({})", share.count, HumanBytes(share.bytes)))
        .collect();
    let mut lines = vec![
        ("precision", format!("{}, {:.2} bits a weight", made.origin.precision, made.bits_per_weight)),
        ("path", made.path.display().to_string()),
        ("size", format!("{bytes} ({} bytes)", made.origin.bytes)),
        ("sha256", made.origin.sha256.clone()),
        ("tensors", mix.join(", ")),
        ("from", format!("{}, {}", made.origin.source.name, made.origin.source.precision)),
    ];
    lines.extend(made.origin.importance.as_ref().map(|path| ("importance", path.clone())));
    if let Some(text) = fell_back(made) {
        lines.push(("fallback", text));
    }
    lines.extend(made.warning.as_ref().map(|text| ("warning", text.clone())));
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name:<14}{value}").expect("text can be written");
        text
    })
}

/// Describes the fallbacks, such as
/// `210 tensors are Q4_0 and not Q3_K, because rows of 576 numbers do not fill its blocks (…)`.
fn fell_back(made: &Made) -> Option<String> {
    let mut groups: BTreeMap<(&str, &str, u64), Vec<&str>> = BTreeMap::new();
    for one in &made.origin.fallbacks {
        groups.entry((&one.wanted, &one.got, one.columns)).or_default().push(&one.tensor);
    }
    let line = |((wanted, got, columns), names): (&(&str, &str, u64), &Vec<&str>)| {
        let named: Vec<&str> = names.iter().copied().take(2).collect();
        let more = if names.len() > named.len() { ", …" } else { "" };
        let is = if names.len() == 1 { "tensor is" } else { "tensors are" };
        format!(
            "{} {is} {got} and not {wanted}, because rows of {columns} numbers do not fill its blocks \
             ({}{more})",
            names.len(),
            named.join(", ")
        )
    };
    let lines: Vec<String> = groups.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n              "))
}
