//! Reading text files that may begin with a byte order mark.

use std::io;
use std::path::Path;

/// The mark that some editors and spreadsheets write at the start of a UTF-8 file; the parsers here do not accept it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a text file and removes a byte order mark.
///
/// # Errors
///
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// The bytes without a byte order mark.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK.to_string().as_bytes()).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let path = std::env::temp_dir().join(format!("hedgerow-byte-order-mark-{}", std::process::id()));
        for (bytes, text) in [(&b"\xef\xbb\xbf{}"[..], "{}"), (b"{}", "{}"), (b"\xef\xbb\xbf", "")] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_text(&path).unwrap(), text);
            assert_eq!(without_byte_order_mark(bytes), text.as_bytes());
        }
        std::fs::remove_file(path).unwrap();
    }
}
