//! How fast an engine is on this machine: measured once, saved, and looked at again at each start.
//!
//! - takes: an engine with nothing open, and what it is: machine, model file, setup
//! - gives: a [`Profile`]: step times for the `measured` cost model, load time and memory
//! - never: serves; and never fails because of a file that is damaged or cannot be written
//!
//! Read [`Profiler::profile`] first.

mod check;
mod file;
mod measure;
mod subject;

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hedgerow_core::engine::{Engine, Sampling};
use indicatif::{ProgressBar, ProgressStyle};

use check::Verdict;
use file::Around;
pub(crate) use file::{Memory, Profile, Shelf};
pub(crate) use measure::Probe;
pub(crate) use subject::{
    Accelerators, EngineSetup, Machine, ModelFile, Subject, cpu_flags, fingerprint, version,
};

use crate::config::{Config, SamplingDefaults};
use crate::models;
use crate::server::LoadedModel;
use crate::service_manager;

/// Knows or finds out how fast an engine is.
#[derive(Debug)]
pub(crate) struct Profiler {
    shelf: Shelf,
    subject: Subject,
    probe: Probe,
    load_ms: u64,
    memory: Memory,
}

/// A profile, and whether it was measured just now.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) profile: Profile,
    pub(crate) is_new: bool,
    /// Whether the next start will find it.
    pub(crate) is_saved: bool,
}

impl Profiler {
    /// For a model that was loaded and an engine that will be made as the configuration says.
    ///
    /// # Errors
    ///
    /// When there is no cache folder, or the model file cannot be read any more.
    pub(crate) fn new(loaded: &LoadedModel, config: &Config) -> anyhow::Result<Self> {
        let text = loaded.model.tokenize(TEXT, false, false);
        anyhow::ensure!(!text.is_empty(), "the model's vocabulary has no English, so it cannot be measured");
        let chunk = config.engine.prefill_chunk;
        let options = crate::serve::engine_options(config);
        Ok(Self {
            shelf: Shelf::new(models::cache_folder()?.join("profiles")),
            subject: Subject::of(&loaded.model, &loaded.path, &options, chunk)?,
            probe: Probe { text, sampling: usual(&config.sampling), prefill_chunk: chunk },
            load_ms: loaded.load_ms,
            memory: loaded.memory,
        })
    }

    /// Where the profile lies, or would.
    pub(crate) fn path(&self) -> PathBuf {
        self.shelf.path(&self.subject)
    }

    /// The saved profile; says why if there is a file that cannot be used.
    pub(crate) fn saved(&self) -> Option<Profile> {
        self.shelf.find(&self.subject).unwrap_or_else(|why| {
            let path = self.path();
            tracing::warn!("the saved profile {} is not used: {why}; measuring again", path.display());
            None
        })
    }

    /// The saved profile, if a quick check does not prove it wrong; else measures and saves.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    pub(crate) fn profile(&self, engine: &mut dyn Engine) -> anyhow::Result<Known> {
        let Some(profile) = self.saved() else { return self.measure(engine) };
        let verdict =
            check::check(engine, &self.probe, &profile.cost).context("checking the engine's speed")?;
        let hint = "`hedgerow profile --force` measures again";
        match verdict {
            Verdict::Fits => {}
            Verdict::Slower(by) => tracing::warn!(
                "steps take {by:.1} times as long as in the saved profile: if the machine is not just busy, {hint}"
            ),
            Verdict::Faster(by) => tracing::warn!(
                "the machine is {by:.1} times as fast as in its saved profile, so less is promised than \
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

    /// Measures and saves; goes on with a warning where it cannot be saved.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    pub(crate) fn measure(&self, engine: &mut dyn Engine) -> anyhow::Result<Known> {
        let started = Instant::now();
        let tokens = measure::tokens_to_work(engine, &self.probe)?;
        let bar = progress_bar(tokens);
        let status = |worked: u64| format!("measuring this machine: {worked} of {tokens} tokens");
        service_manager::starting(&status(0));
        let measured = measure::measure(engine, &self.probe, &|worked| {
            bar.set_position(worked);
            service_manager::still_starting(|| status(worked));
        });
        bar.finish_and_clear();
        let cost = measured.context("measuring the engine's speed")?;
        let around = Around {
            // A clock before 1970 is no reason to fail.
            measured_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took_ms: millis(started),
            load_ms: self.load_ms,
            memory: Memory { measured: resident_bytes(), ..self.memory },
        };
        let profile = Profile::new(self.subject.clone(), cost, around);
        let is_saved = self.shelf.save(&profile).inspect_err(|error| {
            let path = self.path();
            tracing::warn!(
                "the profile cannot be saved as {}: {error}; the next start measures again",
                path.display()
            );
        });
        let is_saved = is_saved.is_ok();
        Ok(Known { profile, is_new: true, is_saved })
    }
}

/// What prompts are cut from while an engine is measured, and what its kernels are checked on.
pub(crate) const TEXT: &str = "A hedgerow is a line of closely spaced shrubs, planted and trained to form a barrier or to \
    mark the boundary of an area. Birds nest in it, hedgehogs sleep under it, and farmers have cut and laid it \
    for a thousand years. In spring the blackthorn flowers first, then the hawthorn, and in autumn there are \
    sloes, haws and blackberries for whoever comes by.";

/// How tokens are chosen for a request that does not say otherwise.
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

/// A bar on a terminal, nothing elsewhere. It is drawn between steps only, and by this thread.
fn progress_bar(tokens: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("measuring this machine [{bar:30}] {pos}/{len} tokens {eta}")
        .expect("the template is well formed");
    ProgressBar::new(tokens).with_style(style.progress_chars("=> "))
}

/// Milliseconds since then.
pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// This process's memory that is resident now; `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Memory that new work can have without anything being swapped out; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    kibibytes_in(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn resident_in(status: &str) -> Option<u64> {
    kibibytes_in(status, "VmRSS:")
}

/// The value of a line like `VmRSS:  2048 kB`, in bytes.
fn kibibytes_in(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::{EngineLimits, ScriptedEngine, TokenId};
    use hedgerow_core::time::Span;
    use hedgerow_core::units::Tokens;

    use super::file::tests::shelf;
    use super::subject::tests::subject;
    use super::*;

    fn profiler(name: &str) -> Profiler {
        let probe = Probe { text: vec![TokenId(0)], sampling: Sampling::GREEDY, prefill_chunk: Tokens(128) };
        Profiler { shelf: shelf(name), subject: subject(), probe, load_ms: 1, memory: Memory::default() }
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
        profiler.shelf = Shelf::new(file.join("profiles"));
        let known = profiler.profile(&mut engine(STEP)).unwrap();
        assert_eq!((known.is_new, known.is_saved), (true, false));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident_in("VmPeak:\t    1 kB\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_in("VmSize:\t 1 kB\n"), None);
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
