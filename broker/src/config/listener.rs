//! Listeners: named addresses that a broker accepts connections at, or tells clients to connect to.
//!
//! `NAME://host:port`, separated by commas. The name chooses the security protocol by `listener.security.protocol.map`
//! (or is one itself), and a client that came in by one listener is told the addresses of that same listener.

use super::key::list_items;
use serde::{Deserialize, Serialize};

/// One listener of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// A host name or an address, an IPv6 address without its brackets; empty means every interface.
    pub host: String,
    /// The TCP port; 0 asks for any free one.
    pub port: u16,
}

impl Listener {
    /// The listeners of a `listeners` value, at least one, each name once.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn parse_list(text: &str) -> Result<Vec<Listener>, String> {
        let mut listeners: Vec<Listener> = Vec::new();
        for item in list_items(text) {
            let listener = Listener::parse(item)?;
            if listeners.iter().any(|other| other.name == listener.name) {
                return Err(format!("listener {} is there twice", listener.name));
            }
            listeners.push(listener);
        }
        if listeners.is_empty() { Err("must name at least one listener".to_owned()) } else { Ok(listeners) }
    }

    fn parse(text: &str) -> Result<Listener, String> {
        let wrong = || format!("{text:?} is not NAME://host:port");
        let (name, address) = text.split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(address) if is_ipv6(address) => address,
            Some(_) => return Err(format!("{text:?}: there is no IPv6 address between the brackets")),
            None if host.contains(':') => return Err(format!("{text:?}: an IPv6 address goes in brackets")),
            None if is_any_or_named(host) => host,
            None => return Err(format!("{text:?}: {host:?} is no host name and no address")),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }

    /// Whether the host stands for every interface, so that no client could connect to it.
    pub fn is_any_host(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::" | "*")
    }
}

/// Whether it is empty, `*`, or made of what host names and IPv4 addresses are made of (RFC 1123, and the underscore that
/// container networks give names with).
fn is_any_or_named(host: &str) -> bool {
    host == "*" || host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Whether it is an IPv6 address, with a zone or without.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone = !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    is_zone && address.parse::<std::net::Ipv6Addr>().is_ok()
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// The check of `listeners`.
pub(super) fn check_listeners(text: &str) -> Result<(), String> {
    Listener::parse_list(text).map(|_| ())
}

/// The check of `advertised.listeners`: an address that names every interface leads nowhere.
pub(super) fn check_advertised(text: &str) -> Result<(), String> {
    match Listener::parse_list(text)?.iter().find(|listener| listener.is_any_host()) {
        Some(listener) => Err(format!("{listener} is no address that a client can connect to")),
        None => Ok(()),
    }
}

/// The check of `listener.security.protocol.map`.
pub(super) fn check_protocol_map(text: &str) -> Result<(), String> {
    for item in list_items(text) {
        match item.split_once(':') {
            Some((_, protocol)) if protocol.trim().eq_ignore_ascii_case("PLAINTEXT") => {}
            Some((name, protocol)) => return Err(format!("{name}: {protocol} is not supported, only PLAINTEXT")),
            None => return Err(format!("{item:?} is not NAME:PROTOCOL")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_writes() {
        let text = "PLAINTEXT://127.0.0.1:9092,OUTSIDE://[::1]:19092,ANY://:0,LOCAL://[fe80::1%eth0]:1,STAR://*:9";
        let listeners = Listener::parse_list(text).unwrap();
        assert_eq!(listeners[1], Listener { name: "OUTSIDE".into(), host: "::1".into(), port: 19092 });
        assert!(listeners[2].is_any_host());
        let back: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        assert_eq!(back.join(","), text);
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "localhost:9092",
            "A://h",
            "A://h:99999",
            "A://::1:9",
            "A://h:1,A://h:2",
            "://h:1",
            "A B://h:1",
            "A://h:-1",
            "A://[]:1",
            "A://[h]:1",
            "A://[[/]]:1",
            "A://[::1%]:1",
            "A://h/:1",
            "A://127\x00.0.1:1",
        ] {
            assert!(Listener::parse_list(text).is_err(), "{text}");
        }
        assert!(check_advertised("A://0.0.0.0:9092").is_err());
        assert!(check_protocol_map("A:PLAINTEXT, B:PLAINTEXT").is_ok());
        assert!(check_protocol_map("A:SSL").is_err());
        assert!(check_protocol_map("A").is_err());
    }
}
