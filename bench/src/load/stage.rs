//! What must be there before a run: topics, and a backlog where the workload wants it to lie.

use super::crew::{Crew, Go, Job, Meters};
use super::fetcher::Part;
use super::meter::Meter;
use super::reader;
use super::schedule::Schedule;
use super::sender::{Amount, Done, Place as SenderPlace};
use super::workload::{Backlog, Place, Producers, Topics, Workload};
use super::{Clock, new_run, runtime};
use crate::client::{At, Client};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long uploads may stand still before what is tiered is all that will be.
const STEADY: Duration = Duration::from_secs(5);
/// How long the first upload may take.
const UPLOAD: Duration = Duration::from_secs(120);
/// Kafka's TOPIC_ALREADY_EXISTS.
const EXISTS: i16 = 36;

/// Creates the topics that are not there, and waits until each partition has a leader.
pub(crate) fn topics(client: &Client, topics: &Topics) -> anyhow::Result<()> {
    let configs: Vec<(&str, &str)> = topics.configs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    runtime()?.block_on(async {
        for name in topics.names() {
            match client.create_topic(&name, topics.partitions, &configs).await {
                Err(error) if error.code() != Some(EXISTS) => return Err(error.into()),
                _ => {}
            }
            // A cluster tells of a new topic a little later.
            client.retry(|| client.offsets(&name, 0..topics.partitions, At::End)).await?;
        }
        Ok(())
    })
}

/// Which sender of the run each connection is.
pub(super) fn senders(workload: &Workload, producers: &Producers) -> anyhow::Result<Vec<SenderPlace>> {
    let run = new_run()?;
    let names = workload.topics.names();
    let of = (names.len() * producers.per_topic) as u64;
    let mut places = Vec::new();
    for connection in 0..producers.per_topic {
        for (number, topic) in names.iter().enumerate() {
            places.push(SenderPlace {
                run,
                topic_number: number as u32,
                topic: topic.clone(),
                partitions: workload.topics.partitions,
                connection: connection as u32,
                index: places.len() as u64,
                of,
            });
        }
    }
    Ok(places)
}

/// Where something begins and ends in each partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Extent {
    /// The first offset.
    pub(super) starts: BTreeMap<Part, i64>,
    /// One past the last.
    pub(super) ends: BTreeMap<Part, i64>,
}

impl Extent {
    /// Everything that is there now.
    pub(super) async fn now(client: &Client, topics: &Topics) -> anyhow::Result<Self> {
        let names = topics.names();
        let parts: Vec<Part> = (0..names.len() as u32)
            .flat_map(|topic| (0..topics.partitions).map(move |partition| (topic, partition)))
            .collect();
        let starts = reader::ends(client, &names, parts.iter().copied(), At::Start).await?;
        let ends = reader::ends(client, &names, parts, At::End).await?;
        Ok(Self { starts, ends })
    }
}

/// Writes the backlog as fast as it goes, and brings it where it should lie: what was acknowledged, and its extent.
pub(super) fn backlog(
    workload: &Workload,
    producers: &Producers,
    backlog: &Backlog,
    clock: Clock,
) -> anyhow::Result<(Vec<Done>, Extent)> {
    let plan =
        Producers { rate: None, linger: 0.0, acks: -1, batch: producers.batch.max(64 << 10), ..producers.clone() };
    // A backlog needs no thousands of connections.
    let plan = Producers { per_topic: plan.per_topic.clamp(1, 4), ..plan };
    let places = senders(workload, &plan)?;
    let each = backlog.bytes / plan.size as u64 / places.len() as u64 + 1;
    let jobs = places.into_iter().map(|place| Job::Send(Box::new((plan.clone(), place, Amount::Records(each)))));
    let crew = Crew::start(&workload.endpoint, clock, jobs.collect())?;
    if crew.wait_ready() {
        let now = clock.now();
        let schedule = Schedule::one(now, now..u64::MAX);
        let meters = (0..crew.threads()).map(|_| Meters { sent: Meter::new(&schedule), read: Vec::new() }).collect();
        crew.go(Go { schedule, meters });
    }
    let done = crew.end()?;
    let client = workload.endpoint.client();
    let mut extent = runtime()?.block_on(Extent::now(&client, &workload.topics))?;
    match &backlog.place {
        Place::AsWritten => {}
        Place::Disk(folder) => evict(folder)?,
        Place::Tier => extent.ends = runtime()?.block_on(tiered(&client, &workload.topics, &extent))?,
    }
    Ok((done, extent))
}

/// Waits until uploads stand still; where the broker's own log begins then.
async fn tiered(client: &Client, topics: &Topics, extent: &Extent) -> anyhow::Result<BTreeMap<Part, i64>> {
    let names = topics.names();
    let started = Instant::now();
    let mut moved = (Instant::now(), extent.starts.clone());
    loop {
        let local = reader::ends(client, &names, extent.starts.keys().copied(), At::LocalStart).await?;
        if local != moved.1 {
            moved = (Instant::now(), local);
        } else if moved.1 != extent.starts && moved.0.elapsed() > STEADY {
            return Ok(moved.1);
        }
        anyhow::ensure!(
            moved.1 != extent.starts || started.elapsed() < UPLOAD,
            "nothing left the broker's disk for the tier in {UPLOAD:?}: do the topics have remote.storage.enable and a \
             small local.retention.bytes?"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Writes the files below `folder` to the disk and drops them from the page cache, as far as nobody has them mapped.
fn evict(folder: &Path) -> anyhow::Result<()> {
    let mut folders = vec![folder.to_owned()];
    let mut files = 0_u64;
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file() {
                // A file may go meanwhile.
                let Ok(file) = std::fs::File::open(entry.path()) else { continue };
                file.sync_data()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
                files += 1;
            }
        }
    }
    anyhow::ensure!(files > 0, "there is no file below {}", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_cannot_be_evicted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(evict(folder.path()).is_err());
        std::fs::create_dir(folder.path().join("topic-0")).unwrap();
        std::fs::write(folder.path().join("topic-0/0.log"), vec![7; 100_000]).unwrap();
        evict(folder.path()).unwrap();
        assert!(evict(&folder.path().join("nowhere")).is_err());
    }
}
