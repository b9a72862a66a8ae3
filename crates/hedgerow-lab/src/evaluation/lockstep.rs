//! Runs several models over the same window in lockstep.

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{LlamaError, LlamaModel, PIECE_MAX, WindowReader};

use super::score::{Guess, Place};

/// The reference and the models compared with it, each with its own KV cache.
pub(super) struct Lockstep<'m> {
    reference: WindowReader<'m>,
    /// `None` for the reference itself, which is evaluated only once.
    models: Vec<Option<WindowReader<'m>>>,
    threads: usize,
}

/// Means over the scored positions of a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// The reference's surprisal of the next token, in nats.
    pub(super) reference: f64,
    pub(super) models: Vec<OfModel>,
}

/// The means of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct OfModel {
    pub(super) surprise: f64,
    /// Its Kullback-Leibler divergence from the reference, in nats.
    pub(super) divergence: f64,
    /// The fraction of positions where its top token is the reference's.
    pub(super) same_top: f64,
}

/// The scores (logits) of all models at one position, and the token that follows.
struct Scores<'s> {
    reference: &'s [f32],
    models: Vec<&'s [f32]>,
    next: usize,
}

impl<'m> Lockstep<'m> {
    pub(super) fn new(
        reference: &'m LlamaModel,
        models: &[&'m LlamaModel],
        window: Tokens,
        threads: u32,
    ) -> Result<Self, LlamaError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            reference: WindowReader::new(reference, window, threads)?,
            models: models
                .iter()
                .map(|model| {
                    let is_another = !std::ptr::eq(*model, reference);
                    is_another.then(|| WindowReader::new(model, window, threads)).transpose()
                })
                .collect::<Result<_, _>>()?,
            threads: if threads == 0 { cores } else { threads as usize },
        })
    }

    /// Runs the models over a window and scores its second half, as llama.cpp's own tool does: at each position from
    /// the middle on, the token after it. So every scored token has at least half a window of context.
    pub(super) fn window(&mut self, tokens: &[TokenId]) -> Result<Window, LlamaError> {
        let first = tokens.len() / 2;
        self.reference.begin();
        self.models.iter_mut().flatten().for_each(WindowReader::begin);
        let mut window = Window { reference: 0.0, models: vec![OfModel::default(); self.models.len()] };
        for (number, piece) in tokens.chunks(PIECE_MAX).enumerate() {
            let start = number * PIECE_MAX;
            let scored_from = first.saturating_sub(start).min(piece.len());
            for reader in std::iter::once(&mut self.reference).chain(self.models.iter_mut().flatten()) {
                reader.read(piece, scored_from)?;
            }
            let places: Vec<Scores<'_>> = (scored_from..piece.len())
                .filter_map(|index| self.scores(index, *tokens.get(start + index + 1)?))
                .collect();
            for (reference, models) in compare_all(&places, self.threads) {
                window.reference += reference;
                for (sum, own) in window.models.iter_mut().zip(models) {
                    sum.surprise += own.surprise;
                    sum.divergence += own.divergence;
                    sum.same_top += own.same_top;
                }
            }
        }
        let counted = (tokens.len() - 1 - first) as f64;
        window.reference /= counted;
        for model in &mut window.models {
            model.surprise /= counted;
            model.divergence /= counted;
            model.same_top /= counted;
        }
        Ok(window)
    }

    fn scores(&self, index: usize, next: TokenId) -> Option<Scores<'_>> {
        Some(Scores {
            reference: self.reference.scores(index),
            models: self
                .models
                .iter()
                .map(|reader| reader.as_ref().unwrap_or(&self.reference).scores(index))
                .collect(),
            next: usize::try_from(next.0).ok()?,
        })
    }
}

/// Compares the models at all positions in parallel. Results are in the order of the positions, so that sums do not
/// depend on the threads' timing.
fn compare_all(places: &[Scores<'_>], threads: usize) -> Vec<(f64, Vec<OfModel>)> {
    let share = places.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = |places: &[Scores<'_>]| {
            let mut scratch = Place::default();
            places.iter().map(|place| compare(place, &mut scratch)).collect::<Vec<_>>()
        };
        let parts: Vec<_> = places.chunks(share).map(|places| scope.spawn(move || work(places))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("arithmetic does not panic")).collect()
    })
}

fn compare(place: &Scores<'_>, scratch: &mut Place) -> (f64, Vec<OfModel>) {
    let reference = scratch.reference(place.reference);
    let of_model = |scores: &&[f32]| {
        let guess = Guess::of(scores);
        OfModel {
            surprise: guess.surprise(scores, place.next),
            divergence: scratch.divergence((place.reference, &reference), (scores, &guess)),
            same_top: f64::from(u8::from(guess.top == reference.top)),
        }
    };
    (reference.surprise(place.reference, place.next), place.models.iter().map(of_model).collect())
}
