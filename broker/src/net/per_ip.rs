//! How many connections each address has: `max.connections.per.ip` and its overrides.
//!
//! An IPv4 address counts as itself also where it comes in by an IPv6 socket.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The bounds on connections from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerIpLimits {
    /// `max.connections.per.ip`
    pub each: usize,
    /// `max.connections.per.ip.overrides`
    pub overrides: BTreeMap<IpAddr, usize>,
}

/// The connections of each address that has any.
#[derive(Debug)]
pub(super) struct PerIp {
    limits: PerIpLimits,
    open: Mutex<BTreeMap<IpAddr, usize>>,
}

impl PerIp {
    pub(super) fn new(limits: PerIpLimits) -> PerIp {
        PerIp { limits, open: Mutex::default() }
    }

    /// Counts another connection from `address`, or gives the limit that it would exceed.
    pub(super) fn enter(&self, address: IpAddr) -> Result<(), usize> {
        let address = address.to_canonical();
        let limit = self.limits.overrides.get(&address).copied().unwrap_or(self.limits.each);
        let mut open = self.open.lock();
        let count = open.get(&address).copied().unwrap_or(0);
        if count >= limit {
            return Err(limit);
        }
        open.insert(address, count + 1);
        Ok(())
    }

    /// A connection from `address` that entered has ended.
    pub(super) fn leave(&self, address: IpAddr) {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        match open.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_share() {
        let overrides = [(address("10.0.0.9"), 0), (address("10.0.0.8"), 3)].into();
        let per_ip = PerIp::new(PerIpLimits { each: 2, overrides });
        assert_eq!(per_ip.enter(address("10.0.0.1")), Ok(()));
        assert_eq!(per_ip.enter(address("::ffff:10.0.0.1")), Ok(()));
        assert_eq!(per_ip.enter(address("10.0.0.1")), Err(2));
        assert_eq!(per_ip.enter(address("10.0.0.2")), Ok(()));
        assert_eq!(per_ip.enter(address("10.0.0.9")), Err(0));
        assert!((0..3).all(|_| per_ip.enter(address("10.0.0.8")).is_ok()));
        assert_eq!(per_ip.enter(address("10.0.0.8")), Err(3));
        per_ip.leave(address("10.0.0.1"));
        assert_eq!(per_ip.enter(address("10.0.0.1")), Ok(()));
    }

    #[test]
    fn who_has_no_connection_takes_no_room() {
        let per_ip = PerIp::new(PerIpLimits { each: 2, overrides: BTreeMap::new() });
        for n in 0..100 {
            assert_eq!(per_ip.enter(IpAddr::from([10, 0, 0, n])), Ok(()));
            per_ip.leave(IpAddr::from([10, 0, 0, n]));
        }
        assert!(per_ip.open.lock().is_empty());
    }
}
