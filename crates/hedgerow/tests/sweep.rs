//! Tests of `hedgerow sweep` and `hedgerow figures` as programs: killed, resumed, and identical to the byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SWEEP: &str = r#"
scenario = "paper.toml"
seeds = 6
policies = ["dftsp", "static:8"]

[set]
requests = 2000

[grid]
"users.rate_per_s" = [20, 40]
"#;

fn hedgerow() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program was built for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Creates an empty folder for a test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hedgerow-cli-sweep-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_killed_sweep_resumes_and_ends_with_the_same_bytes() {
    let folder = folder("killed");
    std::fs::write(folder.join("paper.toml"), include_str!("../../../scenarios/paper.toml")).unwrap();
    let sweep = folder.join("sweep.toml");
    std::fs::write(&sweep, SWEEP).unwrap();
    let (whole, killed) = (folder.join("whole"), folder.join("killed"));
    let printed = run(hedgerow().arg("sweep").arg(&sweep).arg("--out").arg(&whole)).stdout;

    let mut command = hedgerow();
    command.arg("sweep").arg(&sweep).args(["--jobs", "1", "--out"]).arg(&killed).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let journal = killed.join("sweep.jsonl");
    let begun = Instant::now();
    // Its first line is not a cell.
    while std::fs::read_to_string(&journal).unwrap_or_default().lines().count() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no cell was played");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("cells.csv").exists(), "it was to be killed in the middle");

    let resumed = run(hedgerow().arg("sweep").arg(&sweep).arg("--out").arg(&killed));
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("of 24 cells were done before"));
    assert_eq!(resumed.stdout, printed);
    assert!(files(&whole) == files(&killed), "the files differ");
    assert_eq!(files(&whole).len(), 5);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_mistake_in_a_sweep_is_reported_with_a_hint() {
    let folder = folder("mistake");
    std::fs::write(folder.join("paper.toml"), include_str!("../../../scenarios/paper.toml")).unwrap();
    let sweep = folder.join("sweep.toml");
    std::fs::write(&sweep, SWEEP.replace("rate_per_s", "rate_per_sec")).unwrap();
    let output = hedgerow().arg("sweep").arg(&sweep).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("where users.rate_per_sec = 20: unknown key") && said.contains("rate_per_s`"),
        "{said}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn figures_are_the_same_to_the_byte_on_one_thread_and_on_two() {
    let folder = folder("figures");
    for (which, only, names) in
        [("paper", "b,d", ["b-latency", "d-search"]), ("beyond", "f,j", ["f-protocol", "j-wrong"])]
    {
        let made = |jobs: &str| {
            let out = folder.join(which).join(jobs);
            let quick = ["--quick", "6", "--only", only, "--jobs", jobs];
            run(hedgerow().args(["figures", which]).args(quick).arg("--out").arg(&out));
            files(&out)
        };
        let files = made("1");
        assert!(files == made("2"), "{which}: the files differ");
        for name in names {
            assert!(files[&format!("{name}.svg")].starts_with(b"<svg"), "{name}");
            assert!(files[&format!("{name}.png")].starts_with(b"\x89PNG"), "{name}");
            assert!(files[&format!("{name}.csv")].len() > 500, "{name}");
        }
        // Nor does a figure depend on which others are made.
        let (second, alone) = (names[1], folder.join(which).join("alone"));
        let letter = &second[..1];
        let quick = ["--quick", "6", "--only", letter, "--out"];
        run(hedgerow().args(["figures", which]).args(quick).arg(&alone));
        let svg = format!("{second}.svg");
        assert!(std::fs::read(alone.join(&svg)).unwrap() == files[&svg], "{svg} differs");
        let report = String::from_utf8_lossy(&files["report.html"]);
        assert_eq!(report.matches("<figure").count(), 2);
        assert!(!report.contains("src=") && !report.contains("href="), "it needs nothing else");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
