//! Tests that a model on an accelerator gives the results of the CPU, and that the engine's rules hold there too.
//!
//! Skipped, with the reason, on a machine without an accelerator. ggml ignores Vulkan's software drivers unless
//! `GGML_VK_VISIBLE_DEVICES=0` is set.

mod common;

use common::{answer, chat, engine, greedy, model, model_path, options, prefill, run};
use hedgerow_core::engine::{Engine, GenerationTask, TokenId, conformance};
use hedgerow_core::node::KvType;
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{
    ACCELERATORS, Device, EngineOptions, LlamaEngine, LlamaError, LlamaModel, LoadOptions, WindowReader,
    devices,
};

/// Prompts and the continuations of a model that computes correctly.
const FACTS: [(&str, &str); 3] = [
    ("The capital of France is", " Paris"),
    ("The capital of Italy is", " Rome"),
    ("Germany's capital city is", " Berlin"),
];

/// The first device that can hold layers.
fn device() -> Option<Device> {
    let found = devices().unwrap().into_iter().find(Device::holds_layers);
    if found.is_none() {
        println!("skipped: no accelerator is here (built for {ACCELERATORS:?})");
    }
    found
}

fn on(device: &Device, gpu_layers: u32) -> LlamaModel {
    let options = LoadOptions { gpu_layers, ..LoadOptions::default() };
    LlamaModel::load_on(&model_path().unwrap(), &options, std::slice::from_ref(device), |_| {}).unwrap()
}

/// No, half and all of a model's layers.
fn parts(model: &LlamaModel) -> [u32; 3] {
    let layers = model.info().shape.layers;
    [0, layers / 2, layers + 1]
}

#[test]
fn answers_are_right_wherever_the_layers_are() {
    let Some(device) = device() else { return };
    let Some((cpu, _turn)) = model() else { return };
    let ask = |model: &LlamaModel, text: &str| {
        answer(&mut engine(model, 1), greedy(model.tokenize(text, false, true), 4)).text()
    };
    for layers in parts(cpu) {
        let placed = on(&device, layers);
        assert_eq!(placed.gpu_layers(), layers);
        assert_eq!(placed.devices().len(), usize::from(layers > 0));
        for (text, word) in FACTS {
            let found = ask(&placed, text);
            assert!(found.starts_with(word), "{layers} layers on {}: {text}{found}", device.name);
            if layers == 0 {
                assert_eq!(found, ask(cpu, text), "nothing is computed on the device");
            }
        }
    }
}

/// Natural logarithms of probabilities.
fn log_probabilities(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = scores.iter().map(|&score| f64::from(score - most).exp()).sum();
    scores.iter().map(|&score| f64::from(score - most) - sum.ln()).collect()
}

/// The log-probabilities of the next token after each token of a text.
fn distributions(model: &LlamaModel, text: &[TokenId]) -> Vec<Vec<f64>> {
    let mut reader = WindowReader::new(model, Tokens(256), 1).unwrap();
    reader.begin();
    reader.read(text, 0).unwrap();
    (0..text.len()).map(|index| log_probabilities(reader.scores(index))).collect()
}

#[test]
fn scores_differ_from_the_cpu_s_by_rounding_alone() {
    let Some(device) = device() else { return };
    let Some((cpu, _turn)) = model() else { return };
    let text = "The hedge grew along the lane, and in it lived a wren, a vole and a hedgehog. In spring the \
        blackthorn flowers first, then the hawthorn, and in autumn there are sloes, haws and blackberries.";
    let text = cpu.tokenize(text, false, false);
    let expected = distributions(cpu, &text);
    for layers in parts(cpu) {
        let found = distributions(&on(&device, layers), &text);
        let divergence =
            |p: &[f64], q: &[f64]| -> f64 { p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum() };
        let divergences: Vec<f64> = expected.iter().zip(&found).map(|(p, q)| divergence(p, q)).collect();
        let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
        let most = divergences.iter().copied().fold(0.0, f64::max);
        println!("{layers} layers on {}: divergence {mean:.2e} on average, {most:.2e} at most", device.name);
        // A CPU rounds activations to 8 bits for products with quantized weights, a device to 16: that alone
        // causes a divergence of some hundredths. A wrong kernel causes values above 1.
        let limit = if layers == 0 { 1e-9 } else { 0.1 };
        assert!(mean.is_finite() && mean < limit, "{layers} layers: {divergences:?}");
    }
}

#[test]
fn an_engine_on_a_device_passes_the_conformance_suite() {
    let Some(device) = device() else { return };
    let Some((cpu, _turn)) = model() else { return };
    let text = cpu.tokenize(&"The hedge grew along the lane. ".repeat(40), false, false);
    for layers in parts(cpu).into_iter().skip(1) {
        let placed = on(&device, layers);
        for (flash_attention, kv_type) in [(true, KvType::F16), (false, KvType::F16), (true, KvType::Q8_0)] {
            let context = Tokens(64);
            let options = EngineOptions { flash_attention, kv_type, retained: 2, context, ..options(4) };
            let mut engine = LlamaEngine::new(&placed, &options).unwrap();
            conformance::check(&mut engine, &|length| text[..length as usize].to_vec());
        }
    }
}

#[test]
fn a_prefix_computed_on_a_device_is_reused() {
    let Some(device) = device() else { return };
    let Some((cpu, _turn)) = model() else { return };
    let [one, other] = ["Where do wrens nest?", "What eats sloes?"].map(|question| chat(cpu, question));
    for layers in parts(cpu).into_iter().skip(1) {
        let placed = on(&device, layers);
        let options = EngineOptions { retained: 2, flash_attention: true, ..options(2) };
        let mut engine = LlamaEngine::new(&placed, &options).unwrap();
        let mut ask = |id: u64, prompt: &[TokenId], cache_prompt: bool| {
            let work = GenerationTask { cache_prompt, ..greedy(prompt.to_vec(), 1) };
            engine.open(RequestId(id), work).unwrap();
            let mut first = None;
            let report =
                run(&mut engine, &prefill(id, prompt.len()), |emission| first = Some(emission.token));
            (first.unwrap(), report.progress[0].cached.unwrap_or(Tokens::ZERO))
        };
        let (fresh, other_fresh) = (ask(0, &one, false), ask(1, &other, false));
        assert_eq!((fresh.1, other_fresh.1), (Tokens::ZERO, Tokens::ZERO));
        assert_eq!(ask(2, &one, true), fresh, "nothing is cached yet");
        assert_eq!(ask(3, &one, true), (fresh.0, Tokens(one.len() as u32 - 1)), "{layers} layers");
        let shared = one.iter().zip(&other).take_while(|(a, b)| a == b).count() as u32;
        let (token, cached) = ask(4, &other, true);
        assert_eq!((token, cached), (other_fresh.0, if shared < 8 { Tokens::ZERO } else { Tokens(shared) }));
    }
}

#[test]
fn a_cache_that_no_device_could_hold_is_refused_before_it_is_made() {
    let Some(device) = device() else { return };
    let Some((cpu, _turn)) = model() else { return };
    let placed = on(&device, u32::MAX);
    assert_eq!(placed.gpu_layers(), cpu.info().shape.layers + 1, "more than the model has means all");
    let options = EngineOptions { context: Tokens(100_000_000), ..options(16) };
    let refused = LlamaEngine::new(&placed, &options).err().unwrap();
    assert!(
        matches!(&refused, LlamaError::Memory { reason, .. } if reason.contains(&device.name)),
        "{refused}"
    );
}

#[test]
fn layers_without_a_device_stay_with_the_cpu() {
    let Some((_, _turn)) = model() else { return };
    let options = LoadOptions { gpu_layers: 99, ..LoadOptions::default() };
    let placed = LlamaModel::load_on(&model_path().unwrap(), &options, &[], |_| {}).unwrap();
    assert_eq!((placed.gpu_layers(), placed.devices()), (0, &[][..]));
}
