//! Tests the catalogue with small hand-written model files.

use hedgerow_core::engine::cost::{MeasuredCost, Surface};
use serde_json::json;

use super::*;
use crate::profile::Profile;

/// Makes a separate cache folder for a test, with an empty models folder.
pub(super) fn fresh_cache(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hedgerow-catalogue-{}-{name}", std::process::id()));
    // It exists only if an earlier process with the same id left it.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("models")).unwrap();
    folder
}

/// A model file of two tensors: one in its precision, and 8 numbers of F32.
pub(super) struct Gguf {
    /// `general.file_type`, the first tensor's type, and the bytes of 32 of its numbers.
    pub(super) precision: (u32, u32, u64),
    /// Number of values in the first tensor, a multiple of 32.
    pub(super) numbers: u64,
    /// Distinguishes this file from an otherwise identical one.
    pub(super) filling: u8,
}

const Q4_1: (u32, u32, u64) = (3, 3, 20);
const Q8_0: (u32, u32, u64) = (7, 8, 34);
const F16: (u32, u32, u64) = (1, 1, 64);

impl Default for Gguf {
    fn default() -> Self {
        Self { precision: Q4_1, numbers: 64, filling: 7 }
    }
}

impl Gguf {
    /// Writes the file and returns its content.
    pub(super) fn write(&self, path: &Path) -> Vec<u8> {
        let (file_type, tensor_type, block_bytes) = self.precision;
        let mut bytes = b"GGUF".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.bytes());
        };
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        let numbers = [
            ("general.file_type", file_type),
            ("llama.block_count", 3),
            ("llama.embedding_length", 128),
            ("llama.attention.head_count", 4),
            ("llama.attention.head_count_kv", 2),
        ];
        let texts = [("general.architecture", "llama"), ("general.name", "Tiny")];
        bytes.extend((numbers.len() as u64 + texts.len() as u64).to_le_bytes());
        for (key, value) in texts {
            text(&mut bytes, key);
            bytes.extend(8_u32.to_le_bytes());
            text(&mut bytes, value);
        }
        for (key, value) in numbers {
            text(&mut bytes, key);
            bytes.extend(4_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        let size = self.numbers / 32 * block_bytes;
        let second = size.next_multiple_of(32);
        for (name, count, kind, offset) in [("blk", self.numbers, tensor_type, 0), ("norm", 8, 0, second)] {
            text(&mut bytes, name);
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        let data = bytes.len().next_multiple_of(32);
        bytes.resize(data, 0);
        bytes.resize(data + second as usize + 32, self.filling);
        fs::write(path, &bytes).unwrap();
        bytes
    }
}

/// Returns the facts of a file with this name and precision.
pub(super) fn facts(name: &str, precision: &str) -> Facts {
    serde_json::from_value(json!({
        "file": format!("/models/{name}.{precision}.gguf"), "bytes": 1000, "modified_ns": 1, "fingerprint": "0",
        "sha256": null, "precision": precision, "says_name": null, "architecture": "llama",
        "parameters": 1_000_000, "weights_bytes": 500_000, "tensor_types": {}, "cache_numbers": 48,
        "no_better_than": null,
    }))
    .unwrap()
}

/// Records beside a file, as `hedgerow quantize` does, that it was made from the given quantized file.
pub(super) fn made_from(ancestor: &str, file: &Path) {
    let ancestor = json!({"name": ancestor, "precision": "Q4_1", "sha256": "00"});
    let origin = json!({
        "format": "hedgerow-origin/1", "precision": "any", "bytes": fs::metadata(file).unwrap().len(), "sha256": "01", "source": ancestor,
        "no_better_than": ancestor, "importance": null, "fallbacks": [], "llama_cpp": "binding 0",
    });
    fs::write(file.with_added_extension("origin.json"), origin.to_string()).unwrap();
}

fn machine() -> Machine {
    Machine { cpu: "Test CPU".into(), cores: 2 }
}

/// Saves a profile of a file with the given step times: pairs of size and milliseconds.
fn profiled(cache: &Path, file: &str, parallel: u32, step_ms: &[(u32, u64)]) {
    let points: Vec<_> =
        step_ms.iter().map(|&(count, ms)| (count, hedgerow_core::time::Span::from_millis(ms))).collect();
    let surface = Surface::level(&points);
    let cost = MeasuredCost { prefill: surface.clone(), decode: surface, mixed_ns: 0 };
    let fingerprint = crate::models::fingerprint(&cache.join("models").join(file)).unwrap();
    let profile: Profile = serde_json::from_value(json!({
        "format": "hedgerow-profile/1",
        "machine": machine(),
        "model": {"name": "Tiny", "precision": "any", "file_bytes": 1, "fingerprint": fingerprint},
        "engine": {
            "version": "hedgerow 0", "llama_cpp": "binding 0", "parallel": parallel, "context": 600, "threads": 2,
            "micro_batch": 128, "prefill_chunk": 128, "kv_unified": false, "flash_attention": true,
        },
        "measured_unix_s": 1_700_000_000, "took_ms": 1, "load_ms": 120,
        "memory": {"before_load": 1000, "loaded": 1288, "measured": 5000},
        "cost": cost,
    }))
    .unwrap();
    fs::create_dir_all(cache.join("profiles")).unwrap();
    fs::write(cache.join(format!("profiles/{file}-{parallel}.json")), profile.to_json()).unwrap();
}

fn evaluated(cache: &Path, file: &str, reference: &str, at: u64, ratio: f64) {
    let fingerprint = |file: &str| crate::models::fingerprint(&cache.join("models").join(file)).unwrap();
    let estimate = |value: f64| json!({"value": value, "low": value - 0.01, "high": value + 0.01});
    let loss = json!({
        "format": "hedgerow-quality/1",
        "model": {"name": "Tiny", "precision": "any", "file_bytes": 1, "fingerprint": fingerprint(file)},
        "reference": {"name": "Tiny", "precision": "F16", "file_bytes": 1, "fingerprint": fingerprint(reference)},
        "text": {"name": "a text", "sha256": "00", "tokens": 5000}, "ctx": 512, "chunks": 4, "bos": false,
        "engine": "hedgerow 0", "llama_cpp": "binding 0", "counted": 1020, "took_ms": 1,
        "measured_unix_s": at, "ppl_ratio": estimate(ratio), "same_top": estimate(0.9),
        "ppl": estimate(20.0), "ppl_reference": estimate(19.0), "ppl_delta": estimate(1.0), "kl_mean": estimate(0.1),
    });
    fs::create_dir_all(cache.join("quality")).unwrap();
    fs::write(cache.join(format!("quality/{file}-{at}.json")), loss.to_string()).unwrap();
}

/// Makes a cache with one model in three precisions.
fn three_precisions(name: &str) -> PathBuf {
    let cache = fresh_cache(name);
    for (file, precision) in [("Tiny.F16.gguf", F16), ("Tiny.Q8_0.gguf", Q8_0), ("Tiny.Q4_1.gguf", Q4_1)] {
        Gguf { precision, ..Gguf::default() }.write(&cache.join("models").join(file));
    }
    cache
}

fn precision(catalogue: &Catalogue, name: &str) -> Entry {
    catalogue.find("TINY").unwrap().precision(name).unwrap().clone()
}

fn beta(paces: &[Throughput], count: u32) -> Option<(f64, Kind)> {
    let pace = paces.iter().find(|pace| pace.count == count)?;
    pace.beta.as_ref().map(|beta| (beta.value, beta.source.kind))
}

#[test]
fn a_model_that_nobody_has_measured_is_listed_with_what_is_known() {
    let cache = three_precisions("unmeasured");
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    let names: Vec<_> = catalogue.entries().map(|entry| entry.facts.precision.as_str()).collect();
    assert_eq!((catalogue.models.len(), names), (1, vec!["F16", "Q8_0", "Q4_1"]));
    assert_eq!(catalogue.models[0].reference, None);
    let q8 = precision(&catalogue, "q8_0");
    // 68 bytes of Q8_0 and 32 of F32, for 72 weights.
    assert_eq!((q8.resident_bytes.value, q8.resident_bytes.source.kind), (100, Kind::Assumed));
    assert_eq!(q8.alpha.value, 100.0 / 144.0);
    assert_eq!(beta(&q8.prefill, 128), Some((1.0, Kind::Assumed)));
    assert_eq!(beta(&q8.decode, 1), Some((100.0 / 144.0, Kind::Assumed)));
    assert_eq!((q8.load_ms, q8.quality_by_perplexity, q8.quality_by_agreement), (None, None, None));
    let kv: Vec<_> = q8.kv_types.iter().map(|kv| (kv.kv_type.name(), kv.bytes_per_token)).collect();
    assert_eq!(kv, [("f16", 768), ("q8_0", 408), ("q4_0", 216)]);
    let f16 = precision(&catalogue, "F16").quality_by_perplexity.unwrap();
    assert_eq!((f16.value, f16.source.kind), (1.0, Kind::Assumed), "it is its own reference");
}

#[test]
fn what_was_profiled_takes_the_place_of_what_was_assumed() {
    let cache = three_precisions("profiled");
    profiled(&cache, "Tiny.F16.gguf", 16, &[(1, 10), (16, 40), (128, 100)]);
    profiled(&cache, "Tiny.Q4_1.gguf", 16, &[(1, 5), (16, 60), (128, 200)]);
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!(catalogue.models[0].reference.as_deref(), Some("F16"));
    let q4 = precision(&catalogue, "Q4_1");
    assert_eq!((q4.resident_bytes.value, q4.resident_bytes.source.kind), (288, Kind::Measured));
    assert_eq!((q4.alpha.value, q4.alpha.source.when_unix_s), (2.0, Some(1_700_000_000)));
    assert_eq!(q4.load_ms.map(|load| load.value), Some(120));
    assert_eq!(beta(&q4.prefill, 128), Some((2.0, Kind::Measured)));
    assert_eq!(beta(&q4.decode, 1), Some((0.5, Kind::Measured)));
    assert_eq!(beta(&q4.decode, 16), Some((1.5, Kind::Measured)));
    let rate = q4.decode.iter().find(|pace| pace.count == 16).unwrap().tokens_per_s.clone().unwrap();
    assert!((rate.value - 16.0 / 0.06).abs() < 1e-9, "{rate:?}");
    assert_eq!(beta(&precision(&catalogue, "F16").decode, 16), Some((1.0, Kind::Measured)));
    assert_eq!(beta(&precision(&catalogue, "Q8_0").decode, 1).unwrap().1, Kind::Assumed);
}

#[test]
fn times_of_two_setups_or_two_machines_are_not_compared() {
    let cache = three_precisions("setups");
    profiled(&cache, "Tiny.F16.gguf", 8, &[(1, 10)]);
    profiled(&cache, "Tiny.Q8_0.gguf", 16, &[(1, 8)]);
    profiled(&cache, "Tiny.Q4_1.gguf", 16, &[(1, 4)]);
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!(catalogue.models[0].reference.as_deref(), Some("Q8_0"), "the best of the larger group");
    assert_eq!(beta(&precision(&catalogue, "Q4_1").decode, 1), Some((0.5, Kind::Measured)));
    let f16 = precision(&catalogue, "F16");
    assert_eq!((f16.setup.unwrap().parallel, f16.decode[0].beta.clone()), (8, None));
    assert!(f16.decode[0].tokens_per_s.is_some(), "its own speed is known all the same");
    let other = Machine { cores: 4, ..machine() };
    let elsewhere = refresh_in(&cache, &other, &[]).unwrap();
    assert_eq!(precision(&elsewhere, "Q4_1").setup, None);
}

#[test]
fn quality_is_told_against_one_reference_and_never_above_it() {
    let cache = three_precisions("evaluated");
    evaluated(&cache, "Tiny.Q4_1.gguf", "Tiny.Q8_0.gguf", 10, 0.5);
    evaluated(&cache, "Tiny.Q4_1.gguf", "Tiny.F16.gguf", 20, 0.7);
    evaluated(&cache, "Tiny.Q4_1.gguf", "Tiny.F16.gguf", 30, 0.8);
    evaluated(&cache, "Tiny.Q8_0.gguf", "Tiny.F16.gguf", 5, 1.002);
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    let q4 = precision(&catalogue, "Q4_1").quality_by_perplexity.unwrap();
    assert_eq!((q4.value, q4.source.when_unix_s), (0.8, Some(30)), "the newest");
    assert_eq!(q4.source.what, "perplexity of F16 on a text, 4 windows of 512 tokens");
    let q8 = precision(&catalogue, "Q8_0").quality_by_perplexity.unwrap();
    assert_eq!((q8.value, q8.high), (1.0, Some(1.0)));
    assert!(q8.low < Some(1.0), "the interval says how sure that is");
    assert_eq!(precision(&catalogue, "Q8_0").quality_by_agreement.map(|top| top.value), Some(0.9));
}

#[test]
fn a_file_made_from_a_worse_one_is_not_called_the_reference() {
    let cache = three_precisions("ancestor");
    for file in ["Tiny.F16.gguf", "Tiny.Q8_0.gguf"] {
        made_from("Tiny.Q4_1", &cache.join("models").join(file));
    }
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!(precision(&catalogue, "F16").quality_by_perplexity, None);
    assert_eq!(precision(&catalogue, "Q4_1").quality_by_perplexity.map(|own| own.value), Some(1.0));
}

#[test]
fn files_elsewhere_are_remembered_until_they_are_gone() {
    let cache = three_precisions("elsewhere");
    let elsewhere = cache.join("Other.Q4_1.gguf");
    Gguf::default().write(&elsewhere);
    let seen = refresh_in(&cache, &machine(), &[&elsewhere]).unwrap();
    assert!(seen.find("other").is_some());
    let later = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!(
        later.entry(&elsewhere).map(|entry| &entry.facts),
        seen.entry(&elsewhere).map(|entry| &entry.facts)
    );
    fs::remove_file(&elsewhere).unwrap();
    assert!(refresh_in(&cache, &machine(), &[]).unwrap().find("other").is_none());
}

#[test]
fn a_damaged_model_file_is_named_and_does_not_hide_the_others() {
    let cache = three_precisions("damaged");
    fs::write(cache.join("models/Bad.Q4_1.gguf"), "GGUF").unwrap();
    let catalogue = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!((catalogue.entries().count(), catalogue.unusable.len()), (3, 1));
    assert!(catalogue.unusable[0].why.contains("Bad.Q4_1.gguf"), "{:?}", catalogue.unusable);
}

#[test]
fn what_is_saved_is_read_again_and_a_damaged_catalogue_is_made_anew() {
    let cache = three_precisions("saved");
    let made = refresh_in(&cache, &machine(), &[]).unwrap();
    assert_eq!(read(&place(&cache)), Some(made.clone()));
    for damaged in ["", "{", r#"{"format": "hedgerow-catalogue/0"}"#] {
        fs::write(place(&cache), damaged).unwrap();
        assert_eq!(read(&place(&cache)), None);
        assert_eq!(refresh_in(&cache, &machine(), &[]).unwrap(), made);
        assert_eq!(read(&place(&cache)), Some(made.clone()));
    }
    // Left behind by a writer that was killed.
    fs::write(cache.join("catalogue.json.partial"), "{").unwrap();
    assert_eq!(refresh_in(&cache, &machine(), &[]).unwrap(), made);
}

#[test]
fn several_writers_at_once_lose_nothing() {
    let cache = three_precisions("writers");
    let files: Vec<PathBuf> = (0..8)
        .map(|number| {
            let path = cache.join(format!("Own{number}.Q4_1.gguf"));
            Gguf { filling: number, ..Gguf::default() }.write(&path);
            path
        })
        .collect();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| refresh_in(&cache, &machine(), &[file]).unwrap());
        }
    });
    assert_eq!(read(&place(&cache)).unwrap().entries().count(), 3 + files.len());
}
