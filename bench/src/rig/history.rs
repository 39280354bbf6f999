//! A topic with history: written, uploaded, and gone from the broker's disk but for its last segments.

use super::fill::Fill;
use crate::client::{At, Client, ClientError};
use crate::load::{new_run, runtime};
use std::time::{Duration, Instant};

/// Bytes of records in a batch.
const BATCH: usize = 128 << 10;
/// How long the upload may take to move on.
const STALLED: Duration = Duration::from_secs(30);

/// A topic with history.
#[derive(Clone, Debug)]
pub struct History {
    /// Its name.
    pub topic: String,
    /// Partitions.
    pub partitions: i32,
    /// Bytes of values in each.
    pub bytes_each: u64,
    /// Bytes of a value.
    pub size: usize,
    /// `segment.bytes`, which is the size of most tier units as well.
    pub segment_bytes: u64,
}

impl History {
    /// Creates the topic, writes it, and waits until what is tiered is in the store only. Where each partition's local
    /// log begins.
    ///
    /// # Errors
    /// What the broker refuses, and an upload that does not go on.
    pub fn make(&self, bootstrap: &str) -> anyhow::Result<Vec<i64>> {
        let run = new_run()?;
        runtime()?.block_on(async {
            let client = Client::new(bootstrap);
            let segment = self.segment_bytes.to_string();
            // Nothing is kept here that the store has.
            let configs = [
                ("segment.bytes", segment.as_str()),
                ("local.retention.bytes", "1"),
                ("remote.storage.enable", "true"),
            ];
            client.create_topic(&self.topic, self.partitions, &configs).await?;
            let writers: Vec<_> = (0..self.partitions)
                .map(|partition| {
                    let (topic, bytes, size) = (self.topic.clone(), self.bytes_each, self.size);
                    let fill = Fill { topic, partition, bytes, size, batch: BATCH, run };
                    tokio::spawn(fill.write(client.clone()))
                })
                .collect();
            for writer in writers {
                writer.await??;
            }
            self.tiered(&client).await
        })
    }

    async fn tiered(&self, client: &Client) -> anyhow::Result<Vec<i64>> {
        let mut moved = (Instant::now(), 0);
        loop {
            let (mut starts, mut left) = (Vec::new(), 0);
            for partition in 0..self.partitions {
                let at = async |at| -> Result<i64, ClientError> {
                    let found = client.retry(|| client.offset(&self.topic, partition, at)).await?;
                    Ok(found.map_or(0, |(offset, _)| offset))
                };
                let (start, end) = (at(At::LocalStart).await?, at(At::End).await?);
                left += u64::from((end - start) as u64 * self.size as u64 > 2 * self.segment_bytes);
                starts.push(start);
            }
            if left == 0 {
                return Ok(starts);
            }
            let total = starts.iter().sum();
            if total > moved.1 {
                moved = (Instant::now(), total);
            }
            anyhow::ensure!(moved.0.elapsed() < STALLED, "{left} partitions are not in the store after {STALLED:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
