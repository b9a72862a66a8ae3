//! Measures the quality loss of a precision: its predictions on a text, compared with a reference's.
//!
//! - takes: models of one architecture and vocabulary, one of them the reference, and a text
//! - gives: for each what a `Quality` has, with confidence intervals
//! - never: generates text, or calls a model better than what it was made from
//!
//! Read [`Evaluation::run`]. All models read the text in lockstep, window by window, so that no scores are ever
//! written to disk. [docs/concepts/quality.md] has the definitions.
//!
//! [docs/concepts/quality.md]: ../../../../docs/concepts/quality.md

mod interval;
mod lockstep;
mod score;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::LlamaModel;
use hedgerow_node::build_version;
use hedgerow_node::profile::ModelFile;
use hedgerow_node::quality::{Measured, QualityError, Subject, Text, TextFile};

use interval::{around, exp, half_width, mean, mean_of, within};
use lockstep::{Lockstep, Window};

/// The evaluation of one text by a reference and the models compared with it.
#[derive(Debug)]
pub(crate) struct Evaluation<'m> {
    reference: &'m LlamaModel,
    text: TextFile,
    tokens: Vec<TokenId>,
    /// The token that begins each window, if the model expects one.
    bos: Option<TokenId>,
    window: usize,
    windows: usize,
    threads: u32,
}

impl<'m> Evaluation<'m> {
    /// Splits the text into windows: all of them, or the first `windows_max`.
    ///
    /// # Errors
    ///
    /// When the text is too short for two windows, or a window is too long for the model.
    pub(crate) fn new(
        reference: &'m LlamaModel,
        text: &Text,
        window: Tokens,
        windows_max: Option<u32>,
        threads: u32,
    ) -> Result<Self, QualityError> {
        let most = reference.info().train_context;
        if window > most || window < Subject::WINDOW_MIN {
            return Err(QualityError::Window { given: window, least: Subject::WINDOW_MIN, most });
        }
        let tokens = reference.tokenize(text.content(), false, true);
        let size = window.0 as usize;
        let found = tokens.len() / size;
        if found < 2 {
            let found = Tokens(tokens.len() as u32);
            return Err(QualityError::TooShort { found, needed: Tokens(2 * window.0), window });
        }
        let bos = reference.tokenize("", false, true).first().copied();
        let windows = windows_max.map_or(found, |most| found.min(most as usize));
        let text = text.file(tokens.len() as u32);
        Ok(Self { reference, text, tokens, bos, window: size, windows, threads })
    }

    /// The number of windows to read.
    pub(crate) fn windows(&self) -> u32 {
        self.windows as u32
    }

    /// The number of windows in the text.
    pub(crate) fn windows_there(&self) -> u32 {
        (self.tokens.len() / self.window) as u32
    }

    /// The number of scored tokens: in each window those after the first half and one more.
    pub(crate) fn counted(&self) -> u64 {
        (self.windows * (self.window - 1 - self.window / 2)) as u64
    }

    /// Returns the subject of the comparison of one model.
    pub(crate) fn subject(&self, model: ModelFile, reference: ModelFile) -> Subject {
        Subject {
            model,
            reference,
            text: self.text.clone(),
            ctx: self.window as u32,
            chunks: self.windows(),
            bos: self.bos.is_some(),
            engine: build_version::version(),
            llama_cpp: hedgerow_llama::BINDING.to_owned(),
        }
    }

    /// Reads all windows with all models; `on_window` is called with the number of windows done.
    ///
    /// # Errors
    ///
    /// When a KV cache does not fit the memory, or llama.cpp fails.
    pub(crate) fn run(
        &self,
        models: &[&LlamaModel],
        mut on_window: impl FnMut(u32),
    ) -> Result<Vec<Measured>, QualityError> {
        let started = Instant::now();
        let mut lockstep = Lockstep::new(self.reference, models, Tokens(self.window as u32), self.threads)?;
        let mut windows: Vec<Window> = Vec::with_capacity(self.windows);
        let mut read = Vec::with_capacity(self.window);
        for tokens in self.tokens.chunks_exact(self.window).take(self.windows) {
            read.clear();
            read.extend_from_slice(tokens);
            if let Some(bos) = self.bos {
                read[0] = bos;
            }
            windows.push(lockstep.window(&read)?);
            on_window(windows.len() as u32);
        }
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok((0..models.len()).map(|index| measured(&windows, index, took_ms)).collect())
    }
}

/// Sums up the windows of one model.
fn measured(windows: &[Window], index: usize, took_ms: u64) -> Measured {
    let of = |value: &dyn Fn(&Window) -> f64| -> Vec<f64> { windows.iter().map(value).collect() };
    let own = of(&|window| window.models[index].surprise);
    let reference = of(&|window| window.reference);
    let ratio = of(&|window| window.reference - window.models[index].surprise);
    let (ppl, ppl_reference) = (exp(mean_of(&own)), exp(mean_of(&reference)));
    // To first order in both means: d(e^a − e^b) = e^a da − e^b db. Paired, because both read the same windows.
    let paired: Vec<f64> = own
        .iter()
        .zip(&reference)
        .map(|(own, reference)| ppl.value * own - ppl_reference.value * reference)
        .collect();
    let kl_mean = mean_of(&of(&|window| window.models[index].divergence));
    let same_top = mean_of(&of(&|window| window.models[index].same_top));
    Measured {
        ppl,
        ppl_reference,
        ppl_delta: around(mean(&own).exp() - mean(&reference).exp(), half_width(&paired)),
        ppl_ratio: exp(mean_of(&ratio)),
        kl_mean: within(kl_mean, 0.0, f64::INFINITY),
        same_top: within(same_top, 0.0, 1.0),
        took_ms,
        // A clock before 1970 must not fail the run.
        measured_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::lockstep::OfModel;
    use super::*;

    #[test]
    fn a_constant_difference_in_surprisal_gives_a_ratio_without_uncertainty() {
        let window = |reference: f64| Window {
            reference,
            models: vec![OfModel { surprise: reference + 0.1, divergence: 0.02, same_top: 0.9 }],
        };
        let found = measured(&[window(2.0), window(2.5), window(3.0)], 0, 1);
        let ratio = found.ppl_ratio;
        assert!(
            (ratio.value - (-0.1_f64).exp()).abs() < 1e-12 && ratio.high - ratio.low < 1e-12,
            "{ratio:?}"
        );
        assert!((found.ppl_reference.value - 2.5_f64.exp()).abs() < 1e-9, "{found:?}");
        assert!((found.ppl_delta.value - (2.6_f64.exp() - 2.5_f64.exp())).abs() < 1e-9, "{found:?}");
        assert!(found.ppl.low < found.ppl.value && found.ppl.value < found.ppl.high);
        assert_eq!((found.kl_mean.value, found.same_top.value), (0.02, 0.9));
    }
}
