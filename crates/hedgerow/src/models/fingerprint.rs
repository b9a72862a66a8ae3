//! Tells model files apart.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::hex;

/// Read from the front: the metadata, the vocabulary and the table of tensors with their types and
/// sizes, which are all that step times depend on, and the first weights.
const FRONT_BYTES: u64 = 16 << 20;
/// Read from the end.
const END_BYTES: u64 = 1 << 20;

/// Tells model files apart without reading gigabytes at each start: the SHA-256 of the file's size, its
/// first 16 MiB and its last MiB. It is no proof that a file is whole.
pub(crate) fn fingerprint(path: &Path) -> std::io::Result<String> {
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
