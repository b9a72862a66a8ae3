//! Tests of `hedgerow quantize` with the real small model.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A test's own folder.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("quantize-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        Self(folder)
    }

    /// Returns the names of its files, without the locks.
    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).expect("the folder is there").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn quantize(model: &Path, out: &Scratch, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("quantize")
        .arg(model)
        .env("HEDGEROW_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/quantize-cache"))
        .args(["--json", "--threads", "1", "--out"])
        .arg(&out.0)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Returns the code of the error with which it was refused.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\nhint: "));
    json(output)["error"]["code"].as_str().expect("an error has a code").to_owned()
}

#[test]
fn makes_checked_files_with_their_precision_and_origin() {
    let Some(model) = support::model() else { return };
    let out = Scratch::new("makes");
    let output = quantize(&model, &out, &["--to", "q8_0,Q3_K_M,q8_0"]);
    let made = json(&output);
    let [eight, three] = made["files"].as_array().expect("files").as_slice() else {
        panic!("two files, one for each precision: {made:#}")
    };
    let stem = model.file_stem().unwrap().to_str().unwrap().rsplit_once('.').unwrap().0.to_owned();
    let expected = |precision: &str| format!("{stem}.{precision}.gguf");
    let mut names = Vec::new();
    for precision in ["Q3_K_M", "Q8_0"] {
        names.extend(["", ".checked.json", ".origin.json"].map(|end| expected(precision) + end));
    }
    assert_eq!(out.files(), names);

    assert_eq!(eight["precision"], "Q8_0");
    assert_eq!(eight["fallbacks"], serde_json::json!([]), "rows of 576 are 18 blocks of Q8_0");
    assert!(eight["tensors"]["Q8_0"]["count"].as_u64() > Some(200), "{eight:#}");
    assert!(eight["bits_per_weight"].as_f64().is_some_and(|bits| (8.5..8.7).contains(&bits)), "{eight:#}");
    let warning = eight["warning"].as_str().expect("Q8_0 made from Q4_1 is no better");
    assert!(warning.contains("Q4_1") && warning.contains("no better"), "{warning}");

    let fallbacks = three["fallbacks"].as_array().expect("a list");
    assert!(fallbacks.len() > 100, "rows of 576 are no whole blocks of 256: {three:#}");
    let of_width = |width: u64| fallbacks.iter().filter(|one| one["columns"] == width).count();
    assert_eq!((of_width(576), of_width(1536)), (fallbacks.len(), 0));
    let count = |kind: &str| three["tensors"][kind]["count"].as_u64().unwrap_or(0);
    let fell_to = |kind: &str| fallbacks.iter().filter(|one| one["got"] == kind).count() as u64;
    assert!(
        fell_to("Q4_0") > 0 && count("Q4_0") == fell_to("Q4_0"),
        "the file's own table says so: {three:#}"
    );

    for file in [eight, three] {
        let checked = std::fs::read_to_string(format!("{}.checked.json", file["path"].as_str().unwrap()));
        assert!(checked.unwrap().contains(file["sha256"].as_str().unwrap()));
    }
    assert_eq!(refused(&quantize(&model, &out, &["--to", "q8_0"])), "file_exists");
    let again = json(&quantize(&model, &out, &["--to", "q8_0", "--force"]));
    assert_eq!(again["files"][0]["sha256"], eight["sha256"]);

    // A file made from that one descends from the same file.
    let second = Path::new(eight["path"].as_str().unwrap());
    let made = json(&quantize(second, &out, &["--to", "q4_0"]));
    let file = &made["files"][0];
    assert_eq!(
        (&file["source"]["precision"], &file["no_better_than"]["precision"]),
        (&"Q8_0".into(), &"Q4_1".into())
    );
}

#[test]
fn an_impossible_precision_is_refused_before_anything_is_written() {
    let Some(model) = support::model() else { return };
    let out = Scratch::new("refused");
    let output = quantize(&model, &out, &["--to", "q8_0,q4"]);
    assert_eq!(refused(&output), "unknown_precision");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`q4`") && said.contains("Q4_K_M, ") && said.contains("F16, "), "{said}");
    // The second is impossible, so the first is not made either.
    assert_eq!(refused(&quantize(&model, &out, &["--to", "q8_0,iq1_s"])), "importance_matrix_needed");
    let text = out.0.join("text.gguf");
    std::fs::write(&text, "dear hedgehog").unwrap();
    assert_eq!(refused(&quantize(&text, &out, &["--to", "q8_0"])), "not_gguf");
    assert_eq!(
        refused(&quantize(Path::new("/no/such.gguf"), &out, &["--to", "q8_0"])),
        "model_file_not_found"
    );
    assert_eq!(out.files(), ["text.gguf"]);
}

#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let Some(model) = support::model() else { return };
    let out = Scratch::new("full");
    // Without the signal, a write beyond the limit fails as one to a full disk does.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 20000; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_hedgerow")])
        .args(["quantize", model.to_str().unwrap(), "--to", "q4_0", "--json", "--threads", "1", "--out"])
        .arg(&out.0)
        .output()
        .expect("the shell starts");
    let code = refused(&output);
    assert!(["quantize_failed", "file_incomplete"].contains(&code.as_str()), "{code}");
    assert_eq!(out.files(), Vec::<String>::new());
}

/// An importance matrix in GGUF: for each tensor a sum by column, larger for later columns, over 10 inputs.
fn matrix(tensors: &[(String, usize)]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((2 * tensors.len() as u64).to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    let mut data = Vec::<u8>::new();
    let mut entry = |name: String, numbers: &[f32]| {
        file.extend((name.len() as u64).to_le_bytes());
        file.extend(name.bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend((numbers.len() as u64).to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    };
    for (name, columns) in tensors {
        let sums: Vec<f32> = (0..*columns).map(|column| (1 + column) as f32).collect();
        entry(format!("{name}.in_sum2"), &sums);
        entry(format!("{name}.counts"), &[10.0]);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

/// The matrices of the small model's layers.
fn layers() -> Vec<(String, usize)> {
    let of_layer = |layer: usize| {
        let wide =
            ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"].map(|name| (name, 576));
        let all = wide.into_iter().chain([("ffn_down", 1536)]);
        all.map(move |(name, columns)| (format!("blk.{layer}.{name}.weight"), columns))
    };
    (0..30).flat_map(of_layer).collect()
}

#[test]
fn an_importance_matrix_is_used_if_it_is_one_of_this_model() {
    let Some(model) = support::model() else { return };
    let out = Scratch::new("importance");
    let path = out.0.join("matrix");
    let with = |arguments: &[&str]| {
        quantize(&model, &out, &[&["--imatrix", path.to_str().unwrap(), "--force"], arguments].concat())
    };
    std::fs::write(&path, matrix(&layers())).unwrap();
    let weighted = json(&with(&["--to", "q5_1"]));
    let plain = json(&quantize(&model, &out, &["--to", "q5_1", "--force"]));
    assert_ne!(weighted["files"][0]["sha256"], plain["files"][0]["sha256"], "it makes a difference");
    assert!(weighted["files"][0]["importance"].as_str().is_some_and(|path| path.ends_with("matrix")));

    let mut narrow = layers();
    narrow[0].1 = 64;
    std::fs::write(&path, matrix(&narrow)).unwrap();
    assert_eq!(refused(&with(&["--to", "q5_1"])), "importance_matrix_of_another_model");
    std::fs::write(&path, matrix(&[("elsewhere.weight".to_owned(), 64)])).unwrap();
    assert_eq!(refused(&with(&["--to", "q5_1"])), "importance_matrix_of_another_model");
    std::fs::write(&path, "not a matrix").unwrap();
    assert_eq!(refused(&with(&["--to", "q5_1"])), "not_an_importance_matrix");
}
