//! Tests of `hedgerow plan` for devices of the table, and for this machine once its model is measured.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;

/// Locked for writing while this machine is measured: concurrent simulations would disturb the measurement.
static MEASURING: RwLock<()> = RwLock::new(());

fn while_nothing_is_measured() -> RwLockReadGuard<'static, ()> {
    MEASURING.read().unwrap_or_else(PoisonError::into_inner)
}

fn run(cache: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    if let Some(cache) = cache {
        command.env("HEDGEROW_CACHE", cache);
    }
    command.args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("hedgerow writes UTF-8")
}

fn hedgerow(cache: Option<&Path>, arguments: &[&str]) -> String {
    let output = run(cache, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn mistake(arguments: &[&str]) -> String {
    let output = run(None, &[&["plan"], arguments].concat());
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    text(&output.stderr)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const SHORT: [&str; 6] = ["--duration", "20s", "--seeds", "1,2", "--resolution", "0.1"];

#[test]
fn a_model_of_70_billion_weights_is_planned_for_on_several_accelerators_as_an_estimate() {
    let _turn = while_nothing_is_measured();
    let asked =
        ["plan", "llama-2-70b", "--device", "rtx a6000", "--accelerators", "4", "--precisions", "q8_0,q4_0"];
    let picture = std::env::temp_dir().join(format!("hedgerow-plan-{}.svg", std::process::id()));
    let plot = ["--plot", picture.to_str().expect("a plain path")];
    let plan = json(&hedgerow(None, &[&asked[..], &SHORT, &plot, &["--json"]].concat()));
    assert_eq!((&plan["model"], &plan["place"]["is_estimate"]), (&"Llama-2-70B".into(), &true.into()));
    let sets = plan["sets"].as_array().expect("a list of sets");
    let rates: Vec<f64> = sets.iter().map(|set| set["rate_per_s"].as_f64().expect("a rate")).collect();
    assert!(rates.len() == 2 && rates[1] > rates[0], "half of the bytes are read faster: {rates:?}");
    assert_eq!((&sets[0]["is_best"], &sets[1]["is_best"]), (&false.into(), &true.into()));
    let curve = sets[1]["curve"].as_array().expect("a curve");
    let attained = |point: &Value| point["attainment"].as_f64().expect("a part");
    assert!(
        curve.iter().any(|point| attained(point) >= 0.9) && curve.iter().any(|point| attained(point) < 0.9)
    );
    assert!(std::fs::read_to_string(&picture).expect("it was drawn").starts_with("<svg"));
    std::fs::remove_file(picture).expect("it is there");
    let table = hedgerow(None, &[&asked[..], &SHORT].concat());
    assert!(table.contains("Llama-2-70B on 4 x RTX A6000, estimated at 100 %"), "{table}");
    assert!(table.lines().any(|line| line.starts_with(" >  Q4_0 ") && line.contains('~')), "{table}");
    assert!(table.contains("~ estimate by the roofline"), "{table}");
}

/// A trace of ten requests per second for two minutes.
fn trace() -> String {
    let row = |index: u32| format!("2023-11-16 18:{:02}:{:02}.0,1000,200\n", index / 600, index / 10 % 60);
    (0..1200).map(row).fold("TIMESTAMP,ContextTokens,GeneratedTokens\n".into(), |all, row| all + &row)
}

#[test]
fn bursty_arrivals_and_traces_can_be_planned_for() {
    let _turn = while_nothing_is_measured();
    let file = std::env::temp_dir().join(format!("hedgerow-plan-{}.csv", std::process::id()));
    std::fs::write(&file, trace()).expect("it can be written");
    let from = format!("trace:{}", file.to_str().expect("a plain path"));
    let asked = ["plan", "llama-3-8b", "--device", "rtx a6000", "--precisions", "q4_0"];
    let rate = |more: &[&str]| {
        let seeds = ["--seeds", "1,2,3,4,5,6,7,8", "--resolution", "0.1", "--json"];
        let plan = json(&hedgerow(None, &[&asked[..], &seeds, more].concat()));
        plan["sets"][0]["rate_per_s"].as_f64().expect("a rate")
    };
    // With few requests at once, so that bursts do not average out.
    let small = ["--efficiency", "0.3", "--parallel", "2", "--duration", "400s"];
    let bursty = [&small[..], &["--arrivals", "gamma:0.1"]].concat();
    let (bursty, even) = (rate(&bursty), rate(&small));
    assert!(bursty < 0.75 * even, "bursts take more room: {bursty} of {even}");
    let slow = ["--arrivals", &from, "--scale-output", "2", "--efficiency", "0.2", "--duration", "20s"];
    assert!(rate(&slow) <= 10.0, "no more comes than in the trace");
    let table = hedgerow(None, &[&asked[..], &slow].concat());
    assert!(table.contains("as in the trace, questions of 1 and answers of 2 times"), "{table}");
    let said = mistake(&[&asked[1..], &SHORT, &["--arrivals", &from, "--scale-prompt", "0.1"]].concat());
    assert!(said.contains("requests a second are still answered in time"), "{said}");
    assert!(mistake(&[&asked[1..], &["--max-prompt", "9"]].concat()).contains("there is none"));
    std::fs::remove_file(file).expect("it is there");
}

#[test]
fn an_impossible_plan_is_refused_with_a_hint() {
    let _turn = while_nothing_is_measured();
    let device = ["--device", "rtx a6000"];
    let with = |arguments: &[&'static str]| mistake(&[arguments, &device].concat());
    let said = with(&["llama-2-70b", "--precisions", "f16"]);
    assert!(said.contains("F16 does not fit: its weights take 137.95 GB, and there are 48.00 GB"), "{said}");
    assert!(said.contains("hint: raise --memory-gb or --accelerators"), "{said}");
    assert!(with(&["llama-2-70"]).contains("did you mean `Llama-2-70B`?"));
    assert!(
        with(&["llama-3-8b", "--attainment", "0"])
            .contains("'--attainment <PART>': must be a number from 0.000001 to 1")
    );
    assert!(with(&["llama-3-8b", "--precisions", "w4a16"]).contains("`W4A16` is no precision"));
    assert!(
        with(&["llama-3-8b", "--classes", "nowhere.toml"])
            .contains("cannot read the classes in nowhere.toml")
    );
    assert!(
        with(&["llama-3-8b", "--memory-gb", "0"])
            .contains("'--memory-gb <GB>': must be a number from 0.001 to")
    );
    assert!(mistake(&["llama-3-8b", "--device", "rtx 409"]).contains("did you mean `RTX 4090`?"));
    assert!(
        mistake(&["llama-3-8b", "--device", "Jetson AGX Thor 128GB"])
            .contains("nothing is known of the arithmetic")
    );
}

/// Short requests, with enough time for a machine that also does other work.
const CLASSES: &str = "[[class]]\nname = \"short\"\npart = 1\nprompt_tokens = [10, 20]\noutput_tokens = [4, 8]\n\
                       deadline_ms = 60000\n";

#[test]
fn this_machine_can_be_planned_for_once_its_model_is_measured() {
    let Some(model) = support::model() else { return };
    let _alone = MEASURING.write().unwrap_or_else(PoisonError::into_inner);
    let cache = std::env::temp_dir().join(format!("hedgerow-plan-cache-{}", std::process::id()));
    let model = model.to_str().expect("a plain path");
    let setup = ["--parallel", "2", "--ctx-size", "1024", "--prefill-chunk", "64"];
    std::fs::create_dir_all(&cache).expect("it can be made");
    let classes = cache.join("mix.toml");
    std::fs::write(&classes, CLASSES).expect("it can be written");
    let classes = classes.to_str().expect("a plain path");
    let asked = [&["plan", model, "--classes", classes][..], &setup, &SHORT].concat();
    let before = run(Some(&cache), &asked);
    let said = text(&before.stderr);
    assert!(said.contains("was not measured on this machine for 2 requests of 512 tokens at once"), "{said}");
    assert!(said.contains("hint: `hedgerow profile "), "{said}");

    hedgerow(Some(&cache), &[&["profile", model][..], &setup].concat());
    let table = hedgerow(Some(&cache), &asked);
    assert!(table.contains("on this machine (") && table.contains("hedgerow serve "), "{table}");
    let plan = |more: &[&str]| json(&hedgerow(Some(&cache), &[&asked[..], more, &["--json"]].concat()));
    let set = &plan(&["--rate", "0.05"])["sets"][0];
    // The node that `serve` would build: two slots of 512 tokens at 23,040 bytes.
    assert_eq!((&set["kv_bytes"], &set["max_parallel"]), (&(1024 * 23_040).into(), &2.into()));
    assert_eq!(set["curve"][0]["rate_per_s"], 0.05, "the requested rate is simulated too");
    let rate = |plan: &Value| plan["sets"][0]["rate_per_s"].as_f64().expect("a rate");
    assert!(
        rate(&plan(&["--slowdown", "2"])) < rate(&plan(&[])),
        "an engine that takes twice as long serves fewer"
    );
    assert!(mistake(&[model, "--kv-block", "16"]).contains("--kv-block is about a device of the table"));
    std::fs::remove_dir_all(cache).expect("it was made");
}
