//! Which requests a browser may send: a web page must not reach a server on the machine of the person who reads it.
//!
//! A page can make a browser send requests to any address; it can even resolve its own name to this machine (DNS
//! rebinding). So a server that listens on loopback answers only requests that name this machine, and no server accepts
//! requests of pages that are not its own, unless the configuration lists them.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiError;

/// Which hosts and origins are accepted.
#[derive(Clone, Debug)]
pub(crate) struct OriginRules {
    /// Whether only names of this machine are accepted as `Host`.
    is_loopback: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl OriginRules {
    /// The rules of a server that listens on `address`.
    pub(crate) fn new(address: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        Self { is_loopback: address.ip().is_loopback(), hosts: hosts.to_vec(), origins: origins.to_vec() }
    }

    /// Checks a request; returns the origin of a listed page, which must be named in the response.
    fn check<'a>(
        &self,
        host: Option<&str>,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, ApiError> {
        if self.is_loopback && !host.is_some_and(|host| self.is_accepted(host)) {
            return Err(ApiError::host_not_allowed(host.unwrap_or("")));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let text = origin.to_str().unwrap_or("text that is not ASCII").to_lowercase();
        if self.origins.contains(&text) {
            return Ok(Some(origin));
        }
        let is_own = text.split_once("://").is_some_and(|(_, of)| Some(of) == host);
        if is_own { Ok(None) } else { Err(ApiError::origin_not_allowed(&text)) }
    }

    fn is_accepted(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let is_this_machine = name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        is_this_machine || self.hosts.contains(&name)
    }
}

/// Refuses what the rules do not accept, and answers the preflight requests of listed pages.
pub(crate) async fn guard(State(rules): State<OriginRules>, request: Request, next: Next) -> Response {
    let of_uri = request.uri().authority().map(Authority::as_str);
    let of_header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = of_uri.or(of_header).map(str::to_lowercase);
    let origin = match rules.check(host.as_deref(), request.headers()) {
        Ok(origin) => origin.cloned(),
        Err(error) => return error.into_response(),
    };
    let Some(origin) = origin else { return next.run(request).await };
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response =
        if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if is_preflight {
        let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE");
        set(header::ACCESS_CONTROL_MAX_AGE, "600");
        headers.extend(asked.map(|asked| (header::ACCESS_CONTROL_ALLOW_HEADERS, asked)));
    } else {
        let exposed = "x-request-id, retry-after, retry-after-ms, x-should-retry";
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, host: Option<&str>, origin: Option<&str>) -> Result<bool, u16> {
        let listed = ["https://chat.example.org".to_owned()];
        let rules = OriginRules::new(address.parse().unwrap(), &["box.lan".to_owned()], &listed);
        let mut headers = HeaderMap::new();
        headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
        let checked = rules.check(host, &headers);
        checked.map(|origin| origin.is_some()).map_err(|error| error.into_response().status().as_u16())
    }

    #[test]
    fn a_server_on_loopback_answers_only_to_its_own_names() {
        let on_loopback = |host| check("127.0.0.1:8473", host, None);
        for host in
            ["localhost:8473", "127.0.0.1:8473", "[::1]:8473", "app.localhost", "box.lan", "127.1.2.3"]
        {
            assert_eq!(on_loopback(Some(host)), Ok(false), "{host}");
        }
        for host in ["evil.example:8473", "localhost.evil.example", "10.0.0.1", "", "a b"] {
            assert_eq!(on_loopback(Some(host)), Err(403), "{host}");
        }
        assert_eq!(on_loopback(None), Err(403));
        assert_eq!(check("0.0.0.0:8473", Some("any.example"), None), Ok(false), "reached over the network");
    }

    #[test]
    fn only_own_and_listed_pages_may_ask() {
        let from = |origin| check("127.0.0.1:8473", Some("localhost:8473"), Some(origin));
        assert_eq!(from("http://localhost:8473"), Ok(false));
        assert_eq!(from("https://chat.example.org"), Ok(true));
        for origin in
            ["https://evil.example", "null", "http://localhost:3000", "https://chat.example.org.evil"]
        {
            assert_eq!(from(origin), Err(403), "{origin}");
        }
    }
}
