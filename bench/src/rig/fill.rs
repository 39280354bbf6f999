//! A known amount of data in a partition: what is read later, or recovered.

use crate::batch::{Builder, Codec};
use crate::client::{At, Client};
use crate::load::Payloads;

/// So many bytes in one partition.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    /// Of which topic.
    pub(crate) topic: String,
    /// Which partition.
    pub(crate) partition: i32,
    /// Bytes of values.
    pub(crate) bytes: u64,
    /// Bytes of a value.
    pub(crate) size: usize,
    /// Bytes of records in a batch.
    pub(crate) batch: usize,
    /// The run's number, see [`crate::load`].
    pub(crate) run: u64,
}

impl Fill {
    /// Writes them, batch by batch.
    ///
    /// # Errors
    /// What the broker refuses.
    pub(crate) async fn write(self, client: Client) -> anyhow::Result<()> {
        let mut payloads = Payloads::new(self.run, self.partition as u32, self.size);
        let records = self.bytes / self.size as u64;
        let mut next = 0;
        // A new topic may not be known everywhere yet; what is sent here is sent once.
        client.retry(|| client.offset(&self.topic, self.partition, At::End)).await?;
        while next < records {
            let mut batch = Builder::new(Codec::None);
            let timestamp = std::time::UNIX_EPOCH.elapsed()?.as_millis() as i64;
            while next < records && (batch.is_empty() || batch.len() + self.size < self.batch) {
                batch.push(timestamp, None, Some(payloads.write(self.partition, next, 0)), &[]);
                next += 1;
            }
            client.produce(&self.topic, self.partition, batch.build()?).await?;
        }
        Ok(())
    }
}
