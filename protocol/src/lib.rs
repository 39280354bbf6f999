//! Kafka's wire protocol as Esker speaks it: bytes in, bytes out, without I/O, clocks or async.
//!
//! Message structs come from the `kafka-protocol` crate. Ours are what a broker needs around them: frames and their
//! guards, the table of supported APIs and versions, the record-batch view, and a response encoder that does not
//! copy record data.
//!
//! ```text
//!  socket -> frame::length -> one Bytes -> request::decode (header, guard, body) -> Request -> a handler
//!  socket <- Segments <- response::encode (fit to the version, header, body) <- ResponseKind <-+
//! ```
//!
//! The same modules hold the client's side (`request::encode`, `response::decode`), for the benchmark, the tests and
//! brokers that talk to each other.

pub mod api;
mod body;
pub mod error_code;
pub mod features;
pub mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod guard;
mod lengths;
pub mod record;
pub mod request;
pub mod response;
#[cfg(feature = "samples")]
pub mod samples;
pub mod segments;
