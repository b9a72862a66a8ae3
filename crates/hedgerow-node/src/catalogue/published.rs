//! Published figures of precisions, for models that were not measured here.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Facts;
use super::figure::{Figure, Source};

/// A row of `data/published_speed.csv`.
#[derive(Debug, Deserialize)]
struct Speed {
    precision: String,
    beta_prefill: f64,
    beta_decode: f64,
}

/// A row of `data/published_quality.csv`.
#[derive(Debug, Deserialize)]
struct Loss {
    precision: String,
    /// Perplexity divided by that of the unquantized model.
    ppl_ratio: f64,
    same_top_percent: Option<f64>,
    importance_matrix: bool,
}

struct Tables {
    speed: Vec<Speed>,
    loss: Vec<Loss>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    speed: rows(include_str!("../../data/published_speed.csv")),
    loss: rows(include_str!("../../data/published_quality.csv")),
});

fn rows<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    reader.deserialize().collect::<Result<_, _>>().expect("the tables are part of the program")
}

/// Published figures of a model like this one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Published {
    /// For the prompt of a single request.
    pub(super) beta_prefill: Option<Figure>,
    /// For the output of a single request.
    pub(super) beta_decode: Option<Figure>,
    pub(super) quality_by_perplexity: Option<Figure>,
    pub(super) quality_by_agreement: Option<Figure>,
}

/// Returns the published figures, all of models of the Llama 3 family with 8 billion weights. The loss of a precision
/// depends mainly on the model's size, so they are not applied to other sizes.
pub(super) fn of(facts: &Facts) -> Published {
    if !is_llama_3_of_8b(facts) {
        return Published::default();
    }
    let speed = TABLES.speed.iter().find(|row| row.precision == facts.precision);
    let of_speed = Source::published(
        "llama.cpp, tools/quantize/README.md: Llama-3.1-8B on hardware not named there".into(),
    );
    let loss = TABLES.loss.iter().find(|row| row.precision == facts.precision);
    Published {
        beta_prefill: speed.map(|row| of_speed.of(row.beta_prefill)),
        beta_decode: speed.map(|row| of_speed.of(row.beta_decode)),
        quality_by_perplexity: quality_of_llama_3_8b(&facts.precision),
        quality_by_agreement: loss
            .and_then(|row| row.same_top_percent.map(|percent| of_loss(row).of(percent / 100.0))),
    }
}

/// Returns the published quality by perplexity of a precision of Llama 3 with 8 billion weights.
pub fn quality_of_llama_3_8b(precision: &str) -> Option<Figure> {
    let row = TABLES.loss.iter().find(|row| row.precision == precision)?;
    Some(of_loss(row).of((1.0 / row.ppl_ratio).min(1.0)))
}

fn of_loss(row: &Loss) -> Source {
    let matrix = if row.importance_matrix { ", with an importance matrix" } else { "" };
    Source::published(format!("llama.cpp, tools/perplexity/README.md: Llama-3-8B on WikiText-2{matrix}"))
}

fn is_llama_3_of_8b(facts: &Facts) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let names = [facts.says_name.clone().unwrap_or_default(), facts.model_name()];
    facts.architecture.as_deref() == Some("llama")
        && names.iter().any(|name| letters(name).contains("llama3"))
        && (7_000_000_000..9_000_000_000).contains(&facts.parameters)
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::*;

    #[test]
    fn a_llama_3_of_8b_is_given_what_is_published_of_its_precision() {
        let llama = Facts { parameters: 8_030_261_248, ..facts("Meta-Llama-3.1-8B-Instruct", "Q8_0") };
        let found = of(&llama);
        assert_eq!(found.beta_decode.map(|figure| figure.value), Some(0.5727));
        assert_eq!(found.quality_by_agreement.map(|figure| figure.value), Some(0.97674));
        let quality = found.quality_by_perplexity.unwrap();
        assert!((quality.value - 1.0 / 1.000_425).abs() < 1e-12, "{quality:?}");
        let without_speed = of(&Facts { precision: "Q4_0".into(), ..llama });
        assert_eq!(without_speed.beta_decode, None, "it is not published");
        assert!(without_speed.quality_by_perplexity.is_some());
    }

    #[test]
    fn no_other_model_is_given_any_of_it() {
        for (name, parameters) in [
            ("SmolLM2-135M", 134_515_008),
            ("Llama-3.2-1B", 1_235_814_432),
            ("CodeLlama-34B", 33_743_970_304),
        ] {
            assert_eq!(of(&Facts { parameters, ..facts(name, "Q8_0") }), Published::default(), "{name}");
        }
    }

    #[test]
    fn every_published_number_is_one_that_can_be() {
        assert!(TABLES.speed.len() > 20 && TABLES.loss.len() > 20);
        let is_factor = |value: f64| value > 0.0 && value < 10.0;
        assert!(TABLES.speed.iter().all(|row| is_factor(row.beta_prefill) && is_factor(row.beta_decode)));
        assert!(TABLES.loss.iter().all(|row| row.ppl_ratio >= 1.0));
    }
}
