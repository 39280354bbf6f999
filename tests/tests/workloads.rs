//! The workloads of `esker-bench`, each in short against a real broker: that they run, and that they verify.
//!
//! What they measure means nothing here; what they find does. Where harm is done on purpose (a wire that damages bytes,
//! records that are deleted), the run must say so and fail.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a scenario lives on real sockets and in real time"
)]

#[path = "workloads/wire.rs"]
mod wire;

use esker_bench::results::decode;
use esker_tests::harness::{Broker, Options, bench, wait_for};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Less than a second of warm-up and of measurement.
const SHORT: &str = "--warmup=0.3 --seconds=1.5";
/// On a machine that is busy otherwise, the load is late as well.
const PATIENT: &str = "--late-limit=60000 --slow-generator --quiet";

/// Runs `esker-bench` against `bootstrap`.
fn run(bootstrap: &str, arguments: &str) -> Output {
    Command::new(bench())
        .args(arguments.split_ascii_whitespace())
        .args(PATIENT.split_ascii_whitespace().take(if arguments.starts_with("consume") { 0 } else { 3 }))
        .arg(format!("--bootstrap={bootstrap}"))
        .output()
        .expect("the load starts")
}

/// What it said, if it was content.
fn content(bootstrap: &str, arguments: &str) -> String {
    let output = run(bootstrap, arguments);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments}: {}\n{said}{error}", output.status);
    said.into_owned()
}

/// How many records it read, all of them right.
fn verified(said: &str) -> u64 {
    let line = said.lines().find(|line| line.trim_start().starts_with("verified")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.ends_with(" 0 lost, 0 duplicated, 0 reordered, 0 corrupt"), "{line}");
    let number = line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{line}"))
}

/// A measure's value.
fn measure(said: &str, name: &str) -> f64 {
    let line = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{said}"));
    let rest = line.split_once(name).map_or("", |(_, rest)| rest);
    let value = rest.split_ascii_whitespace().next().and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{line}"))
}

#[tokio::test]
async fn what_is_sent_is_read() {
    let broker = Broker::start(Options::new()).await;
    let at = broker.bootstrap();
    let said = content(&at, &format!("produce --topic=p --rate=500 --verify --codec=zstd {SHORT}"));
    assert!(verified(&said) >= 750, "{said}");
    let said = content(&at, &format!("e2e --topic=e --rate=300 --idempotent {SHORT} --pid={}", broker.pid()));
    assert!(verified(&said) >= 450 && said.contains("end to end, p99") && said.contains("CPU per GB"), "{said}");
    let said = content(&at, &format!("run tail --topic=t --rate=300 --fan-out=3 {SHORT}"));
    assert!(verified(&said) >= 3 * 450, "{said}");
    let said = content(&at, &format!("run many-producers --topic=m --connections=4 --verify {SHORT}"));
    assert!(verified(&said) > 0, "{said}");
    let said = content(&at, &format!("run keyed --topic=k --rate=300 --keys=20 {SHORT}"));
    assert!(verified(&said) >= 450, "{said}");
    let said =
        content(&at, "consume --topic=t --connections=2 --fan-out=2 --passes=1 --warmup-passes=0 --slow-generator");
    assert!(verified(&said) >= 2 * 450, "{said}");
}

#[tokio::test]
async fn many_of_something_are_no_trouble() {
    let broker = Broker::start(Options::new()).await;
    let at = broker.bootstrap();
    let said = content(&at, &format!("run partitions --topic=p --partitions=100 --rate=300 {SHORT}"));
    assert!(verified(&said) >= 450, "{said}");
    let said = content(&at, &format!("run connections --topic=c --connections=200 --rate=400 --threads=2 {SHORT}"));
    assert!(verified(&said) >= 600, "{said}");
}

#[tokio::test]
async fn a_group_that_rebalances_reads_everything() {
    let broker = Broker::start(Options::new()).await;
    let arguments = "run groups --partitions=6 --consumers=3 --rebalance-every=1 --warmup=4 --seconds=4 --rate=200";
    let said = content(&broker.bootstrap(), arguments);
    assert!(verified(&said) >= 1_600, "{said}");
    // Each of the three who leave makes all of them rebalance.
    assert!(measure(&said, "rebalances") >= 3.0, "{said}");
}

#[tokio::test]
async fn a_backlog_is_read_from_wherever_it_lies() {
    let settings = Options::new().set("log.retention.check.interval.ms", 200);
    let broker = Broker::start(settings).await;
    let at = broker.bootstrap();
    let backlog = format!("--backlog=6 --rate=200 {SHORT}");
    let said = content(&at, &format!("run drain --topic=drain {backlog}"));
    assert!(measure(&said, "caught up with the backlog after") > 0.0 && verified(&said) >= 6_000, "{said}");
    for (topic, place) in [
        ("cached", String::new()),
        ("disk", format!("--evict={}", broker.data().display())),
        ("tier", "--tiered --topic-config=segment.bytes=1048576".to_owned()),
    ] {
        let said = content(&at, &format!("run catch-up --topic={topic} {place} {backlog}"));
        assert!(verified(&said) >= 3_000 && said.contains("end to end, p99"), "{said}");
    }
}

#[tokio::test]
async fn retention_and_compaction_take_only_what_they_may() {
    let settings = Options::new().set("log.retention.check.interval.ms", 200).set("log.cleaner.backoff.ms", 200);
    let broker = Broker::start(settings).await;
    let at = broker.bootstrap();
    let small = "--topic-config=segment.bytes=1048576 --rate=2000 --warmup=0.5 --seconds=3";
    let said = content(&at, &format!("run retention --topic=r {small} --topic-config=retention.bytes=2097152"));
    assert!(verified(&said) > 0 && measure(&said, "retention or compaction took") > 0.0, "{said}");
    let said = content(&at, &format!("run compaction --topic=c {small} --keys=50"));
    assert!((measure(&said, "keys, each with its newest record") - 50.0).abs() < 0.5, "{said}");
}

/// A command that waits until somebody has done what it asks for: how the test gets to act within a run.
fn hook(flag: &Path) -> String {
    let flag = flag.display();
    format!("touch {flag}; while [ -e {flag} ]; do sleep 0.02; done")
}

/// Runs with a hook; `act` is what happens meanwhile.
async fn run_with<F: Future<Output = ()>>(bootstrap: String, arguments: &str, act: impl FnOnce() -> F) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("flag");
    let mut command = Command::new(bench());
    command.args(arguments.split_ascii_whitespace()).args(PATIENT.split_ascii_whitespace());
    command.arg(format!("--bootstrap={bootstrap}")).arg(format!("--restart-command={}", hook(&flag)));
    let running = std::thread::spawn(move || command.output().expect("the load starts"));
    while !flag.exists() {
        assert!(!running.is_finished(), "the run ended early: {:?}", running.join());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    act().await;
    std::fs::remove_file(&flag).expect("the flag can be taken away");
    let output = tokio::task::spawn_blocking(move || running.join().expect("the load ends")).await;
    output.expect("the load ends")
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_loses_nothing() {
    let mut broker = Broker::start(Options::new()).await;
    let arguments = "run restart --topic=r --rate=300 --warmup=0.5 --seconds=4";
    let output = run_with(broker.bootstrap(), arguments, async || {
        broker.kill();
        broker.restart().await;
    })
    .await;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{error}");
    assert!(verified(&said) >= 2 * 1_350 && measure(&said, "longest time without an acknowledgement") > 0.0, "{said}");
}

/// Sends a signal to a process.
fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(sent.success());
}

/// Whether each thread of a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is there");
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    // The state stands behind the name, which is in parentheses.
    stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

#[tokio::test]
async fn a_broker_that_stalls_is_charged_for_all_that_was_due_meanwhile() {
    const RATE: f64 = 500.0;
    const SECONDS: u64 = 8;
    let broker = Broker::start(Options::new()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("r.json");
    let arguments = format!("e2e --topic=s --rate={RATE} --warmup=0.5 --seconds={SECONDS} --json={}", json.display());
    let mut stalled = Duration::ZERO;
    // In the middle of what is measured, so that all of it is.
    let output = run_with(broker.bootstrap(), &arguments, async || {
        signal("STOP", broker.pid());
        wait_for("the broker to stand still", Duration::from_secs(10), async || is_stopped(broker.pid()).then_some(()))
            .await;
        let since = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stalled = since.elapsed();
        signal("CONT", broker.pid());
    })
    .await;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{error}");
    let stalled = stalled.as_secs_f64();
    let report = decode(&std::fs::read_to_string(json).expect("it is written")).expect("it is read back");
    let flows = &report.runs[0].repeats[0].flows;
    assert_eq!(flows.len(), 2, "sent and read");
    for flow in flows {
        let latency = flow.latency.as_ref().expect("it was timed");
        let has_passed = |seconds: f64, nanos: u64| nanos as f64 >= seconds * 1e9;
        // Not one is left out because the one before it was not acknowledged.
        assert!(latency.count.abs_diff(RATE as u64 * SECONDS) <= 1, "{}: {} were timed", flow.name, latency.count);
        // What was due in the stall could be acknowledged at its end only: so many were late by a part of it at least.
        for part in [0.25, 0.5, 0.75] {
            let least = stalled * part;
            let late: u64 =
                latency.buckets.iter().filter(|(nanos, _)| has_passed(least, *nanos)).map(|(_, count)| count).sum();
            let due = RATE * (stalled - least) - 1.0;
            assert!(late as f64 >= due, "{}: {late} of {due:.0} were late by {least:.2} s", flow.name);
        }
        // The hundredth part of all records that was latest was due within so many of them.
        let (worst, one) = ((latency.count as f64 / 100.0 + 3.0) / RATE, 2.0 / RATE);
        assert!(
            has_passed(stalled - worst, latency.quantile(0.99)),
            "{}: p99 {} ns",
            flow.name,
            latency.quantile(0.99)
        );
        assert!(has_passed(stalled - one, latency.max), "{}: at most {} ns of {stalled} s", flow.name, latency.max);
    }
    // Nobody but the broker was late, and the delays say how late it made the load.
    let delays = flows[0].delay.as_ref().expect("records were due");
    assert!(delays.count.abs_diff(RATE as u64 * SECONDS) <= 1, "{}", delays.count);
    assert!(delays.quantile(0.99) <= flows[0].latency.as_ref().expect("it was timed").quantile(0.99), "{delays:?}");
}

#[tokio::test]
async fn records_that_go_are_missed() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let arguments = "produce --topic=gone --rate=300 --verify --warmup=0.5 --seconds=3";
    let output = run_with(broker.bootstrap(), arguments, async || wire::delete_records(&client, "gone").await).await;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{error}");
    assert!(error.contains("what was read is not what was acknowledged") && !error.contains(" 0 lost"), "{error}");
}

// The wire lives on the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_damaged_on_the_wire_are_found() {
    let wire = wire::Wire::listen(wire::Treatment::Damage).await;
    let broker = Broker::start(Options::new().set("advertised.listeners", wire.advertised("127.0.0.1"))).await;
    wire.lead_to(&broker.bootstrap());
    let arguments = format!("produce --topic=d --rate=500 --verify {SHORT}");
    let output = run(&wire.address(), &arguments);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{error}");
    assert!(error.contains("what was read is not what was acknowledged") && !error.contains(" 0 corrupt"), "{error}");
}

#[tokio::test]
async fn a_search_ends_with_a_run_at_a_rate_that_is_kept_up() {
    let broker = Broker::start(Options::new()).await;
    let rates = "--rate=16000 --size=100 --step-seconds=1 --p99-limit=200";
    let said = content(&broker.bootstrap(), &format!("search e2e --topic=s {rates} {SHORT}"));
    assert!(measure(&said, "highest rate that was kept up") >= 1.0 && verified(&said) > 0, "{said}");
    // Nobody acknowledges in no time.
    let output = run(&broker.bootstrap(), "search e2e --topic=n --rate=8 --step-seconds=1 --p99-limit=0.0001");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("not even the lowest rate was kept up"), "{error}");
    assert!(error.contains("8 records/s: not kept up"), "{error}");
}

#[tokio::test]
async fn a_generator_that_is_too_slow_fails_the_run_or_is_told_at_least() {
    let broker = Broker::start(Options::new()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (json, html) = (folder.path().join("r.json"), folder.path().join("r.html"));
    // Nobody sends to the nanosecond.
    let run = |more: &str| {
        Command::new(bench())
            .args("e2e --topic=slow --rate=500 --late-limit=0.0001 --quiet".split_ascii_whitespace())
            .args(SHORT.split_ascii_whitespace())
            .args(more.split_ascii_whitespace())
            .arg(format!("--bootstrap={}", broker.bootstrap()))
            .output()
            .expect("the load starts")
    };
    let output = run("");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the generator is the bottleneck") && error.contains("sent late"), "{error}");
    let output = run(&format!("--slow-generator --json={} --html={}", json.display(), html.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.lines().any(|line| line.starts_with("  note ") && line.contains("the generator is the bottleneck")));
    let report = decode(&std::fs::read_to_string(json).expect("it is written")).expect("it is read back");
    assert!(report.runs[0].notes().iter().any(|note| note.contains("the generator is the bottleneck")), "{report:?}");
    let page = std::fs::read_to_string(html).expect("it is written");
    assert!(page.contains("<b>note</b> e2e: the generator is the bottleneck"));
}

// The wire lives on the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_consumed_is_told_by_the_second() {
    let wire = wire::Wire::listen(wire::Treatment::Slow(Duration::from_millis(10))).await;
    let broker = Broker::start(Options::new().set("advertised.listeners", wire.advertised("127.0.0.1"))).await;
    wire.lead_to(&broker.bootstrap());
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("r.json");
    content(&wire.address(), "produce --topic=c --rate=90 --batch=1 --warmup=0.3 --seconds=3");
    // A record each time, and a hundred times a second at most.
    let passes = "--fetch=1 --passes=1 --warmup-passes=0 --slow-generator";
    let said = content(&wire.address(), &format!("consume --topic=c {passes} --json={}", json.display()));
    let records = verified(&said);
    assert!(records >= 270 && measure(&said, "the load's busiest thread") >= 0.0, "{said}");
    let report = decode(&std::fs::read_to_string(json).expect("it is written")).expect("it is read back");
    let flow = &report.runs[0].repeats[0].flows[0];
    assert!(flow.series.len() >= 2 && (flow.series.len() as f64) < flow.seconds + 1.0, "{:?}", flow.series);
    let counted: u64 = flow.series.iter().map(|second| second.records).sum();
    assert!(counted > 0 && counted <= records, "{:?}", flow.series);
}

// The wire lives on the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_whom_is_trusted_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = wire::Wire::listen(wire::tls(folder.path())).await;
    let broker = Broker::start(Options::new().set("advertised.listeners", wire.advertised("localhost"))).await;
    wire.lead_to(&broker.bootstrap());
    let at = format!("localhost:{}", wire.port());
    let ca = folder.path().join("ca.pem");
    let said = content(&at, &format!("e2e --topic=tls --rate=200 --tls-ca={} {SHORT}", ca.display()));
    assert!(verified(&said) >= 300, "{said}");
    // The machine's own authorities know nothing of this one; and a name that the certificate is not for is nobody's.
    for (at, trust) in [(at.clone(), "--tls".to_owned()), (wire.address(), format!("--tls-ca={}", ca.display()))] {
        let output = run(&at, &format!("e2e --topic=tls --rate=200 {trust} {SHORT}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("refused: TLS"), "{at} {trust}: {error}");
    }
}

// The wire lives on the other thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_for_a_certificate_shows_it_or_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = wire::Wire::listen(wire::mutual_tls(folder.path())).await;
    let broker = Broker::start(Options::new().set("advertised.listeners", wire.advertised("localhost"))).await;
    wire.lead_to(&broker.bootstrap());
    let at = format!("localhost:{}", wire.port());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let load = |own: &str| format!("e2e --topic=mtls --rate=200 --tls-ca={} {own} {SHORT}", file("ca.pem"));
    let own = format!("--tls-cert={} --tls-key={}", file("client-cert.pem"), file("client-key.pem"));
    let said = content(&at, &load(&own));
    assert!(verified(&said) >= 300, "{said}");
    // Without a certificate, and with one that the clients' authority has not signed.
    let strange = format!("--tls-cert={} --tls-key={}", file("cert.pem"), file("key.pem"));
    for (own, alert) in [("", "CertificateRequired"), (&strange[..], "received fatal alert")] {
        let output = run(&at, &load(own));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("refused: TLS") && error.contains(alert), "{own}: {error}");
    }
    // A certificate and another one's key.
    let output = run(&at, &load(&format!("--tls-cert={} --tls-key={}", file("client-cert.pem"), file("key.pem"))));
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn an_open_messaging_file_is_run_and_its_results_are_in_its_shape() {
    let broker = Broker::start(Options::new()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, results) = (folder.path().join("w.yaml"), folder.path().join("results.json"));
    let text = "name: small\ntopics: 2\npartitionsPerTopic: 2\nkeyDistributor: KEY_ROUND_ROBIN\nmessageSize: 100\n\
                subscriptionsPerTopic: 2\nconsumerPerSubscription: 1\nproducersPerTopic: 2\nproducerRate: 400\n\
                testDurationMinutes: 0.03\nwarmupDurationMinutes: 0.01\nuseRandomizedPayloads: true\n\
                randomBytesRatio: 0.5\nrandomizedPayloadPoolSize: 50\n";
    std::fs::write(&file, text).expect("the file can be written");
    let arguments = format!("run {} --omb-json={}", file.display(), results.display());
    let said = content(&broker.bootstrap(), &arguments);
    assert!(verified(&said) >= 2 * 700, "{said}");
    let results = std::fs::read_to_string(&results).expect("the results are written");
    let results: serde_json::Value = serde_json::from_str(&results).expect("they are JSON");
    assert_eq!((&results["workload"], &results["topics"]), (&"small".into(), &2.into()));
    assert_eq!(results["consumersPerTopic"], 1, "of each subscription");
    assert!(results["aggregatedPublishDelayLatencyMax"].as_u64().is_some_and(|micros| micros > 0), "{results}");
    // Two subscriptions follow, and are at most some records behind.
    let backlog = results["backlog"].as_array().expect("a list");
    assert!(
        !backlog.is_empty() && backlog.iter().all(|left| left.as_u64().is_some_and(|left| left < 1_600)),
        "{backlog:?}"
    );
    std::fs::write(&file, format!("{text}colour: green\n")).expect("the file can be written");
    let output = run(&broker.bootstrap(), &arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("unknown field `colour`"), "{error}");
}
