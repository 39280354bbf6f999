//! SASL as a client needs it: PLAIN (RFC 4616) and SCRAM, in Kafka's SaslHandshake and SaslAuthenticate (KIP-152).

use super::scram::{Conversation, Hash};
use super::{ClientError, Connection};
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password as it is.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl std::str::FromStr for Mechanism {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Mechanism::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("{name} is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"))
    }
}

/// Who we are, and how we prove it.
#[derive(Clone)]
pub struct Sasl {
    /// How.
    pub mechanism: Mechanism,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sasl({} as {:?})", self.mechanism.name(), self.user)
    }
}

impl Sasl {
    /// Authenticates a connection; the first thing on it after ApiVersions.
    pub(super) async fn authenticate(&self, connection: &Connection) -> Result<(), ClientError> {
        let name = self.mechanism.name();
        let answer =
            connection.call(&SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name))).await?;
        if answer.error_code != 0 {
            let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(ClientError::Refused(format!("{name} is not offered, only {}", offered.join(", "))));
        }
        let hash = match self.mechanism {
            Mechanism::Plain => {
                let message = format!("\0{}\0{}", self.user, self.password);
                return step(connection, message.into_bytes()).await.map(drop);
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let refused = |what: &'static str| ClientError::Refused(format!("{name}: {what}"));
        let conversation = Conversation::start(hash, &self.user).map_err(refused)?;
        let server_first = step(connection, conversation.client_first().into_bytes()).await?;
        let (client_final, expected) = conversation.respond(&server_first, &self.password).map_err(refused)?;
        let server_final = step(connection, client_final.into_bytes()).await?;
        expected.check(&server_final).map_err(refused)
    }
}

async fn step(connection: &Connection, message: Vec<u8>) -> Result<Bytes, ClientError> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
    let answer = connection.call(&request).await?;
    if answer.error_code == 0 {
        return Ok(answer.auth_bytes);
    }
    let said = answer.error_message.as_ref().map_or("without a reason", StrBytes::as_str);
    Err(ClientError::Refused(format!("authentication failed: {said}")))
}
