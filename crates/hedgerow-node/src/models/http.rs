//! A blocking HTTP client that uses the machine's certificates and proxies.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::ModelError;

/// Certificates and proxy to use instead of those of the environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Route {
    /// A file of certificates to use instead of the machine's.
    pub(super) certificates: Option<PathBuf>,
    /// A proxy to use instead of the one in `HTTPS_PROXY` and similar variables.
    pub(super) proxy: Option<String>,
}

/// A client with one [`Route`].
pub(super) struct Client {
    agent: Agent,
}

impl Client {
    /// A longer page cannot be one of the requested pages.
    const PAGE_BYTES_MAX: u64 = 32 << 20;

    /// Builds a client; opens no connection yet.
    pub(super) fn new(route: &Route) -> Result<Client, ModelError> {
        let roots = match &route.certificates {
            Some(file) => RootCerts::from(read_certificates(file)?.into_iter()),
            // Reads `SSL_CERT_FILE`, `SSL_CERT_DIR` and the system's store.
            None => RootCerts::PlatformVerifier,
        };
        let mut config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // The announced length must be that of the file, so compression is disabled.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        if let Some(address) = &route.proxy {
            let proxy = Proxy::new(address).map_err(|error| ModelError::Unreachable {
                url: address.clone(),
                detail: error.to_string(),
            })?;
            config = config.proxy(Some(proxy));
        }
        Ok(Client { agent: Agent::new_with_config(config.build()) })
    }

    /// Requests a page and reads all of it; returns its content type and its text.
    pub(super) fn page(&self, url: &str, headers: &[(&str, String)]) -> Result<(String, String), ModelError> {
        let mut response = self.open(url, headers)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(ModelError::HttpStatus { url: shown(url), status });
        }
        let kind = header(&response, "content-type").unwrap_or_default().to_owned();
        let mut text = String::new();
        let mut reader = response.body_mut().as_reader().take(Client::PAGE_BYTES_MAX);
        reader
            .read_to_string(&mut text)
            .map_err(|error| ModelError::BadReply { url: shown(url), detail: error.to_string() })?;
        Ok((kind, text))
    }

    /// Sends a request and returns the response with its body unread, whatever the status.
    pub(super) fn open(&self, url: &str, headers: &[(&str, String)]) -> Result<Response<Body>, ModelError> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map_err(|error| ModelError::Unreachable { url: shown(url), detail: error.to_string() })
    }
}

/// Returns a header's value, if the response has it and it is text.
pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Removes a password or signature from an address, for use in logs.
pub(super) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    }
}

/// Resolves a link relative to the page's address.
pub(super) fn join(page: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let page = page.split(['?', '#']).next().unwrap_or(page);
    let after_scheme = page.find("://").map_or(0, |at| at + 3);
    let host_end = page[after_scheme..].find('/').map_or(page.len(), |at| after_scheme + at);
    if let Some(other_host) = link.strip_prefix("//") {
        return format!("{}//{other_host}", &page[..after_scheme.saturating_sub(2)]);
    }
    if link.starts_with('/') {
        return format!("{}{link}", &page[..host_end]);
    }
    let mut folders: Vec<&str> = page[host_end..].split('/').skip(1).collect();
    folders.pop(); // Name of the page itself.
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop()),
            name => folders.push(name),
        }
    }
    format!("{}/{}", &page[..host_end], folders.join("/"))
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>, ModelError> {
    let text = std::fs::read(file).map_err(ModelError::io("reading the certificates in", file))?;
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None, // A bundle may contain keys and comments; only certificates are used.
    });
    Ok(certificates.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_joined_as_a_browser_joins_them() {
        let page = "http://host:8080/simple/tiny/";
        for (link, expected) in [
            ("https://other/a.whl", "https://other/a.whl"),
            ("//other/a.whl", "http://other/a.whl"),
            ("/files/a.whl", "http://host:8080/files/a.whl"),
            ("a.whl", "http://host:8080/simple/tiny/a.whl"),
            ("../../files/a.whl", "http://host:8080/files/a.whl"),
            ("../../../../a.whl", "http://host:8080/a.whl"),
        ] {
            assert_eq!(join(page, link), expected, "{link}");
        }
    }

    #[test]
    fn a_shown_address_has_no_secrets() {
        assert_eq!(shown("https://me:secret@host/a/b?token=x#y"), "https://host/a/b");
        assert_eq!(shown("https://host/a@b"), "https://host/a@b");
    }
}
