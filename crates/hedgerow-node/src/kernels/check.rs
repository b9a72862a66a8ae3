//! Runs the check: trials in child processes, the plain kernels first, because the scores of the fast ones and of
//! devices are compared with theirs.
//!
//! An error that both kinds of kernels share is detected only if it causes a signal or NaN: there is no third kind to
//! compare with.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hedgerow_llama::Kernels;

use super::Wanted;
use super::child::{self, End, Ended, signal_name};
use super::compare::{ALLOWED, Wrong, compare};
use super::instructions::{compiled_with, instructions};
use super::offload::Offload;
use super::subject::{Cpu, Subject};
use super::trial::Line;
use super::verdict::{FORMAT, Failure, FailureKind, Setup, Trial, Verdict};
use crate::clock::millis_since;

/// Path of the running program, valid even if its file was replaced meanwhile.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Set in a child process, so that a program that takes no trials does not start itself without end.
const IN_A_TRIAL: &str = "HEDGEROW_IN_A_TRIAL";

/// The program that runs trials.
pub(super) struct Program<'a> {
    /// Builds the command that tries a setup.
    pub(super) command: Box<dyn Fn(&Setup) -> Command + 'a>,
    /// Time limit of one trial.
    pub(super) limit: Duration,
    /// The CPU variant to try first; `None`: the one that suits the CPU best.
    pub(super) first: Option<String>,
    /// The variants to try after it, the most demanding first.
    pub(super) others: Vec<String>,
}

impl Program<'_> {
    /// Uses this program itself, for a model file.
    ///
    /// # Errors
    ///
    /// When the file does not exist, or this is a trial already.
    pub(super) fn this(model: &Path, wanted: &Wanted) -> anyhow::Result<Self> {
        anyhow::ensure!(
            std::env::var_os(IN_A_TRIAL).is_none(),
            "this program must call `kernels::run_trial_if_asked` first"
        );
        // The child has another working directory.
        let path = model.canonicalize().with_context(|| format!("reading {}", model.display()))?;
        let bytes = path.metadata().with_context(|| format!("reading {}", model.display()))?.len();
        let engine = wanted.engine;
        let threads = if bytes < ALONE_BYTES { 1 } else { engine.threads };
        let command = move |setup: &Setup| {
            let mut command = Command::new(THIS_PROGRAM);
            command.env(IN_A_TRIAL, "1").arg(super::command::NAME).arg("--model").arg(&path);
            command.args(["--kernels", setup.kernels.name(), "--kv-type", engine.kv_type.name()]);
            command.args(["--threads", &threads.to_string()]);
            command.args(["--ubatch-size", &engine.micro_batch.0.to_string()]);
            command.args(["--flash-attention", &engine.flash_attention.to_string()]);
            if let Some(variant) = &setup.cpu_variant {
                command.args(["--cpu-variant", variant]);
            }
            if let Some(offload) = &setup.offload {
                command.args(offload.arguments());
            }
            command
        };
        let others = if wanted.cpu_variant.is_none() { hedgerow_llama::cpu_variants() } else { Vec::new() };
        Ok(Self {
            command: Box::new(command),
            limit: limit(bytes),
            first: wanted.cpu_variant.clone(),
            others,
        })
    }
}

/// Smaller models are read by one thread: several threads synchronize by spinning, so that on a busy machine they
/// take many times as long as one. The number of threads does not affect which kernels run.
const ALONE_BYTES: u64 = 500_000_000;

/// Time limit of a trial for a model file: enough to read the file from a slow memory card and to compute on a slow
/// board. Only a trial that hangs reaches it.
fn limit(model_bytes: u64) -> Duration {
    Duration::from_secs(120 + model_bytes.div_ceil(10_000_000))
}

/// Tries the plain kernels and then the fast ones, with the subject's layers on devices; in a build with several CPU
/// variants, a failure leads to the next less demanding variant, until fast kernels compute correctly.
pub(super) fn check(subject: Subject, program: &Program<'_>) -> Verdict {
    let started = Instant::now();
    let mut trials = Vec::new();
    let mut usable = None;
    let mut others = program.others.clone();
    let mut next = Some(program.first.clone());
    while let Some(cpu_variant) = next.take() {
        let plain = Setup { kernels: Kernels::Plain, cpu_variant: cpu_variant.clone(), offload: None };
        let fast = Setup { kernels: Kernels::Fast, cpu_variant, offload: subject.offload.clone() };
        let reference = attempt(program, &plain, &subject.cpu, None);
        let may_go_on = reference.trial.failure.as_ref().is_none_or(|failure| failure.kind.is_of_kernels());
        if let Some(loaded) = &reference.loaded_variant
            && let Some(at) = others.iter().position(|other| other == loaded)
        {
            others.drain(..=at);
        }
        let has_reference = reference.scores.is_some();
        if !reference.is_for_another_cpu {
            trials.push(reference.trial);
        }
        if let Some(scores) = &reference.scores {
            let attempt = attempt(program, &fast, &subject.cpu, Some(scores));
            let is_right = attempt.trial.failure.is_none();
            trials.push(attempt.trial);
            if is_right {
                usable = Some(fast);
                break;
            }
        }
        if has_reference && usable.is_none() {
            usable = Some(plain);
        }
        if may_go_on && !others.is_empty() {
            next = Some(Some(others.remove(0)));
        }
    }
    Verdict {
        format: FORMAT.to_owned(),
        subject,
        // A clock before 1970 is not an error.
        checked_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        took_ms: millis_since(started),
        usable,
        trials,
    }
}

type Rows = Vec<Vec<Option<f32>>>;

/// A trial, and data needed only during the check.
struct Attempt {
    trial: Trial,
    /// The model's scores, if the kernels are usable.
    scores: Option<Rows>,
    loaded_variant: Option<String>,
    is_for_another_cpu: bool,
}

/// Tries a setup, and compares its scores with the reference if there is one.
fn attempt(program: &Program<'_>, setup: &Setup, cpu: &Cpu, reference: Option<&Rows>) -> Attempt {
    let started = Instant::now();
    let ended = child::run((program.command)(setup), program.limit);
    let trial = Trial {
        setup: setup.clone(),
        took_ms: millis_since(started),
        instruction_sets: Vec::new(),
        difference: None,
        failure: None,
    };
    let mut attempt = Attempt { trial, scores: None, loaded_variant: None, is_for_another_cpu: false };
    let mut stage = "while llama.cpp started";
    let mut reason = None;
    // Lines that llama.cpp's libraries write to standard output are not JSON and are ignored.
    for line in ended.lines.iter().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        match line {
            Line::Started { instruction_sets, cpu_variant } => {
                stage = "while the model was loaded";
                attempt.trial.instruction_sets = instruction_sets;
                attempt.loaded_variant = cpu_variant;
            }
            Line::Loaded => stage = "while the model read a text",
            Line::Scores(scores) => attempt.scores = Some(scores),
            Line::NotDone(why) => reason = Some(why),
            Line::NotForThisCpu => attempt.is_for_another_cpu = true,
        }
    }
    let sets = &attempt.trial.instruction_sets;
    let failure = match (&attempt.scores, reason) {
        _ if attempt.is_for_another_cpu => None,
        (Some(scores), _) if ended.end == End::Exited(0) => {
            let compared = compare(reference.unwrap_or(scores), scores);
            attempt.trial.difference = match &compared {
                Ok(difference) | Err(Wrong::Far(difference)) if reference.is_some() => Some(*difference),
                Ok(_) | Err(_) => None,
            };
            compared.err().map(|wrong| wrong_scores(setup, wrong, sets))
        }
        (_, Some(why)) if ended.end == End::Exited(0) => {
            Some(failure(FailureKind::NotLoaded, format!("{setup} could not be checked: {why}")))
        }
        (_, _) => Some(bad_end(setup, &ended, stage, sets, cpu)),
    };
    if failure.is_some() {
        attempt.scores = None;
    }
    // A device may compute correctly after an update of its driver, whose version is not always known.
    let may_pass_later = setup.offload.is_some();
    attempt.trial.failure =
        failure.map(|failure| Failure { is_lasting: failure.is_lasting && !may_pass_later, ..failure });
    attempt
}

fn failure(kind: FailureKind, what: String) -> Failure {
    let is_lasting = matches!(kind, FailureKind::NotANumber | FailureKind::WrongNumbers);
    Failure { kind, what, is_lasting }
}

fn wrong_scores(setup: &Setup, wrong: Wrong, sets: &[String]) -> Failure {
    let about = setup.offload.as_ref().map_or_else(|| compiled_with(sets), Offload::drivers);
    match wrong {
        Wrong::NotANumber => {
            failure(FailureKind::NotANumber, format!("{setup} computed what is no finite number ({about})"))
        }
        Wrong::Far(difference) => failure(
            FailureKind::WrongNumbers,
            format!(
                "{setup} computed other numbers than the plain kernels: they differ by {:.2} standard deviations (at \
                 most {} may be), a single one by {:.2} (at most {}) ({about})",
                difference.rms, ALLOWED.rms, difference.largest, ALLOWED.largest
            ),
        ),
        Wrong::OtherCount => {
            failure(FailureKind::WrongNumbers, format!("{setup} gave no scores to compare ({about})"))
        }
    }
}

fn bad_end(setup: &Setup, ended: &Ended, stage: &str, sets: &[String], cpu: &Cpu) -> Failure {
    let complaint = match ended.complaint.lines().last() {
        Some(last) => format!("; its last words: {last}"),
        None => String::new(),
    };
    match &ended.end {
        End::Signal(signal) if child::is_own_fault(*signal) => Failure {
            kind: FailureKind::Signal,
            what: format!(
                "{setup} died by {} {stage} ({}){complaint}",
                signal_name(*signal),
                setup.offload.as_ref().map_or_else(|| instructions(sets, cpu), Offload::drivers)
            ),
            is_lasting: child::is_lasting(*signal),
        },
        End::Signal(signal) => failure(
            FailureKind::Killed,
            format!("{setup} could not be checked: the check was killed by {} {stage}", signal_name(*signal)),
        ),
        End::TimedOut(limit) => failure(
            FailureKind::TimedOut,
            format!(
                "{setup} could not be checked: after {} s the check was still not done, {stage}",
                limit.as_secs()
            ),
        ),
        End::NotStarted(why) => failure(
            FailureKind::NotRun,
            format!("{setup} could not be checked: the check could not be started: {why}"),
        ),
        End::Exited(code) => failure(
            FailureKind::NotRun,
            format!("{setup} could not be checked: the check ended with {code}{complaint}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::offload::tests::offload;
    use super::super::subject::tests::subject;
    use super::*;

    const STARTED: &str =
        r#"echo '{"started":{"instruction_sets":["AVX512","AMX_INT8"],"cpu_variant":null}}'"#;
    const LOADED: &str = r#"echo '"loaded"'"#;
    const RIGHT: &str = r#"echo '{"scores":[[1.0,2.0,3.5,-4.0]]}'"#;

    /// Runs a real child for each setup: a shell script.
    fn program(script: impl Fn(&Setup) -> String + 'static, others: &[&str]) -> Program<'static> {
        let command = move |setup: &Setup| {
            let mut command = Command::new("sh");
            command.args(["-c", &script(setup)]);
            command
        };
        let others = others.iter().map(|&name| name.to_owned()).collect();
        Program { command: Box::new(command), limit: Duration::from_secs(60), first: None, others }
    }

    /// Verdict with correct plain kernels, and fast ones that run `script`.
    fn with_fast(script: &'static str) -> Verdict {
        let script = move |setup: &Setup| match setup.kernels {
            Kernels::Plain => format!("{STARTED}; {LOADED}; {RIGHT}"),
            Kernels::Fast => format!("{STARTED}; {LOADED}; {script}"),
        };
        check(subject(), &program(script, &[]))
    }

    fn kernels(verdict: &Verdict) -> Option<(Kernels, Option<&str>)> {
        verdict.usable.as_ref().map(|setup| (setup.kernels, setup.cpu_variant.as_deref()))
    }

    fn failure(verdict: &Verdict) -> &Failure {
        verdict.first_failure().expect("something failed")
    }

    #[test]
    fn fast_kernels_that_say_the_same_are_used() {
        let verdict = with_fast(r#"echo '{"scores":[[1.01,2.0,3.49,-4.0]]}'"#);
        assert_eq!(kernels(&verdict), Some((Kernels::Fast, None)));
        assert!(verdict.first_failure().is_none() && verdict.is_lasting());
        let difference = verdict.trials[1].difference.unwrap();
        assert!(difference.rms > 0.0 && difference.rms < 0.01, "{difference:?}");
        assert_eq!(verdict.trials[0].difference, None, "there is nothing to compare the plain ones with");
    }

    #[test]
    fn fast_kernels_that_die_of_an_illegal_instruction_are_named_with_their_instruction_sets() {
        let verdict = with_fast("echo trouble >&2; kill -ILL $$");
        assert_eq!(kernels(&verdict), Some((Kernels::Plain, None)));
        let failure = failure(&verdict);
        assert_eq!((failure.kind, failure.is_lasting), (FailureKind::Signal, true));
        assert_eq!(
            failure.what,
            "the fast kernels died by SIGILL (illegal instruction) while the model read a text (compiled with AVX512, \
             AMX_INT8; this CPU, Test CPU, lacks AVX512, AMX_INT8); its last words: trouble"
        );
    }

    #[test]
    fn scores_that_are_not_numbers_or_other_numbers_are_told_apart() {
        let verdict = with_fast(r#"echo '{"scores":[[null,null,null,null]]}'"#);
        assert_eq!(
            (kernels(&verdict), failure(&verdict).kind),
            (Some((Kernels::Plain, None)), FailureKind::NotANumber)
        );
        let verdict = with_fast(r#"echo '{"scores":[[3.5,-4.0,1.0,2.0]]}'"#);
        assert_eq!(failure(&verdict).kind, FailureKind::WrongNumbers);
        assert!(verdict.trials[1].difference.unwrap().rms > ALLOWED.rms && verdict.is_lasting());
        assert!(failure(&verdict).what.contains("AMX_INT8"), "{}", failure(&verdict).what);
    }

    /// Verdict with correct plain kernels, and layers on a device that run `script`.
    fn with_device(script: &'static str) -> Verdict {
        let script = move |setup: &Setup| match &setup.offload {
            None => format!("{STARTED}; {LOADED}; {RIGHT}"),
            Some(_) => format!("{STARTED}; {LOADED}; {script}"),
        };
        let mut subject = subject();
        subject.offload = Some(offload());
        check(subject, &program(script, &[]))
    }

    #[test]
    fn layers_on_a_device_are_compared_with_the_plain_kernels() {
        let verdict = with_device(r#"echo '{"scores":[[1.01,2.0,3.49,-4.0]]}'"#);
        assert_eq!(verdict.usable.as_ref().unwrap().offload, Some(offload()));
        assert!(verdict.first_failure().is_none() && verdict.is_lasting());
        assert!(verdict.trials[0].setup.offload.is_none(), "the reference is computed on the CPU");
        assert!(verdict.trials[1].difference.unwrap().rms > 0.0);
    }

    #[test]
    fn a_device_that_fails_is_named_with_its_driver_and_checked_again_at_the_next_start() {
        for (script, kind, what) in [
            (
                "kill -SEGV $$",
                FailureKind::Signal,
                "31 layers on Vulkan0 (Test GPU) died by SIGSEGV (wrong memory) while the model read a text (driver: \
                 Test driver)",
            ),
            (
                r#"echo '{"scores":[[null,null,null,null]]}'"#,
                FailureKind::NotANumber,
                "31 layers on Vulkan0 (Test GPU) computed what is no finite number (driver: Test driver)",
            ),
            (
                r#"echo '{"scores":[[3.5,-4.0,1.0,2.0]]}'"#,
                FailureKind::WrongNumbers,
                "31 layers on Vulkan0 (Test GPU) computed other numbers than the plain kernels: they differ by ",
            ),
            (
                r#"echo '{"not_done":"the device Vulkan0 is not here"}'"#,
                FailureKind::NotLoaded,
                "31 layers on Vulkan0 (Test GPU) could not be checked: the device Vulkan0 is not here",
            ),
        ] {
            let verdict = with_device(script);
            assert_eq!((kernels(&verdict), failure(&verdict).kind), (Some((Kernels::Plain, None)), kind));
            assert!(failure(&verdict).what.starts_with(what), "{}", failure(&verdict).what);
            assert!(!verdict.is_lasting(), "{script}");
        }
    }

    #[test]
    fn what_may_be_different_next_time_is_not_lasting() {
        for (script, kind) in [
            ("kill -KILL $$", FailureKind::Killed),
            ("kill -TERM $$", FailureKind::Killed),
            ("kill -ABRT $$", FailureKind::Signal),
            ("exit 7", FailureKind::NotRun),
            (r#"echo '{"not_done":"no memory"}'"#, FailureKind::NotLoaded),
        ] {
            let verdict = with_fast(script);
            assert_eq!(
                (kernels(&verdict), failure(&verdict).kind),
                (Some((Kernels::Plain, None)), kind),
                "{script}"
            );
            assert!(!verdict.is_lasting(), "{script}");
        }
    }

    #[test]
    fn a_trial_that_hangs_is_ended_and_the_plain_kernels_are_used() {
        let script = |setup: &Setup| match setup.kernels {
            Kernels::Plain => format!("{STARTED}; {LOADED}; {RIGHT}"),
            Kernels::Fast => format!("{STARTED}; sleep 1000"),
        };
        let program = Program { limit: Duration::from_secs(1), ..program(script, &[]) };
        let verdict = check(subject(), &program);
        assert_eq!(
            (kernels(&verdict), failure(&verdict).kind),
            (Some((Kernels::Plain, None)), FailureKind::TimedOut)
        );
        assert!(failure(&verdict).what.contains("while the model was loaded"), "{}", failure(&verdict).what);
    }

    #[test]
    fn nothing_is_usable_where_the_plain_kernels_die_too_and_the_fast_ones_are_not_tried() {
        let verdict = check(subject(), &program(|_| "kill -ILL $$".to_owned(), &[]));
        assert_eq!((verdict.usable.as_ref(), verdict.trials.len()), (None, 1));
        assert!(
            failure(&verdict).what.contains("while llama.cpp started (compiled "),
            "{}",
            failure(&verdict).what
        );
        let verdict = check(subject(), &program(|_| r#"echo '{"scores":[[null]]}'"#.to_owned(), &[]));
        assert_eq!((verdict.usable.as_ref(), failure(&verdict).kind), (None, FailureKind::NotANumber));
    }

    #[test]
    fn of_several_cpu_variants_the_next_less_demanding_one_is_tried() {
        let started = |variant: &str| {
            format!(r#"echo '{{"started":{{"instruction_sets":["X"],"cpu_variant":"{variant}"}}}}'"#)
        };
        let script = move |setup: &Setup| match (setup.cpu_variant.as_deref(), setup.kernels) {
            // The best-suited variant is `new`; its fast kernels crash.
            (None, Kernels::Plain) => format!("{}; {RIGHT}", started("new")),
            (None, Kernels::Fast) => "kill -ILL $$".to_owned(),
            // The CPU does not support this variant.
            (Some("other"), _) => r#"echo '"not_for_this_cpu"'"#.to_owned(),
            (Some("old"), _) => format!("{}; {RIGHT}", started("old")),
            (variant, _) => panic!("{variant:?} is not to be tried"),
        };
        let verdict = check(subject(), &program(script, &["newest", "new", "other", "old", "oldest"]));
        assert_eq!(kernels(&verdict), Some((Kernels::Fast, Some("old"))));
        assert_eq!((failure(&verdict).kind, verdict.trials.len()), (FailureKind::Signal, 4));
    }

    #[test]
    fn where_no_variant_has_fast_kernels_that_work_the_plain_ones_of_the_best_are_used() {
        let script = |setup: &Setup| match setup.kernels {
            Kernels::Plain => RIGHT.to_owned(),
            Kernels::Fast => "kill -SEGV $$".to_owned(),
        };
        let verdict = check(subject(), &program(script, &["old", "oldest"]));
        assert_eq!((kernels(&verdict), verdict.trials.len()), (Some((Kernels::Plain, None)), 6));
    }

    #[test]
    fn a_larger_model_may_take_longer() {
        assert_eq!(limit(0), Duration::from_secs(120));
        assert_eq!(limit(4_000_000_000), Duration::from_secs(520));
    }

    #[test]
    fn a_model_that_is_not_there_is_an_error() {
        let engine = crate::kernels::tests::engine();
        let wanted = Wanted { choice: crate::config::KernelChoice::Auto, cpu_variant: None, engine };
        assert!(Program::this(&PathBuf::from("/no/such/model.gguf"), &wanted).is_err());
    }
}
