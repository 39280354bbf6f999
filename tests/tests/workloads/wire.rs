//! What lies between a load and its broker: a wire that is encrypted, one that is slow, or one that damages what it carries.
//!
//! The broker advertises the wire's address, so that everything goes through it. The certificate is for `localhost`, from
//! an authority of our own, and holds for a hundred years:
//!
//! ```text
//! openssl ecparam -name prime256v1 -genkey -noout -out ca.key
//! openssl req -x509 -new -key ca.key -sha256 -days 36500 -subj "/CN=esker tests" -addext basicConstraints=critical,CA:TRUE \
//!     -addext keyUsage=critical,keyCertSign -out ca.pem
//! openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem
//! openssl req -new -key key.pem -subj /CN=localhost | openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 \
//!     -sha256 -extfile <(echo subjectAltName=DNS:localhost) -out cert.pem
//! ```
//!
//! Clients have another authority, `client-ca.pem`, and one of them `client-cert.pem` with its key; made in the same way,
//! `-subj /CN=load`, with the extension `extendedKeyUsage=clientAuth`.

use esker_bench::client::Client;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::protocol::StrBytes;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// Answers of more bytes than this hold records.
const LARGE: usize = 10_000;

/// What the wire does.
#[derive(Clone)]
pub(crate) enum Treatment {
    /// Flips a bit in the first large answer.
    Damage,
    /// Keeps each answer for so long.
    Slow(Duration),
    /// Speaks TLS with the client.
    Tls(TlsAcceptor),
}

/// What happens to answers.
#[derive(Clone, Copy, Default)]
struct Answers<'a> {
    /// Where it is noted that one was damaged, if one is to be.
    damaged: Option<&'a AtomicBool>,
    /// How long each is kept.
    kept: Duration,
}

/// A listener that leads to a broker.
pub(crate) struct Wire {
    port: u16,
    target: Arc<OnceLock<String>>,
}

/// TLS with our certificate, for anybody; the authority's goes to `folder/ca.pem`.
pub(crate) fn tls(folder: &Path) -> Treatment {
    served(folder, None)
}

/// TLS for clients whom `client-ca.pem` vouches for. Into `folder` go the authority's certificate, and those and the keys
/// of such a client (`client-cert.pem`, `client-key.pem`) and of another one (`cert.pem`, `key.pem`).
pub(crate) fn mutual_tls(folder: &Path) -> Treatment {
    for (name, bytes) in [
        ("client-cert.pem", &include_bytes!("client-cert.pem")[..]),
        ("client-key.pem", include_bytes!("client-key.pem")),
        ("cert.pem", include_bytes!("cert.pem")),
        ("key.pem", include_bytes!("key.pem")),
    ] {
        std::fs::write(folder.join(name), bytes).expect("it can be written");
    }
    let mut trusted = RootCertStore::empty();
    for authority in certificates(include_bytes!("client-ca.pem")) {
        trusted.add(authority).expect("an authority");
    }
    served(folder, Some(trusted))
}

fn served(folder: &Path, clients: Option<RootCertStore>) -> Treatment {
    std::fs::write(folder.join("ca.pem"), include_bytes!("ca.pem")).expect("the authority can be written");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).expect("a key");
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(trusted) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let config = builder.with_single_cert(certificates(include_bytes!("cert.pem")), key).expect("they belong together");
    Treatment::Tls(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().expect("certificates")
}

impl Wire {
    /// Listens; connections are served once it is known where it leads to.
    pub(crate) async fn listen(treatment: Treatment) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let target = Arc::new(OnceLock::<String>::new());
        let (to, damaged) = (Arc::clone(&target), Arc::new(AtomicBool::new(false)));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (treatment, damaged, to) = (treatment.clone(), Arc::clone(&damaged), Arc::clone(&to));
                tokio::spawn(async move {
                    let address = to.get().expect("connections come when the broker is there");
                    let broker = TcpStream::connect(address).await?;
                    client.set_nodelay(true)?;
                    broker.set_nodelay(true)?;
                    match treatment {
                        Treatment::Damage => {
                            carry(client, broker, Answers { damaged: Some(&damaged), ..Answers::default() }).await
                        }
                        Treatment::Slow(kept) => carry(client, broker, Answers { kept, ..Answers::default() }).await,
                        Treatment::Tls(acceptor) => {
                            carry(acceptor.accept(client).await?, broker, Answers::default()).await
                        }
                    }
                });
            }
        });
        Self { port, target }
    }

    /// Where it leads to.
    pub(crate) fn lead_to(&self, broker: &str) {
        self.target.set(broker.to_owned()).expect("it leads to one broker");
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the broker must advertise, reached by the name `host`.
    pub(crate) fn advertised(&self, host: &str) -> String {
        format!("PLAINTEXT://{host}:{}", self.port)
    }
}

/// Carries bytes both ways until one side ends.
async fn carry(
    client: impl AsyncRead + AsyncWrite + Unpin,
    broker: TcpStream,
    treated: Answers<'_>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = broker.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from_client.read(&mut buffer).await?;
            if length == 0 {
                return to_broker.shutdown().await;
            }
            to_broker.write_all(&buffer[..length]).await?;
        }
    };
    let answers = async {
        loop {
            let length = from_broker.read_u32().await?;
            let mut frame = vec![0; length as usize];
            from_broker.read_exact(&mut frame).await?;
            if frame.len() > LARGE
                && let Some(damaged) = treated.damaged
                && !damaged.swap(true, Ordering::AcqRel)
            {
                let at = frame.len() / 2;
                frame[at] ^= 4;
            }
            if treated.kept > Duration::ZERO {
                tokio::time::sleep(treated.kept).await;
            }
            to_client.write_u32(length).await?;
            to_client.write_all(&frame).await?;
            to_client.flush().await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

/// Deletes every record of a topic's one partition that is there now.
pub(crate) async fn delete_records(client: &Client, topic: &str) {
    // -1 is the high watermark.
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(-1);
    let topic = DeleteRecordsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.any().await.expect("a broker").call(&request).await.expect("an answer");
    let codes: Vec<i16> = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    assert_eq!(codes, [0]);
}
