//! `max.connections.per.ip.overrides`: how many connections single addresses may have.
//!
//! `ADDRESS:COUNT`, separated by commas; an IPv6 address may stand in brackets, and an IPv4 address within an IPv6 one
//! is the IPv4 address. Kafka takes host names too, and resolves them once; a name that moves would be a limit for
//! somebody else, so here it is refused.

use super::key::list_items;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The counts that `text` names, by address.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn parse_per_ip(text: &str) -> Result<BTreeMap<IpAddr, usize>, String> {
    let mut counts = BTreeMap::new();
    for item in list_items(text) {
        let wrong = || format!("{item:?} is not ADDRESS:COUNT");
        let (address, count) = item.rsplit_once(':').ok_or_else(wrong)?;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = bare.parse().map_err(|_| wrong())?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        if counts.insert(address.to_canonical(), usize::try_from(count).unwrap_or(usize::MAX)).is_some() {
            return Err(format!("{address} is there twice"));
        }
    }
    Ok(counts)
}

/// As [`parse_per_ip`], for the table of keys.
pub(super) fn check_per_ip(text: &str) -> Result<(), String> {
    parse_per_ip(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_counts() {
        let counts = parse_per_ip("10.0.0.1:5, [::1]:0,::ffff:10.0.0.2:7").unwrap();
        let count = |address: &str| counts.get(&address.parse::<IpAddr>().unwrap()).copied();
        assert_eq!((count("10.0.0.1"), count("::1"), count("10.0.0.2")), (Some(5), Some(0), Some(7)));
        assert_eq!(parse_per_ip(" ,").unwrap().len(), 0);
        for text in ["localhost:5", "10.0.0.1", "10.0.0.1:-1", ":5", "10.0.0.1:1,::ffff:10.0.0.1:2"] {
            assert!(parse_per_ip(text).is_err(), "{text}");
        }
    }
}
