//! An object store that costs little and says how fast it is: S3's protocol over memory, with a delay and a rate.
//!
//! What a broker does with a store's time can only be told where that time is known, and on a machine that the store
//! shares with the broker it must not be the store that is measured. So this one keeps objects in memory and hands out
//! slices of them; each request waits for its *delay*, each connection sends at its *rate*, and all of them together
//! at the rate of the whole.
//!
//! ```text
//! broker -> TCP -> delay -> Objects (one lock: conditional creates are atomic) -> slices, paced -> answer
//! ```
//!
//! And it fails on demand: see [`Fault`]. What fails is in front of it ([`spoil`]), so that another server can fail the
//! same way.
//!
//! It checks no signatures and forgets everything when it ends: it is for measuring, not for keeping.

mod faults;
mod objects;
mod pace;
mod server;
pub mod spoil;
mod text;

pub use faults::{Asked, Fault, Faults, Plan};
pub use objects::{Objects, Refused};
pub use server::{Server, Speed};
