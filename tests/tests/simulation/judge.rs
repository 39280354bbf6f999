//! The judgement over a store, after the last broker of a run has ended.

use esker_storage::env::store::Store;
use esker_storage::numbered_log::open_or_format;
use esker_storage::tier::{Finding, ScrubDepth, TierLog, scrub};
use esker_tests::sim::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each numbered log has no gap and nothing twice; the tier has no hole, and every byte that it names.
pub(crate) async fn judge_store(world: &World) {
    for log in ["cluster/log/", "tier/log/"] {
        let objects = world.store().objects();
        judge_commits(log, objects.iter().filter(|(key, _)| key.starts_with(log)).map(|(key, bytes)| (key, &**bytes)));
    }
    let store: Arc<dyn Store> = Arc::new(world.store().clone());
    let format = open_or_format(&*store, world.env(), None).await.unwrap();
    let tier = TierLog::open(Arc::clone(&store), world.env().clone(), format.cluster).await.unwrap();
    let report = scrub(&*store, format.cluster, tier.image(), ScrubDepth::Everything).await.unwrap();
    // Objects of uploads that were not committed are the sweeper's.
    let wrong: Vec<_> = report.findings.iter().filter(|found| !matches!(found, Finding::Orphan { .. })).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn judge_commits<'a>(log: &str, commits: impl Iterator<Item = (&'a String, &'a [u8])>) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for (key, bytes) in commits {
        let number: u64 = key[log.len()..].parse().unwrap();
        let expected = last.map_or(1, |last| last + 1);
        assert_eq!(number, expected, "a gap before {key}");
        last = Some(number);
        let header: Value = serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        let commit = format!("{} of {}", header["sequence"], header["writer"]);
        if let Some(before) = seen.insert(commit.clone(), key.clone()) {
            panic!("commit {commit} is both {before} and {key}");
        }
    }
}

#[test]
#[should_panic(expected = "a gap before")]
fn a_gap_is_noticed() {
    let keys = ["l/log/1".to_owned(), "l/log/3".to_owned()];
    judge_commits("l/log/", keys.iter().map(|key| (key, &b"{\"sequence\":1,\"writer\":\"w\"}\n"[..])));
}
