//! The results of `esker-bench` on a real broker: every form that they are written in, and a comparison of two runs.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test looks at real files")]

use esker_bench::probe::date;
use esker_bench::results::{Direction, decode};
use esker_tests::harness::{Broker, Options, bench};
use std::path::Path;
use std::process::{Command, Output};

/// Runs `esker-bench` with these arguments in `folder`.
fn run(folder: &Path, arguments: &str) -> Output {
    let output = Command::new(bench()).args(arguments.split_ascii_whitespace()).current_dir(folder).output();
    output.expect("esker-bench starts")
}

/// What a run said that must succeed.
fn said(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments}: {}\n{said}{error}", output.status);
    said.into_owned()
}

#[tokio::test]
async fn a_run_is_written_in_every_form_and_compared_with_another() {
    let broker = Broker::start(Options::new().set("log.durability", "fsync")).await;
    let files = tempfile::tempdir().expect("a folder");
    let (folder, at) = (files.path(), format!("--bootstrap={} --pid={}", broker.bootstrap(), broker.pid()));
    // A busy machine is no reason to fail here, a record that is lost is.
    let load = |name: &str, more: &str| {
        let files = format!("--json={name}.json --html={name}.html --omb-json={name}-omb.json");
        let what = "--rate=200 --size=300 --seconds=2 --warmup=0.5 --slow-generator --quiet --sync-probe=.";
        said(folder, &format!("e2e --topic={name} --name={name} {what} {at} {files} {more}"))
    };
    let table = load("first", "");
    for told in [
        "acknowledgement, p99",
        "end to end, p99",
        "CPU per million records",
        "read from disk",
        "sent by all interfaces",
        "0 lost, 0 duplicated",
    ] {
        assert!(table.contains(told), "no {told} in\n{table}");
    }
    load("second", "--acks=1");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);

    let report = decode(&read("first.json")).expect("what was written is read back");
    let run = &report.runs[0];
    let disclosure = &run.disclosure;
    assert_eq!(disclosure.broker.durability.as_deref(), Some("synced before the answer (log.durability=fsync)"));
    assert_eq!((disclosure.broker.replication, disclosure.broker.min_isr), (Some(1), Some(1)));
    assert!(disclosure.broker.apis.len() > 20 && disclosure.machine.sync.is_some(), "{disclosure:?}");
    let latency = run.latency(Direction::Consume).expect("end to end was measured");
    assert!(latency.count >= 300 && latency.quantile(0.5) > 0, "{}", latency.count);
    let process = run.repeats[0].process.as_ref().expect("the process was watched");
    assert!(process.samples.len() > 2 && process.samples[1].anonymous > 0, "{process:?}");
    // What was sent and read went over the loopback, if nothing else did.
    assert!(process.total(|sample| Some(sample.net_received)).is_some_and(|bytes| bytes > 400 * 300), "{process:?}");
    assert!(run.repeats[0].flows.iter().all(|flow| flow.series.len() >= 2), "{:?}", run.repeats[0].flows);

    let page = read("first.html");
    assert!(page.contains("<svg") && page.contains("synced before the answer") && !page.contains("http"));
    let shape: serde_json::Value = serde_json::from_str(&read("first-omb.json")).expect("JSON");
    assert_eq!(shape["messageSize"], 300);
    assert!(shape["aggregatedEndToEndLatency99pct"].as_f64().is_some_and(|p99| p99 > 0.0), "{shape}");

    let told = said(folder, "compare first.json second.json --html=both.html");
    assert!(told.contains("not the same: client: acks: all and 1"), "{told}");
    assert!(told.contains("consume end to end, p99, ms"), "{told}");
    assert!(read("both.html").contains("class=\"differs\""));
    std::fs::write(folder.join("later.json"), read("first.json").replacen("\"version\":1", "\"version\":9", 1))
        .expect("it is written");
    let refused = run_error(folder, "compare first.json later.json");
    assert!(refused.contains("results of version 9, and this reads version 1"), "{refused}");
}

/// What a run said that must fail.
fn run_error(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn how_much_was_written_is_told_at_full_speed_too_and_the_rest_is_probed_before() {
    let broker = Broker::start(Options::new()).await;
    let files = tempfile::tempdir().expect("a folder");
    let at =
        format!("--bootstrap={} --topic=full --slow-generator --sync-probe=. --json=full.json", broker.bootstrap());
    let started = date::now();
    said(files.path(), &format!("produce --warmup=0.3 --seconds=1.5 --topic-config=retention.ms=7777777 {at} --quiet"));
    let read = || {
        let text = std::fs::read_to_string(files.path().join("full.json")).expect("it is written");
        decode(&text).expect("what was written is read back").runs.remove(0)
    };
    let run = read();
    let (flow, disclosure) = (&run.repeats[0].flows[0], &run.disclosure);
    assert!(disclosure.work.data_bytes > flow.bytes && flow.bytes > 0, "{:?}", disclosure.work);
    assert_eq!(disclosure.broker.topic_configs.get("retention.ms").map(String::as_str), Some("7777777"));
    // Dates of one form are in order; and the run took longer than a second.
    assert!((started..date::now()).contains(&disclosure.date), "{}", disclosure.date);
    assert!(disclosure.machine.sync.is_some() && disclosure.machine.available_bytes > 0, "{disclosure:?}");
    said(files.path(), &format!("consume --passes=1 --warmup-passes=0 {at}"));
    let consumed = read();
    assert_eq!(consumed.disclosure.work.data_bytes, disclosure.work.data_bytes);
    assert_eq!(consumed.disclosure.work.record_bytes, 1024);
}

#[test]
fn the_goals_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = said(folder.path(), "versus --list");
    assert!(told.contains("produce-1k") && told.contains("produced at least 3.5x"), "{told}");
    let refused = run_error(folder.path(), "versus --only=bananas");
    assert!(refused.contains("there is no row") && refused.contains("small-sync"), "{refused}");
}
