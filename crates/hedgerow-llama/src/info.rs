//! Metadata of a GGUF file.

use hedgerow_core::node::{KvType, ModelShape};
use hedgerow_core::units::{Bytes, Tokens};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::LlamaError;

/// The metadata of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Its name; the architecture if the file has no name.
    pub name: String,
    /// Its architecture, as named by llama.cpp: `llama`, `qwen3`, …
    pub architecture: String,
    /// The type of its weights: `F16`, `Q4_1`, …; `unknown` if the file does not name it.
    pub precision: String,
    /// Size of the file.
    pub file: Bytes,
    /// Size of the weights in it.
    pub weights: Bytes,
    /// Number of parameters.
    pub parameters: u64,
    /// The dimensions from which the cost model computes.
    pub shape: ModelShape,
    /// The context length it was trained with.
    pub train_context: Tokens,
    /// Its chat template, in Jinja.
    pub chat_template: Option<String>,
    /// The text of its beginning-of-text token.
    pub bos: Option<String>,
    /// The text of its end-of-text token.
    pub eos: Option<String>,
    /// Whether texts should begin with [`ModelInfo::bos`].
    pub add_bos: bool,
}

impl ModelInfo {
    pub(crate) fn read(model: &LlamaModel, file: Bytes) -> Result<Self, LlamaError> {
        let text = |key: &str| model.meta_val_str(key).ok();
        let architecture = text("general.architecture")
            .ok_or_else(|| LlamaError::NoMetadata { key: "general.architecture".to_owned() })?;
        if !is_decoder(model, &architecture) {
            return Err(LlamaError::NotADecoder { architecture });
        }
        let vocabulary = model.vocab();
        let token_text = |token: LlamaToken| {
            // −1 if the model has no such token.
            let token = (token.0 >= 0).then_some(token)?;
            Some(vocabulary.text(token)?.to_string_lossy().into_owned())
        };
        let file_type = text("general.file_type").and_then(|number| number.parse().ok());
        Ok(Self {
            name: text("general.name").unwrap_or_else(|| architecture.clone()),
            precision: file_type.and_then(precision_name).unwrap_or("unknown").to_owned(),
            file,
            weights: Bytes(model.size()),
            parameters: model.n_params(),
            shape: shape(model, &architecture)?,
            train_context: Tokens(model.n_ctx_train()),
            chat_template: model.chat_template(None).ok().and_then(|template| template.to_string().ok()),
            bos: token_text(vocabulary.bos()),
            eos: token_text(vocabulary.eos()),
            add_bos: vocabulary.should_add_bos(),
            architecture,
        })
    }
}

/// Whether the model is an autoregressive decoder with a KV cache. Its memory then grows token by token and can be
/// truncated at any token, which all decisions of hedgerow assume.
fn is_decoder(model: &LlamaModel, architecture: &str) -> bool {
    let is_bidirectional =
        model.meta_val_str(&format!("{architecture}.attention.causal")).is_ok_and(|value| value == "false");
    let has_encoder = model.decode_start_token().0 >= 0;
    !model.is_recurrent() && !model.is_hybrid() && !is_bidirectional && !has_encoder
}

fn shape(model: &LlamaModel, architecture: &str) -> Result<ModelShape, LlamaError> {
    // Some models have a list here, with one number per layer; the first is used for all.
    let number = |key: &str| -> Option<u32> {
        let value = model.meta_val_str(&format!("{architecture}.{key}")).ok()?;
        value.trim_start_matches('[').split([',', ']']).next()?.trim().parse().ok()
    };
    let missing = |key: &str| LlamaError::NoMetadata { key: format!("{architecture}.{key}") };
    // For a mixture of experts, the total width of the experts active per token.
    let experts = || Some(number("expert_feed_forward_length")?.saturating_mul(number("expert_used_count")?));
    let hidden = model.n_embd().unsigned_abs();
    let head_width = number("attention.key_length").unwrap_or(hidden / model.n_head().max(1));
    Ok(ModelShape {
        layers: model.n_layer(),
        hidden,
        kv_width: model.n_head_kv() * head_width,
        feed_forward: experts()
            .or_else(|| number("feed_forward_length"))
            .ok_or_else(|| missing("feed_forward_length"))?,
        gated: !UNGATED.contains(&architecture),
        vocabulary: model.n_vocab().unsigned_abs(),
        // The default; an engine may override it.
        kv_type: KvType::F16,
    })
}

/// Architectures whose feed-forward part has two matrices instead of three: those that llama.cpp builds with
/// `LLM_FFN_SEQ` and an ungated activation (its `src/models`).
const UNGATED: &[&str] = &[
    "arcee",
    "bloom",
    "codeshell",
    "falcon",
    "gpt2",
    "gptneox",
    "jais2",
    "mpt",
    "nemotron",
    "phi2",
    "plm",
    "starcoder",
    "starcoder2",
];

/// The name of a GGUF file's `general.file_type` (`llama_ftype` in llama.cpp's `llama.h`): the type of most of its
/// tensors.
pub fn precision_name(file_type: u64) -> Option<&'static str> {
    Some(match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}
