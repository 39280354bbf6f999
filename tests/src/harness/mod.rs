//! What the scenarios stand on: a real broker process, a real S3 server, records to compare, clients of all kinds.
//!
//! - [`Broker`] starts `esker` on free ports and a directory of its own, kills it, restarts it, and fails the test on
//!   a WARN or ERROR line that the test did not announce.
//! - [`SmallDisk`] is a real file system that is soon full.
//! - [`Inside`] is a broker in this process, on a directory store with faults on demand ([`Faulty`]).
//! - [`S3`] is an S3 server in this process, with faults on demand.
//! - [`records`] makes records that are worth comparing, and compares them.
//! - [`clients`] runs kcat and our Python and Java programs.

mod binary;
mod broker;
pub mod clients;
mod faulty;
mod inside;
mod log_lines;
pub mod records;
mod s3;
mod small_disk;

pub use binary::{bench, esker};
pub use broker::{Broker, Options};
pub use esker_bench::store::{Asked, Fault};
pub use faulty::Faulty;
pub use inside::{Inside, machine};
pub use s3::{S3, Seen};
pub use small_disk::SmallDisk;

use std::future::Future;
use std::time::{Duration, Instant};

/// Waits until `check` says something, asking every 50 ms.
///
/// # Panics
/// After `limit`, with what was waited for.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
