//! SASL as a client needs it, without I/O: PLAIN (RFC 4616) and SCRAM. An [`Exchange`] says what to send, and hears what
//! comes back; the connection carries it in Kafka's SaslHandshake and SaslAuthenticate (KIP-152).

use super::scram::{Conversation, Expected, Hash};

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

/// A conversation with the broker, message by message.
pub(super) enum Exchange {
    /// There is something to be said.
    Say(Vec<u8>, Box<Next>),
    /// The broker is convinced, and so are we.
    Done,
}

/// What follows an answer.
pub(super) enum Next {
    /// Whatever it was, it was a yes.
    Convinced,
    /// The server's first message.
    ServerFirst(Conversation, String),
    /// The server's last one.
    ServerFinal(Expected),
}

impl Sasl {
    /// Begins.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn begin(&self) -> Result<Exchange, &'static str> {
        let hash = match self.mechanism {
            Mechanism::Plain => {
                let message = format!("\0{}\0{}", self.user, self.password);
                return Ok(Exchange::Say(message.into_bytes(), Box::new(Next::Convinced)));
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let conversation = Conversation::start(hash, &self.user)?;
        let message = conversation.client_first().into_bytes();
        Ok(Exchange::Say(message, Box::new(Next::ServerFirst(conversation, self.password.clone()))))
    }
}

impl Next {
    /// What to do about the broker's answer.
    ///
    /// # Errors
    /// Why the broker is not trusted.
    pub(super) fn hear(self, answer: &[u8]) -> Result<Exchange, &'static str> {
        match self {
            Next::Convinced => Ok(Exchange::Done),
            Next::ServerFirst(conversation, password) => {
                let (message, expected) = conversation.respond(answer, &password)?;
                Ok(Exchange::Say(message.into_bytes(), Box::new(Next::ServerFinal(expected))))
            }
            Next::ServerFinal(expected) => expected.check(answer).map(|()| Exchange::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_says_it_all_at_once() {
        let sasl =
            Sasl { mechanism: "plain".parse().unwrap(), user: "alice".to_owned(), password: "secret".to_owned() };
        let Ok(Exchange::Say(message, next)) = sasl.begin() else { panic!("nothing to say") };
        assert_eq!(message, b"\0alice\0secret");
        assert!(matches!(next.hear(b""), Ok(Exchange::Done)));
        assert!(!format!("{sasl:?}").contains("secret"));
        assert!("GSSAPI".parse::<Mechanism>().is_err());
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_not_trusted() {
        let sasl = Sasl { mechanism: Mechanism::ScramSha256, user: "bob".to_owned(), password: "secret".to_owned() };
        let Ok(Exchange::Say(message, next)) = sasl.begin() else { panic!("nothing to say") };
        let nonce = String::from_utf8(message).unwrap().split_once(",r=").unwrap().1.to_owned();
        let first = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let Ok(Exchange::Say(_, next)) = next.hear(first.as_bytes()) else { panic!("nothing to say") };
        assert!(next.hear(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
    }
}
