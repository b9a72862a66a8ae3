//! Determines how fast an engine is on this machine: measured once, saved, and checked again at each start.
//!
//! - takes: an engine with no open requests, and its subject: machine, model file, setup
//! - gives: a [`Profile`]: step times for the `measured` cost model, load time and memory
//! - never: serves; never fails because a file is damaged or cannot be written
//!
//! Read [`Profiler::profile`] first.

mod check;
mod disturbance;
mod file;
mod measure;
#[cfg(test)]
mod slowed;
mod subject;

use std::fmt;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use check::Verdict;
use file::Circumstances;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::engine::{Engine, Sampling};
use indicatif::{ProgressBar, ProgressStyle};
use measure::{Measured, Progress, Stage};

use crate::clock::millis_since;
use crate::config::{Config, SamplingDefaults};
use crate::host::{self, Cpus, Noise, Root, Snapshot};
use crate::loading::{LoadedModel, Memory};
use crate::models;
use crate::sample::TEXT;
use crate::service_manager;

pub use disturbance::Disturbance;
pub use file::{Profile, ResultStore};
pub use measure::Probe;
pub use subject::EngineSetup;
pub use subject::{Accelerators, ModelFile, Subject};

/// Looks up or measures the speed of an engine.
#[derive(Debug)]
pub struct Profiler {
    store: ResultStore,
    subject: Subject,
    probe: Probe,
    load_ms: u64,
    memory: Memory,
    /// Root of the counters that show whether other work disturbs a measurement, and the CPUs they are read for.
    host: Root,
    cpus: Vec<u32>,
}

/// A profile, and whether it was just measured.
#[derive(Debug)]
pub struct Known {
    /// The profile, saved or just measured.
    pub profile: Profile,
    /// Whether it was just measured; otherwise it was read from its file.
    pub is_new: bool,
    /// Whether the profile is saved for the next start.
    pub is_saved: bool,
}

impl Profiler {
    /// Builds a profiler for a loaded model and an engine that will be created from the configuration.
    ///
    /// # Errors
    ///
    /// When there is no cache folder, or the model file can no longer be read.
    pub fn new(loaded: &LoadedModel, config: &Config) -> anyhow::Result<Self> {
        let text = loaded.model.tokenize(TEXT, false, false);
        anyhow::ensure!(!text.is_empty(), "the model's vocabulary has no English, so it cannot be measured");
        let chunk = config.engine.prefill_chunk;
        let options = crate::engine_setup::engine_options(config);
        Ok(Self {
            store: ResultStore::new(models::cache_folder()?.join("profiles")),
            subject: Subject::of(&loaded.model, &loaded.path, &options, chunk)?,
            probe: Probe { text, sampling: usual(&config.sampling), prefill_chunk: chunk },
            load_ms: loaded.load_ms,
            memory: loaded.memory,
            host: Root::system(),
            cpus: Cpus::read(&Root::system()).fast,
        })
    }

    /// Path of the profile, whether or not it exists.
    pub fn path(&self) -> PathBuf {
        self.store.path(&self.subject)
    }

    /// Returns the saved profile; logs the reason if its file is unusable.
    pub fn saved(&self) -> Option<Profile> {
        self.store.find(&self.subject).unwrap_or_else(|why| {
            let path = self.path();
            tracing::warn!("the saved profile {} is not used: {why}; measuring again", path.display());
            None
        })
    }

    /// Returns the saved profile, unless a quick check proves it wrong; otherwise measures and saves. A profile whose
    /// measurement was disturbed is measured again as soon as a start finds the machine quiet or faster.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    pub fn profile(&self, engine: &mut dyn Engine) -> anyhow::Result<Known> {
        let Some(profile) = self.saved() else { return self.measure(engine) };
        let (verdict, noise) = self.listen(|| {
            check::check(engine, &self.probe, &profile.cost).context("checking the engine's speed")
        });
        let verdict = verdict?;
        let hint = "`hedgerow profile --force` measures again";
        if let Some(was) = &profile.disturbed {
            let is_faster = matches!(verdict, Verdict::Faster(_) | Verdict::Wrong(_));
            if is_faster || !noise.is_loud() {
                tracing::info!(
                    "the saved profile was measured while the machine was busy ({was}); measuring again"
                );
                return self.measure(engine);
            }
            tracing::warn!(
                "the saved profile was measured while the machine was busy ({was}), and it still is ({noise}): it is \
                 used for now, and a start on a quiet machine measures again"
            );
            return Ok(Known { profile, is_new: false, is_saved: true });
        }
        match verdict {
            Verdict::Fits => {}
            Verdict::Slower(by) => tracing::warn!(
                "steps take {by:.1} times as long as in the saved profile: if the machine is not just busy, {hint}"
            ),
            Verdict::Faster(by) => tracing::warn!(
                "the machine is {by:.1} times as fast as in its saved profile, so fewer requests are admitted than \
                 could be; {hint}"
            ),
            Verdict::Wrong(by) => {
                tracing::warn!(
                    "the machine is {by:.1} times as fast as in its saved profile; measuring again"
                );
                return self.measure(engine);
            }
        }
        Ok(Known { profile, is_new: false, is_saved: true })
    }

    /// Measures and saves the profile; logs a warning and continues if it cannot be saved.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    pub fn measure(&self, engine: &mut dyn Engine) -> anyhow::Result<Known> {
        let started = Instant::now();
        let tokens = measure::tokens_to_work(engine, &self.probe)?;
        let precision = &self.subject.model.precision;
        tracing::info!(
            "measuring how fast this machine runs {precision}: about {tokens} tokens of work, ten seconds for a small \
             model to minutes for a large one or on a busy machine"
        );
        let bar = progress_bar(tokens);
        let status = |worked: u64| format!("measuring this machine: {worked} of {tokens} tokens");
        service_manager::starting(&status(0));
        let report = |progress| match progress {
            Progress::Worked(worked) => {
                bar.set_position(worked);
                service_manager::still_starting(|| status(worked));
            }
            Progress::Stage(stage) => bar.suspend(|| tracing::info!("measuring {precision}: {stage}")),
        };
        let (measured, noise) = self.listen(|| measure::measure(engine, &self.probe, &report));
        bar.finish_and_clear();
        let Measured { cost, scatter_percent } = measured.context("measuring the engine's speed")?;
        let disturbed = Disturbance::of(noise, scatter_percent);
        tracing::debug!("while it was measured {noise}; steps of one kind differed by {scatter_percent} %");
        let circumstances = Circumstances {
            // A clock before 1970 is not an error.
            measured_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took_ms: millis_since(started),
            load_ms: self.load_ms,
            memory: Memory { measured: host::resident_bytes(), ..self.memory },
            disturbed,
        };
        let profile = Profile::new(self.subject.clone(), cost, circumstances);
        if let Some(disturbed) = &disturbed {
            tracing::warn!(
                "the machine was busy while it was measured ({disturbed}): the profile is used for now, and a start on \
                 a quiet machine measures again"
            );
            // The saved profile may be older than the measurement requested now, and only a faster one proves it
            // wrong.
            let saved = self.store.find(&self.subject).ok().flatten();
            if saved.is_some_and(|saved| is_as_fast(&saved.cost, &profile.cost)) {
                tracing::warn!("the faster profile {} is kept", self.path().display());
                return Ok(Known { profile, is_new: true, is_saved: false });
            }
        }
        let is_saved = self.store.save(&profile).inspect_err(|error| {
            let path = self.path();
            tracing::warn!(
                "the profile cannot be saved as {}: {error}; the next start measures again",
                path.display()
            );
        });
        let is_saved = is_saved.is_ok();
        Ok(Known { profile, is_new: true, is_saved })
    }

    /// Runs `work`, with a snapshot of the system's counters before and after.
    fn listen<T>(&self, work: impl FnOnce() -> T) -> (T, Noise) {
        let before = Snapshot::take(&self.host, &self.cpus);
        let result = work();
        (result, Snapshot::take(&self.host, &self.cpus).since(&before))
    }
}

/// Whether the steps of a profile take no longer than those of another: a single decode, and the largest chunk.
fn is_as_fast(cost: &MeasuredCost, other: &MeasuredCost) -> bool {
    let largest = other.prefill.lines().last().map_or(1, |line| line.count);
    let time = |cost: &MeasuredCost| cost.decode.at(1, 1) + cost.prefill.at(largest, 0);
    time(cost) <= time(other)
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompts { largest } => write!(f, "prompts in chunks of 1 to {largest} tokens"),
            Self::Decodes { requests, depth } => {
                write!(f, "decodes of 1 to {requests} requests, up to {depth} tokens each")
            }
            Self::Mixed => f.write_str("steps with prompts and decodes"),
        }
    }
}

/// The sampling settings of a request that sets none.
fn usual(defaults: &SamplingDefaults) -> Sampling {
    Sampling {
        temperature: defaults.temperature,
        top_k: defaults.top_k,
        top_p: defaults.top_p,
        min_p: defaults.min_p,
        repeat_penalty: defaults.repeat_penalty,
        frequency_penalty: defaults.frequency_penalty,
        presence_penalty: defaults.presence_penalty,
        penalty_window: defaults.penalty_window,
        seed: 0,
    }
}

/// A progress bar, shown only on a terminal. It is drawn between steps only, by this thread.
fn progress_bar(tokens: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("measuring this machine [{bar:30}] {pos}/{len} tokens {eta}")
        .expect("the template is well formed");
    ProgressBar::new(tokens).with_style(style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::{EngineLimits, ScriptedEngine, Step, TokenId};
    use hedgerow_core::time::Span;
    use hedgerow_core::units::Tokens;

    use super::file::tests::store;
    use super::slowed::Slowed;
    use super::subject::tests::subject;
    use super::*;

    fn profiler(name: &str) -> Profiler {
        let probe = Probe { text: vec![TokenId(0)], sampling: Sampling::GREEDY, prefill_chunk: Tokens(128) };
        // A system without counters counts as quiet: other tests run in parallel with this one.
        let (host, cpus) = (Root::silent(), Vec::new());
        let memory = Memory::default();
        Profiler { store: store(name), subject: subject(), probe, load_ms: 1, memory, host, cpus }
    }

    fn engine(step: Span) -> ScriptedEngine {
        let limits = EngineLimits { parallel: 6, context: Tokens(600), kv: Tokens(3600) };
        ScriptedEngine::new(limits, step)
    }

    const STEP: Span = Span::from_millis(3);

    #[test]
    fn measures_once_and_then_reads_what_was_saved() {
        let profiler = profiler("once");
        let first = profiler.profile(&mut engine(STEP)).unwrap();
        assert!(first.is_new);
        let second = profiler.profile(&mut engine(STEP)).unwrap();
        assert!(!second.is_new);
        assert_eq!(second.profile, first.profile);
        assert!(profiler.measure(&mut engine(STEP)).unwrap().is_new, "when it is asked to");
    }

    #[test]
    fn a_damaged_file_and_one_of_another_setup_are_measured_again() {
        let mut profiler = profiler("again");
        profiler.measure(&mut engine(STEP)).unwrap();
        std::fs::write(profiler.path(), "{").unwrap();
        assert!(profiler.profile(&mut engine(STEP)).unwrap().is_new);
        assert!(!profiler.profile(&mut engine(STEP)).unwrap().is_new, "and saved again");
        profiler.subject.engine.threads += 1;
        assert!(profiler.profile(&mut engine(STEP)).unwrap().is_new);
    }

    #[test]
    fn a_slower_machine_keeps_its_profile_and_a_much_faster_one_does_not() {
        let profiler = profiler("check");
        let first = profiler.measure(&mut engine(STEP)).unwrap().profile;
        let slower = profiler.profile(&mut engine(STEP * 5)).unwrap();
        assert_eq!((slower.is_new, slower.profile.cost), (false, first.cost));
        let faster = profiler.profile(&mut engine(Span(STEP.0 / 5))).unwrap();
        assert_eq!((faster.is_new, faster.profile.cost.decode.at(1, 0)), (true, Span(STEP.0 / 5)));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_reason_to_fail() {
        let mut profiler = profiler("no-folder");
        let file = std::env::temp_dir().join(format!("hedgerow-no-folder-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        profiler.store = ResultStore::new(file.join("profiles"));
        let known = profiler.profile(&mut engine(STEP)).unwrap();
        assert_eq!((known.is_new, known.is_saved), (true, false));
        std::fs::remove_file(file).unwrap();
    }

    /// A disturbance as other work on the machine would cause it.
    fn busy() -> Option<Disturbance> {
        Disturbance::of(Noise { steal_percent: Some(40), ..Noise::default() }, 0)
    }

    #[test]
    fn a_disturbed_profile_is_measured_again_by_a_quiet_start() {
        let profiler = profiler("disturbed");
        let first = profiler.measure(&mut engine(STEP)).unwrap().profile;
        assert_eq!(first.disturbed, None);
        let mut disturbed = first;
        disturbed.disturbed = busy();
        profiler.store.save(&disturbed).unwrap();
        let again = profiler.profile(&mut engine(STEP)).unwrap();
        assert_eq!((again.is_new, again.is_saved, again.profile.disturbed), (true, true, None));
        assert!(!profiler.profile(&mut engine(STEP)).unwrap().is_new, "and then it is known");
    }

    #[test]
    fn a_disturbed_measurement_does_not_replace_a_faster_profile() {
        let profiler = profiler("unsteady");
        let two_of_three = |_: &Step, number: u32| if number.is_multiple_of(3) { 1 } else { 4 };
        let unsteady = || Slowed::new(engine(STEP), two_of_three);
        let first = profiler.measure(&mut unsteady()).unwrap();
        assert!(first.is_saved && first.profile.disturbed.is_some(), "there is no better one yet");
        let quiet = profiler.measure(&mut engine(STEP)).unwrap();
        assert!(quiet.is_saved);
        let again = profiler.measure(&mut unsteady()).unwrap();
        assert!(!again.is_saved && again.profile.disturbed.is_some());
        assert_eq!(profiler.saved(), Some(quiet.profile));
    }
}
