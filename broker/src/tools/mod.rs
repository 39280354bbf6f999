//! What an operator asks of a store or a file, without a broker: is it whole, and what is it.

mod inspect;
mod scrub;

pub use inspect::{Explained, explain, inspect_file, inspect_object};
pub use scrub::{ScrubOptions, Scrubbed, scrub_store};
