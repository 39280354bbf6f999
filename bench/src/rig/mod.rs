//! What a trial needs around it: a broker, a store that is as slow as it is told to be, helpers in processes of their
//! own, and a topic with history.
//!
//! Whatever plays another machine's part (the store, those who replay) is a process of its own. While clients are
//! measured beside it, it *gives way*: it gets the processor when neither the broker nor who is measured wants it, and
//! keeps to the cores where the broker reads history. On a machine that all of them share, it would be that process that is measured
//! otherwise. Everything listens at ports of the system's choosing, lives in a temporary folder, and ends with the trial.

pub mod broker;
mod fill;
pub mod history;
mod ports;
pub mod store;
mod subprocess;

pub use broker::{Broker, history_cores};
pub(crate) use fill::Fill;
pub use history::History;
pub use ports::free_ports;
pub use subprocess::Subprocess;
