//! `esker scrub`: a proof that a store is whole, and the mending of what can be mended.
//!
//! ```text
//! cluster/format -> metadata log: replayed -> tier log: replayed -> every page, every unit, every checksum
//!                                                              \-> every object is named, or younger than the grace
//! ```
//!
//! A store that cannot be asked is not a store that is wrong: the two end differently. What can be mended is in the head
//! of `storage::tier::repair`: damaged snapshots are deleted where the log is whole without them; pages are written anew from
//! what the objects say; orphans and stale shards are deleted as the sweeper deletes them, doomed first where something could
//! still name them. All of it may be done while brokers run.

use crate::controller::{self, Journal, JournalError};
use anyhow::{Context, bail};
use esker_storage::env::store::Store;
use esker_storage::env::{Env, Timestamp};
use esker_storage::numbered_log::{FORMAT_KEY, StoreFormat};
use esker_storage::tier::{
    CommitterConfig, Finding, MendedPage, ReadConfig, ScrubDepth, Settled, SweepConfig, Sweeper, TierCommits,
    TierError, TierLog, TierReader, delete_damaged_snapshots, mend_pages, scrub_settled,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Passes of the sweeper that take an orphan for certain: it sees it, sees it again, and takes it.
const PASSES: usize = 3;
/// So many graces are the shards of a snapshot given: a controller that sleeps may still want to name them.
const SHARD_GRACES: i64 = 25;

/// How to scrub.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// Whether every byte is read, or only what shows that the right objects are there.
    pub depth: ScrubDepth,
    /// How long an object may be without an entry.
    pub grace: Duration,
    /// Whether what can be mended is mended.
    pub repair: bool,
}

/// What a scrub found.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    /// What was looked at, a line each.
    pub seen: Vec<String>,
    /// What is wrong, a line each.
    pub findings: Vec<String>,
    /// What was mended, a line each; none of it is among the findings any more.
    pub mended: Vec<String>,
}

/// Checks all of a store.
///
/// # Errors
/// The store could not be asked, or is no store of Esker's.
pub async fn scrub_store(env: &Env, store: Arc<dyn Store>, options: ScrubOptions) -> anyhow::Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    let format = store.get(FORMAT_KEY).await.with_context(|| format!("could not read {FORMAT_KEY}"))?;
    let format: StoreFormat =
        serde_json::from_slice(&format).with_context(|| format!("{FORMAT_KEY} is no mark of a store of Esker's"))?;
    let cluster = format.cluster;
    scrubbed.seen.push(format!("store of cluster {cluster}, format {}", format.format));

    if options.repair {
        let metadata = controller::delete_damaged_snapshots(&store, env, cluster).await;
        let tier = delete_damaged_snapshots(env, &store, cluster).await;
        let deleted = metadata.context("snapshots of the metadata log")?.into_iter();
        let deleted = deleted.chain(tier.context("snapshots of the tier log")?);
        let line = |key| format!("deleted {key}, which was damaged: the log is whole without it");
        scrubbed.mended.extend(deleted.map(line));
    }
    // A failure that may pass is told at once: whoever asks is a person, who can ask again.
    match Journal::read(Arc::clone(&store), env, cluster).await {
        Ok(journal) => {
            let (image, number) = (journal.image(), journal.number());
            scrubbed.seen.push(format!("metadata log: replayed to commit {number}, {} topics", image.topic_count()));
        }
        Err(JournalError::Log(error)) if error.is_retry() => bail!("the metadata log: {error}"),
        Err(error) => scrubbed.findings.push(format!("metadata log: {error}")),
    }
    let log = match TierLog::open(Arc::clone(&store), env.clone(), cluster).await {
        Ok(log) => log,
        Err(error @ (TierError::Retry { .. } | TierError::Refused { .. })) => bail!("the tier log: {error}"),
        Err(error) => {
            scrubbed.findings.push(format!("tier log: {error}; what it names was not looked at"));
            return Ok(scrubbed);
        }
    };
    let image = &log.image().clone();
    scrubbed.seen.push(format!(
        "tier log: replayed to commit {}, {} partitions, {} objects doomed",
        image.number(),
        image.partitions().count(),
        image.doomed_len()
    ));
    let grace = i64::try_from(options.grace.as_millis()).unwrap_or(i64::MAX);
    let horizon = Timestamp::from_millis(env.wall().millis().saturating_sub(grace));
    let then = TierLog::image_at(Arc::clone(&store), env.clone(), cluster, horizon).await;
    let then = then.context("the tier log as it was before the grace")?;
    let shards = Timestamp::from_millis(env.wall().millis().saturating_sub(grace.saturating_mul(SHARD_GRACES)));
    let settled = Settled { horizon, then: &then, shards };
    let mut report = scrub_settled(&*store, cluster, image, options.depth, settled).await?;
    let mut repair = None;
    if options.repair && !report.findings.is_empty() {
        let repairing = repair.insert(Repair::new(env, &store, cluster, log));
        let mended = mend_pages(env, &store, cluster, &repairing.commits).await.context("mending pages")?;
        if !mended.is_empty() {
            // What the pages name can be looked at now.
            let image = repairing.commits.image();
            report = scrub_settled(&*store, cluster, &image, options.depth, settled).await?;
        }
        let line = |mended: MendedPage| format!("wrote {} anew, as {}", mended.old, mended.new);
        scrubbed.mended.extend(mended.into_iter().map(line));
    }
    scrubbed.seen.push(format!(
        "tier: {} units, {} bytes of batches, {} objects too young to be orphans",
        report.units, report.bytes, report.young
    ));
    if report.unjudged > 0 {
        let unjudged = report.unjudged;
        scrubbed.seen.push(format!("tier: {unjudged} objects may be named by pages that cannot be read"));
    }
    let orphans: BTreeSet<String> = report.findings.iter().filter_map(orphan).collect();
    scrubbed.findings.extend(report.findings.iter().map(Finding::to_string));
    if let Some(repair) = repair.filter(|_| !orphans.is_empty()) {
        let deleted = repair.delete(orphans).await?;
        scrubbed.findings.retain(|finding| !deleted.iter().any(|key| finding.contains(key.as_str())));
        scrubbed.mended.extend(deleted.into_iter().map(|key| format!("deleted {key}")));
    }
    Ok(scrubbed)
}

fn orphan(finding: &Finding) -> Option<String> {
    match finding {
        Finding::Orphan { key } | Finding::Stale { key } => Some(key.clone()),
        _ => None,
    }
}

/// What mends a store beside the brokers that run on it.
struct Repair {
    env: Env,
    store: Arc<dyn Store>,
    cluster: Uuid,
    commits: TierCommits,
}

impl Repair {
    fn new(env: &Env, store: &Arc<dyn Store>, cluster: Uuid, log: TierLog) -> Repair {
        let commits = TierCommits::over(log, env, CommitterConfig::default());
        Repair { env: env.clone(), store: Arc::clone(store), cluster, commits }
    }

    /// Deletes orphans and stale shards; those that are gone.
    async fn delete(self, orphans: BTreeSet<String>) -> anyhow::Result<Vec<String>> {
        let Repair { env, store, cluster, commits } = self;
        let reader = TierReader::new(&env, Arc::clone(&store), cluster, ReadConfig::default());
        let config = SweepConfig { grace: Duration::ZERO, shard_grace: Duration::ZERO, ..SweepConfig::default() };
        let sweeper = Sweeper::new(&env, Arc::clone(&store), cluster, commits, reader, config);
        let mut sweeper = sweeper.only(orphans.clone());
        for _ in 0..PASSES {
            sweeper.pass().await.context("deleting orphans")?;
        }
        let mut deleted = Vec::new();
        for key in orphans {
            if store.list(&key, None, 1).await?.first().is_none_or(|entry| entry.key != key) {
                deleted.push(key);
            }
        }
        Ok(deleted)
    }
}
