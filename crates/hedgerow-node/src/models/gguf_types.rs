//! GGUF's type numbers and their meaning in llama.cpp.

/// Block layout of a tensor type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TensorType {
    /// Name in llama.cpp.
    pub(super) name: &'static str,
    /// Number of values per block.
    pub(super) block_count: u64,
    /// Bytes per block.
    pub(super) block_bytes: u64,
}

/// Returns the type with this number; `None` where this program's llama.cpp has none: it was removed, is newer than
/// this program, or never existed.
pub(super) fn tensor_type(id: u32) -> Option<TensorType> {
    let (name, block_count, block_bytes) = match id {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        41 => ("Q1_0", 128, 18),
        42 => ("Q2_0", 64, 18),
        _ => return None,
    };
    Some(TensorType { name, block_count, block_bytes })
}

/// Returns the bits per value of a type, including its share of the block's scales; `None` for an unknown type.
pub fn bits_per_number(name: &str) -> Option<f64> {
    let all = (0..64).filter_map(tensor_type);
    let known = all.into_iter().find(|known| known.name.eq_ignore_ascii_case(name))?;
    Some(8.0 * known.block_bytes as f64 / known.block_count as f64)
}
