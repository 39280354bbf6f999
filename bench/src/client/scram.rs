//! The client's side of SCRAM (RFC 5802, RFC 7677), without I/O: messages in, messages out.
//!
//! ```text
//! client-first  n,,n=user,r=nonce                 server-first  r=nonce+more,s=salt,i=iterations
//! client-final  c=biws,r=nonce+more,p=proof       server-final  v=signature
//! ```
//!
//! As Kafka, without channel binding, and names and passwords as they are: SASLprep changes nothing of ASCII.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

/// The least iterations that the RFC allows, and Kafka.
const MIN_ITERATIONS: u32 = 4096;
/// The most that a server may make us compute.
const MAX_ITERATIONS: u32 = 1 << 20;

/// The hash of the mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// RFC 7677.
    Sha256,
    /// As RFC 7677, with SHA-512.
    Sha512,
    /// RFC 5802's, whose example is the only official one besides RFC 7677's. Kafka has no such mechanism.
    #[cfg(test)]
    Sha1,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
            #[cfg(test)]
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        self.hmac().digest_algorithm()
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
            #[cfg(test)]
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        }
    }
}

/// A conversation that was started.
#[derive(Debug)]
pub(super) struct Conversation {
    hash: Hash,
    first_bare: String,
    nonce: String,
}

/// What the server must say to show that it knows the password's verifier.
#[derive(Debug)]
pub(super) struct Expected(Vec<u8>);

impl Conversation {
    /// Starts one with a nonce of its own.
    pub(super) fn start(hash: Hash, user: &str) -> Result<Self, &'static str> {
        let mut nonce = [0; 24];
        rand::fill(&mut nonce).map_err(|_| "no randomness")?;
        // Base64 has no comma.
        Ok(Self::with_nonce(hash, user, STANDARD.encode(nonce)))
    }

    fn with_nonce(hash: Hash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, first_bare: format!("n={user},r={nonce}"), nonce }
    }

    /// The first message.
    pub(super) fn client_first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message, and what its last one must say.
    pub(super) fn respond(self, server_first: &[u8], password: &str) -> Result<(String, Expected), &'static str> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| "the server's answer is not text")?;
        let field = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name));
        if field("m=").is_some() {
            return Err("the server asks for an extension that nobody knows");
        }
        let nonce = field("r=").ok_or("the server gave no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's nonce is not made from ours");
        }
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or("the server gave no salt")?;
        let iterations: u32 = field("i=").and_then(|i| i.parse().ok()).ok_or("the server gave no iterations")?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err("the server's iterations are out of bounds");
        }
        let iterations = NonZeroU32::new(iterations).ok_or("no iterations")?;
        let algorithm = self.hash.hmac();
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(algorithm, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hmac::sign(&hmac::Key::new(algorithm, stored_key.as_ref()), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let expected = hmac::sign(&hmac::Key::new(algorithm, server_key.as_ref()), message.as_bytes());
        let answer = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((answer, Expected(expected.as_ref().to_vec())))
    }
}

impl Expected {
    /// Whether the server's last message says it.
    pub(super) fn check(&self, server_final: &[u8]) -> Result<(), &'static str> {
        let said = std::str::from_utf8(server_final).map_err(|_| "the server's answer is not text")?;
        let said = said.split(',').find_map(|part| part.strip_prefix("v=")).ok_or("the server did not sign")?;
        let said = STANDARD.decode(said).map_err(|_| "the server's signature is not base64")?;
        constant_time::verify_slices_are_equal(&said, &self.0).map_err(|_| "the server does not know the password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converse(hash: Hash, nonce: &str, server_first: &str) -> (String, Expected) {
        let conversation = Conversation::with_nonce(hash, "user", nonce.to_owned());
        assert_eq!(conversation.client_first(), format!("n,,n=user,r={nonce}"));
        conversation.respond(server_first.as_bytes(), "pencil").unwrap()
    }

    /// RFC 5802, section 5.
    #[test]
    fn the_example_of_rfc_5802() {
        let (answer, expected) = converse(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        );
        assert_eq!(answer, "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
        expected.check(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap();
        assert!(expected.check(b"v=rmF9pqV8S7suAoZWja4dJRkFsKR=").is_err());
        assert!(expected.check(b"e=invalid-proof").is_err());
    }

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_rfc_7677() {
        let (answer, expected) = converse(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        expected.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    /// The same conversation with SHA-512; computed with Python's hashlib, as there is no official example.
    #[test]
    fn the_same_with_sha_512() {
        let (answer, expected) = converse(
            Hash::Sha512,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(
            answer.split_once(",p=").unwrap().1,
            "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
        );
        expected
            .check(b"v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==")
            .unwrap();
    }

    #[test]
    fn a_server_that_cheats_is_left() {
        let respond = |server_first: &str| {
            Conversation::with_nonce(Hash::Sha256, "a=b,c", "abc".to_owned())
                .respond(server_first.as_bytes(), "pencil")
                .map(|(answer, _)| answer)
        };
        assert!(respond("r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").is_ok());
        // Another conversation's nonce, ours alone, hardly any work for who guesses, too much for us, an extension.
        for server_first in [
            "r=xyzdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000",
            "m=new,r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert!(respond(server_first).is_err(), "{server_first}");
        }
        assert_eq!(
            Conversation::with_nonce(Hash::Sha256, "a=b,c", "x".to_owned()).client_first(),
            "n,,n=a=3Db=2Cc,r=x"
        );
    }
}
