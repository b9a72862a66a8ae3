//! Random ids: a caller cannot guess another's.

/// Returns a new id: the prefix and 24 random hexadecimal digits.
pub(crate) fn new(prefix: &str) -> String {
    let [high, low]: [u64; 2] = rand::random();
    format!("{prefix}{high:016x}{:08x}", low >> 32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_is_its_prefix_and_24_digits_and_no_two_are_equal() {
        let [one, other] = [(); 2].map(|()| super::new("file-"));
        assert_ne!(one, other);
        let digits = one.strip_prefix("file-").unwrap();
        assert!(digits.len() == 24 && digits.chars().all(|digit| digit.is_ascii_hexdigit()), "{one}");
    }
}
