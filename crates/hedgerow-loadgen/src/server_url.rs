//! The address of a server, in every form that clients use.

/// Returns the URL of a server without `/v1`, in which client addresses end, and without a last slash.
pub fn server_root(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url).trim_end_matches('/');
    let scheme = if url.contains("://") { "" } else { "http://" };
    format!("{scheme}{url}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_is_accepted_in_every_form_that_clients_use() {
        for url in
            ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/", "a:1", "a:1/v1", " http://a:1 "]
        {
            assert_eq!(server_root(url), "http://a:1", "{url}");
        }
        assert_eq!(server_root("https://a/hedgerow/v1"), "https://a/hedgerow");
    }
}
