//! Builds the entries of the catalogue from files and measurements.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::engine::cost::Surface;
use hedgerow_core::node::KvType;
use hedgerow_core::time::Span;

use super::figure::{Figure, Source, better};
use super::published::{self, Published};
use super::{Cache, Entry, Facts, Model, Throughput};
use crate::profile::{EngineSetup, Profile};
use crate::quality::{self, Estimate, Quality};

/// Chunk sizes at which prefill is listed, as far as they were measured.
const CHUNKS: [u32; 3] = [32, 128, 512];
/// Batch sizes at which decode is listed, as far as they were measured.
const BATCHES: [u32; 7] = [1, 4, 8, 16, 32, 64, 128];
/// Tokens that each request of such a batch holds.
const HELD: u64 = 128;

/// Groups all files by model: files with the same name, architecture and number of weights.
pub(super) fn models(files: Vec<Facts>, profiles: &[Profile], losses: &[Quality]) -> Vec<Model> {
    let mut groups: BTreeMap<_, Vec<Facts>> = BTreeMap::new();
    for facts in files {
        let key = (facts.model_name().to_lowercase(), facts.architecture.clone(), facts.parameters);
        groups.entry(key).or_default().push(facts);
    }
    groups.into_values().map(|files| model(files, profiles, losses)).collect()
}

fn model(mut files: Vec<Facts>, profiles: &[Profile], losses: &[Quality]) -> Model {
    files.sort_by(|a, b| {
        b.bits_per_weight().total_cmp(&a.bits_per_weight()).then_with(|| a.file.cmp(&b.file))
    });
    let speeds = Speeds::new(&files, profiles);
    let judge = judge(&files, losses);
    let name = files.iter().map(Facts::model_name).max().unwrap_or_default();
    let reference = speeds.reference.map(|(facts, _)| facts.precision.clone());
    let entries: Vec<Entry> = files.iter().map(|facts| entry(facts, &speeds, judge, losses)).collect();
    Model { name, reference, precisions: entries }
}

/// The profiles of one model's files.
struct Speeds<'a> {
    profiles: Vec<&'a Profile>,
    /// The setup in which most of the files were measured; on a tie, the most recently used one. Times are comparable
    /// only within one setup.
    setup: Option<&'a EngineSetup>,
    /// The reference of `β`: of the files measured in that setup F16, or else the one with the most bits.
    reference: Option<(&'a Facts, &'a Profile)>,
}

impl<'a> Speeds<'a> {
    fn new(files: &'a [Facts], profiles: &'a [Profile]) -> Self {
        let own: BTreeSet<&str> = files.iter().map(|facts| facts.fingerprint.as_str()).collect();
        let mut profiles: Vec<&Profile> = profiles
            .iter()
            .filter(|profile| own.contains(profile.subject.model.fingerprint.as_str()))
            .collect();
        profiles.sort_by_key(|profile| std::cmp::Reverse(profile.measured_unix_s));
        let alike =
            |setup: &EngineSetup| profiles.iter().filter(|other| other.subject.engine == *setup).count();
        // On a tie the last maximum wins, so the newest has to come last.
        let newest_last = profiles.iter().rev().map(|profile| &profile.subject.engine);
        let setup = newest_last.max_by_key(|setup| alike(setup));
        let mut speeds = Self { profiles, setup, reference: None };
        let measured = files.iter().filter_map(|facts| Some((facts, speeds.in_setup(facts)?)));
        speeds.reference = measured.max_by(|(a, _), (b, _)| {
            let rank = |facts: &Facts| (facts.precision == "F16", facts.bits_per_weight());
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        speeds
    }

    fn in_setup(&self, facts: &Facts) -> Option<&'a Profile> {
        self.all_of(facts).find(|profile| Some(&profile.subject.engine) == self.setup)
    }

    /// Returns the profiles of a file, the newest first.
    fn all_of(&self, facts: &Facts) -> impl Iterator<Item = &'a Profile> {
        self.profiles.iter().copied().filter(|profile| profile.subject.model.fingerprint == facts.fingerprint)
    }
}

fn entry(facts: &Facts, speeds: &Speeds<'_>, judge: Option<&str>, losses: &[Quality]) -> Entry {
    let profile = speeds.in_setup(facts).or_else(|| speeds.all_of(facts).next());
    let resident_bytes = profile.and_then(resident).unwrap_or_else(|| as_the_file(facts));
    let alpha = Source {
        what: format!("{}, over two bytes for each weight", resident_bytes.source.what),
        ..resident_bytes.source.clone()
    };
    let published = published::of(facts);
    let (by_perplexity, by_agreement) = qualities(facts, judge, losses, &published);
    let against = speeds.reference.filter(|_| speeds.in_setup(facts).is_some());
    Entry {
        alpha: alpha.of(resident_bytes.value as f64 / facts.weights_16_bit().max(1.0)),
        resident_bytes,
        load_ms: profile.map(|profile| of_profile(profile, "loading the file").of(profile.load_ms)),
        prefill: prefill(profile, against, &published),
        decode: decode(facts, profile, against, published),
        quality_by_perplexity: by_perplexity,
        quality_by_agreement: by_agreement,
        kv_types: caches(facts),
        setup: profile.map(|profile| profile.subject.engine.clone()),
        facts: facts.clone(),
    }
}

fn of_profile(profile: &Profile, what: &str) -> Source {
    Source::measured(what.to_owned(), profile.measured_unix_s)
}

fn resident(profile: &Profile) -> Option<Figure<u64>> {
    // Memory on a device is not part of the process's resident memory.
    if profile.subject.engine.accelerators.is_some() {
        return None;
    }
    let grown = profile.memory.loaded?.checked_sub(profile.memory.before_load?)?;
    Some(of_profile(profile, "by how much resident memory grew while the file was loaded").of(grown))
}

fn as_the_file(facts: &Facts) -> Figure<u64> {
    Source::assumed("as much as the weights take in the file").of(facts.weights_bytes)
}

fn prefill(
    profile: Option<&Profile>,
    against: Option<(&Facts, &Profile)>,
    published: &Published,
) -> Vec<Throughput> {
    let what = "prompt chunks of so many tokens, nothing before them";
    let measured = profile.map(|profile| {
        paces(
            profile,
            &profile.cost.prefill,
            &CHUNKS,
            |_| 0,
            against.map(|(facts, other)| (facts, &other.cost.prefill)),
            what,
        )
    });
    measured.unwrap_or_else(|| {
        let flat = Source::assumed("prefill computes as much in every precision").of(1.0);
        let beta = better(published.beta_prefill.clone(), Some(flat));
        vec![Throughput { count: CHUNKS[1], tokens_per_s: None, beta }]
    })
}

fn decode(
    facts: &Facts,
    profile: Option<&Profile>,
    against: Option<(&Facts, &Profile)>,
    published: Published,
) -> Vec<Throughput> {
    let what = "decode steps of so many requests that hold 128 tokens each";
    let depth = |count: u32| u64::from(count) * HELD;
    let measured = profile.map(|profile| {
        paces(
            profile,
            &profile.cost.decode,
            &BATCHES,
            depth,
            against.map(|(facts, other)| (facts, &other.cost.decode)),
            what,
        )
    });
    measured.unwrap_or_else(|| {
        let size = facts.weights_bytes as f64 / facts.weights_16_bit().max(1.0);
        let by_size = Source::assumed("a step of one request takes as long as reading all weights").of(size);
        vec![Throughput { count: 1, tokens_per_s: None, beta: better(published.beta_decode, Some(by_size)) }]
    })
}

/// Returns the listed sizes up to the largest measured one, or only that one if it is below all of them.
fn paces(
    profile: &Profile,
    surface: &Surface,
    listed: &[u32],
    depth: impl Fn(u32) -> u64,
    against: Option<(&Facts, &Surface)>,
    what: &str,
) -> Vec<Throughput> {
    let largest = surface.lines().last().map_or(1, |line| line.count);
    let mut counts: Vec<u32> = listed.iter().copied().filter(|&count| count <= largest).collect();
    if counts.is_empty() {
        counts.push(largest);
    }
    let seconds = |surface: &Surface, count: u32| surface.at(count, depth(count)).max(Span(1)).as_seconds();
    let pace = |count: u32| {
        let own = seconds(surface, count);
        let beta = against.map(|(facts, other)| {
            let what = format!("{what}: time over that of {} in the same setup", facts.precision);
            of_profile(profile, &what).of(own / seconds(other, count))
        });
        Throughput { count, tokens_per_s: Some(of_profile(profile, what).of(f64::from(count) / own)), beta }
    };
    counts.into_iter().map(pace).collect()
}

/// Returns the reference file for quality: the one that most of the files were compared with, the most recently used
/// one on a tie; if none was, the best of those that are not made from a worse one.
fn judge<'a>(files: &'a [Facts], losses: &'a [Quality]) -> Option<&'a str> {
    let is_own = |fingerprint: &str| files.iter().any(|facts| facts.fingerprint == fingerprint);
    let mut judged: BTreeMap<&str, (BTreeSet<&str>, u64)> = BTreeMap::new();
    for loss in losses.iter().filter(|loss| is_own(&loss.subject.model.fingerprint)) {
        let (models, last) = judged.entry(&loss.subject.reference.fingerprint).or_default();
        models.insert(&loss.subject.model.fingerprint);
        *last = loss.measured.measured_unix_s.max(*last);
    }
    let most = judged.into_iter().max_by_key(|(_, (models, last))| (models.len(), *last));
    most.map(|(reference, _)| reference).or_else(|| {
        let original = files.iter().find(|facts| facts.no_better_than.is_none())?;
        Some(&original.fingerprint)
    })
}

fn qualities(
    facts: &Facts,
    judge: Option<&str>,
    losses: &[Quality],
    published: &Published,
) -> (Option<Figure>, Option<Figure>) {
    if judge == Some(&facts.fingerprint) {
        let itself = Source::assumed("it is the reference itself").of(1.0);
        let (ppl, top) = (published.quality_by_perplexity.clone(), published.quality_by_agreement.clone());
        return (better(ppl, Some(itself.clone())), better(top, Some(itself)));
    }
    let own = losses.iter().filter(|loss| {
        loss.subject.model.fingerprint == facts.fingerprint
            && Some(loss.subject.reference.fingerprint.as_str()) == judge
    });
    // A quick evaluation does not replace one that read more text.
    let Some(loss) = own.max_by_key(|loss| (loss.counted, loss.measured.measured_unix_s)) else {
        return (published.quality_by_perplexity.clone(), published.quality_by_agreement.clone());
    };
    let source = |what: &str| {
        let quality::Subject { reference, text, chunks, ctx, .. } = &loss.subject;
        let what =
            format!("{what} {} on {}, {chunks} windows of {ctx} tokens", reference.precision, text.name);
        Source::measured(what, loss.measured.measured_unix_s)
    };
    let figure = |source: Source, estimate: Estimate| Figure {
        // A quantized model is never rated better than its reference.
        value: estimate.value.min(1.0),
        low: Some(estimate.low.min(1.0)),
        high: Some(estimate.high.min(1.0)),
        source,
    };
    (
        Some(figure(source("perplexity of"), loss.measured.ppl_ratio)),
        Some(figure(source("same first choice as"), loss.measured.same_top)),
    )
}

fn caches(facts: &Facts) -> Vec<Cache> {
    let Some(numbers) = facts.cache_numbers else { return Vec::new() };
    KvType::ALL.map(|kv_type| Cache { kv_type, bytes_per_token: kv_type.bytes(numbers).0 }).to_vec()
}
