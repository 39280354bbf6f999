//! The choice of an assignor by its name.

use super::spec::{Spec, Targets};
use super::{range, uniform};

/// A way to assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Even over all topics together, and sticky.
    Uniform,
    /// Even topic by topic, in ranges.
    Range,
}

impl Assignor {
    /// The assignor with Kafka's `name`.
    pub fn named(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// What each member is to have.
    pub fn assign(self, spec: &Spec) -> Targets {
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}
