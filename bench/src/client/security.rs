//! How a connection is secured: [`Security`] has what `--tls*` and `--sasl*` say, ready to be used.

use super::sasl::Sasl;
use super::tls::Tls;

/// TLS, SASL, both or neither. Clones share the certificates.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Encrypts, and checks whom we talk to.
    pub tls: Option<Tls>,
    /// Tells the broker who we are.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Kafka's name for it: the listener's `security.protocol`.
    pub fn protocol(&self) -> &'static str {
        match (self.tls.is_some(), self.sasl.is_some()) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        }
    }
}
