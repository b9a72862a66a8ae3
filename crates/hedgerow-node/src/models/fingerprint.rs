//! Identifies model files.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::hex;

/// Bytes read from the front: the metadata, the vocabulary and the table of tensors with their types and sizes, which
/// determine step times, and the first weights.
const FRONT_BYTES: u64 = 16 << 20;
/// Bytes read from the end.
const END_BYTES: u64 = 1 << 20;

/// Identifies a model file without reading gigabytes at each start: the SHA-256 of the file's size, its first 16 MiB
/// and its last MiB. It does not verify that the file is intact.
pub fn fingerprint(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = Sha256::new();
    hasher.update(size.to_le_bytes());
    let mut piece = Vec::new();
    (&file).take(FRONT_BYTES).read_to_end(&mut piece)?;
    hasher.update(&piece);
    piece.clear();
    file.seek(SeekFrom::Start(size.saturating_sub(END_BYTES)))?;
    file.take(END_BYTES).read_to_end(&mut piece)?;
    hasher.update(&piece);
    Ok(format!("sha256-ends:{}", hex(&hasher.finalize())))
}
