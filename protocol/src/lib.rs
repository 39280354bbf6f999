//! Kafka's wire protocol as Esker speaks it: bytes in, bytes out, without I/O, clocks or async.
//!
//! Message structs come from the `kafka-protocol` crate. Ours are what a broker needs around them: frames and their
//! guards, the table of supported APIs and versions, the record-batch view, and a response encoder that does not
//! copy record data.

pub mod api;
pub mod frame;
pub mod guard;
pub mod record;
pub mod request;
pub mod response;
pub mod segments;
