//! TLS on accepted connections, with a certificate that can be replaced while the server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use hedgerow_workload::hint::hinted;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate of the server, and its key.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// Reads a certificate chain and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or the key is not the certificate's.
    pub(crate) fn new(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let acceptor = RwLock::new(read(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), acceptor })
    }

    /// Reads both files again; new connections use them.
    ///
    /// # Errors
    ///
    /// As for [`Tls::new`]; then the certificate in force remains.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let acceptor = read(&self.certificate, &self.key)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// What accepts TLS on a connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let failed = |path: &Path, what: String| {
        let hint = "`server.tls_certificate` and `server.tls_key` are files in PEM: the chain from the server's own certificate, \
                    and its private key";
        hinted(format!("{}: {what}", path.display()), hint)
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| failed(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use hedgerow_node::metrics::Metrics;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;
    use crate::connections::Connections;

    /// Writes a new certificate for localhost, and its key.
    fn issue(folder: &Path) -> CertificateDer<'static> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        issued.cert.der().clone()
    }

    /// Asks over TLS and trusts only one certificate; returns the response, or `None` if it is not the server's.
    async fn ask(address: SocketAddr, trusted: &CertificateDer<'static>) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        Some(response)
    }

    #[tokio::test]
    async fn a_replaced_certificate_is_used_by_new_connections_and_a_wrong_one_is_not() {
        let folder = std::env::temp_dir().join(format!("hedgerow-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = issue(&folder);
        let tls = Arc::new(Tls::new(&folder.join("cert.pem"), &folder.join("key.pem")).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = hedgerow_node::config::of_file(None).unwrap().limits;
        let router = Router::new().route("/", get(|| async { "served" }));
        let metrics = Metrics::new().connections();
        let connections = Connections::accept(listener, router, &limits, metrics, Some(Arc::clone(&tls)));
        assert!(ask(address, &first).await.unwrap().ends_with("served"));
        let second = issue(&folder);
        tls.reload().unwrap();
        assert!(ask(address, &second).await.unwrap().ends_with("served"));
        assert_eq!(ask(address, &first).await, None, "the first one is no longer used");
        std::fs::write(folder.join("key.pem"), "no key").unwrap();
        assert!(tls.reload().is_err());
        assert!(ask(address, &second).await.unwrap().ends_with("served"));
        connections.close(Duration::from_secs(5)).await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
