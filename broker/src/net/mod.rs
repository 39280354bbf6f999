//! Sockets: who may connect, how frames come in and answers go out.
//!
//! ```text
//!  listener (background runtime) --accept--> connection (one of the connection runtimes; while it reads history, one of those)
//!  connection: read buffer -> frame -> [`Service::call`] -> answers in order -> vectored writes
//! ```
//!
//! [`mod@env`] is the only door to the network, so that a simulation can stand in for it. The nouns: a [`Service`]
//! answers frames; an [`Answer`] is ready, comes later or in turn, or closes the connection; the [`ByteBudget`] bounds what
//! the requests of all connections hold together, the [`AnswerBudget`] what their answers do.

mod answers;
mod budget;
mod connection;
pub mod env;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod incoming;
mod listener;
mod per_ip;
mod rarely;
mod reading;
mod spares;

pub use answers::AnswerBudget;
pub use budget::{ByteBudget, Charge};
pub use connection::{Answer, Client, Limits, Service};
pub use listener::{Acceptor, Bind, Bound};
pub use per_ip::PerIpLimits;
pub use rarely::Rarely;
pub use reading::Reading;
