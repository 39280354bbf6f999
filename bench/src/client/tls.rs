//! TLS as a client needs it: [`TlsFiles`] names PEM files, [`Tls`] is what was read from them.
//!
//! The server's certificate must be for the host that we connect to, and come from the given authority or, without one,
//! from one that the machine trusts.

use super::ClientError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Where certificates lie, as PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that may vouch for the server; without, those of the machine.
    pub authority: Option<PathBuf>,
    /// Our own certificate and its key, where the server asks for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What a TLS connection needs; clones share it.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads `files`.
    ///
    /// # Errors
    /// A file that cannot be read, that holds no certificate, or a key that does not fit.
    pub fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        match &files.authority {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        anyhow::ensure!(!roots.is_empty(), "there is no authority to trust: name one with --tls-ca");
        // Named, because a program that has two providers compiled in has no default one.
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &files.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|error| anyhow::anyhow!("{}: {error}", key.display()))?;
                builder.with_client_auth_cert(certificates(certificate)?, read)?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands with the server at `address` (`host:port`).
    pub(super) async fn wrap(&self, address: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, ClientError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ClientError::Refused(format!("{host} is no name that a certificate can be for")))?;
        self.connector.connect(name, stream).await.map_err(|error| match refusal(&error) {
            // What the network did may pass; what the certificates say does not.
            Some(refusal) => ClientError::Refused(format!("TLS: {refusal}")),
            None => ClientError::Io(error),
        })
    }
}

/// What TLS said, if it was not the network.
pub(super) fn refusal(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref().filter(|inner| inner.is::<tokio_rustls::rustls::Error>());
    inner.map(ToString::to_string)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let read = read.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    anyhow::ensure!(!read.is_empty(), "{} holds no certificate", path.display());
    Ok(read)
}
