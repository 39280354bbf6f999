//! The number of a broker, `node.id` in its configuration.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A broker's number in its cluster. Never negative; the protocol's -1 for "none" is an `Option` here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrokerId(u32);

impl BrokerId {
    /// Broker `n`; the protocol has room for numbers up to `i32::MAX`.
    pub const fn new(n: u32) -> BrokerId {
        BrokerId(n)
    }

    /// From the wire; `None` for a negative number.
    pub fn from_wire(n: i32) -> Option<BrokerId> {
        u32::try_from(n).ok().map(BrokerId)
    }

    /// As the protocol writes it.
    pub const fn to_wire(self) -> i32 {
        self.0 as i32
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
