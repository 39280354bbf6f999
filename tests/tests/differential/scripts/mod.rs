//! The scripts, in the order in which they are played to one broker: later ones see what earlier ones left.

mod configs;
mod consumer_groups;
mod fetch;
mod groups;
mod offsets;
mod produce;
mod tools;
mod topics;
mod versions;

use crate::session::Session;

/// A name, which is also that of the golden file, and what it does.
pub(crate) type Script = (&'static str, fn(&mut Session));

pub(crate) const ALL: &[Script] = &[
    ("versions", versions::play),
    ("topics", topics::play),
    ("produce", produce::play),
    ("fetch", fetch::play),
    ("offsets", offsets::play),
    ("configs", configs::play),
    ("groups", groups::play),
    ("consumer_groups", consumer_groups::play),
    ("tools", tools::play),
];
