//! Results in the shape of the OpenMessaging benchmark's `TestResult`, so that its tools (charts, CSV) read them.
//!
//! Lists have one entry a period; ours are a second, its own ten. Latencies are in milliseconds, those of the publish delay
//! (from when a record should have been sent until it was) in microseconds; they are absent where nothing was due. Its own
//! publish latency begins where the delay ends, ours includes it. `backlog` is what was acknowledged, once for each
//! subscription, and not yet read by it.

use crate::results::{Direction, Distribution, Flow, Following, Repeat, Run, Second, Summary};
use anyhow::Context;
use serde_json::{Map, Value, json};

/// Percentages of the named fields, with what stands for them there.
const NAMED: [(f64, &str); 7] = [
    (50.0, "50pct"),
    (75.0, "75pct"),
    (95.0, "95pct"),
    (99.0, "99pct"),
    (99.9, "999pct"),
    (99.99, "9999pct"),
    (99.999, "99999pct"),
];

/// A run as the text of a `TestResult`.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn test_result(run: &Run) -> anyhow::Result<String> {
    let work = &run.disclosure.work;
    let driver = run.disclosure.broker.software.clone().unwrap_or_else(|| "Kafka protocol".to_owned());
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| drop(result.insert(name.to_owned(), value));
    put("workload", json!(work.name));
    put("driver", json!(driver));
    put("messageSize", json!(work.record_bytes));
    put("topics", json!(work.topics));
    put("partitions", json!(work.partitions));
    put("producersPerTopic", json!(work.producers));
    // Those of one subscription.
    let groups: u64 =
        run.repeats.first().map_or(0, |repeat| following(repeat).map(|(_, readers)| readers.groups).sum());
    put("consumersPerTopic", json!(work.consumers / groups.max(1)));
    let (published, consumed) = (periods(run, Direction::Produce), periods(run, Direction::Consume));
    let rates = |periods: &[Second]| periods.iter().map(|second| second.records as f64).collect::<Vec<_>>();
    put("publishRate", json!(rates(&published)));
    put("publishErrorRate", json!(vec![0.0; published.len()]));
    put("consumeRate", json!(rates(&consumed)));
    put("backlog", json!(run.repeats.iter().flat_map(backlog).collect::<Vec<_>>()));
    for (prefix, periods) in [("publishLatency", &published), ("endToEndLatency", &consumed)] {
        for (suffix, values) in by_period(periods, |second| second.latency.as_ref()) {
            put(&format!("{prefix}{suffix}"), json!(values.iter().map(|nanos| nanos / 1e6).collect::<Vec<_>>()));
        }
    }
    if let Some(delay) = run.delay() {
        // Whole microseconds, but for the mean.
        let micros = |nanos: f64| (nanos / 1e3).round() as u64;
        for (suffix, values) in by_period(&published, |second| second.delay.as_ref()) {
            let values: Vec<Value> = match suffix {
                "Avg" => values.iter().map(|nanos| json!(nanos / 1e3)).collect(),
                _ => values.iter().map(|nanos| json!(micros(*nanos))).collect(),
            };
            put(&format!("publishDelayLatency{suffix}"), json!(values));
        }
        put("aggregatedPublishDelayLatencyAvg", json!(delay.mean / 1e3));
        for (percent, suffix) in NAMED {
            let value = micros(delay.quantile(percent / 100.0) as f64);
            put(&format!("aggregatedPublishDelayLatency{suffix}"), json!(value));
        }
        put("aggregatedPublishDelayLatencyMax", json!(micros(delay.max as f64)));
        put("aggregatedPublishDelayLatencyQuantiles", quantiles(&delay, |nanos| json!(micros(nanos))));
    }
    for (name, direction) in [("Publish", Direction::Produce), ("EndToEnd", Direction::Consume)] {
        let latency = run.latency(direction).unwrap_or_default();
        put(&format!("aggregated{name}LatencyAvg"), json!(latency.mean / 1e6));
        for (percent, suffix) in NAMED {
            let value = latency.quantile(percent / 100.0) as f64 / 1e6;
            put(&format!("aggregated{name}Latency{suffix}"), json!(value));
        }
        put(&format!("aggregated{name}LatencyMax"), json!(latency.max as f64 / 1e6));
        put(&format!("aggregated{name}LatencyQuantiles"), quantiles(&latency, |nanos| json!(nanos / 1e6)));
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(result)).context("OpenMessaging's shape")?;
    text.push('\n');
    Ok(text)
}

/// The seconds of all repeats one after the other, all flows of a direction together.
fn periods(run: &Run, direction: Direction) -> Vec<Second> {
    let mut all = Vec::new();
    for repeat in &run.repeats {
        let flows: Vec<&Flow> = repeat.flows.iter().filter(|flow| flow.direction == direction).collect();
        let length = flows.iter().map(|flow| flow.series.len()).max().unwrap_or_default();
        for at in 0..length {
            let seconds: Vec<&Second> = flows.iter().filter_map(|flow| flow.series.get(at)).collect();
            all.push(Second {
                records: seconds.iter().map(|second| second.records).sum(),
                bytes: seconds.iter().map(|second| second.bytes).sum(),
                // Summaries do not add up: of several flows the slowest speaks.
                latency: seconds.iter().filter_map(|second| second.latency).max_by_key(|summary| summary.p99),
                delay: seconds.iter().filter_map(|second| second.delay).max_by_key(|summary| summary.p99),
            });
        }
    }
    all
}

/// The readers of a repeat who follow what is published.
fn following(repeat: &Repeat) -> impl Iterator<Item = (&Flow, Following)> {
    repeat.flows.iter().filter_map(|flow| Some((flow, flow.following?)))
}

/// What was published for some subscription and not yet read by it, after each second of a repeat; nothing where nobody
/// follows.
fn backlog(repeat: &Repeat) -> Vec<u64> {
    if following(repeat).next().is_none() {
        return Vec::new();
    }
    let groups: u64 = following(repeat).map(|(_, readers)| readers.groups).sum();
    let mut left: i64 = following(repeat).map(|(_, readers)| readers.behind as i64).sum();
    let published: Vec<&Flow> = repeat.flows.iter().filter(|flow| flow.direction == Direction::Produce).collect();
    let length = repeat.flows.iter().map(|flow| flow.series.len()).max().unwrap_or_default();
    let records = |flow: &Flow, at: usize| flow.series.get(at).map_or(0, |second| second.records) as i64;
    let by_second = (0..length).map(|at| {
        let published: i64 = published.iter().map(|flow| records(flow, at)).sum();
        let read: i64 = following(repeat).map(|(flow, _)| records(flow, at)).sum();
        left += published * groups as i64 - read;
        // A record may be read before its acknowledgement is.
        left.max(0) as u64
    });
    by_second.collect()
}

/// Lists of nanoseconds by period, with the ends of their names.
fn by_period(periods: &[Second], summary: impl Fn(&Second) -> Option<&Summary>) -> Vec<(&'static str, Vec<f64>)> {
    let list =
        |of: fn(&Summary) -> f64| periods.iter().map(|second| summary(second).map_or(0.0, of)).collect::<Vec<_>>();
    vec![
        ("Avg", list(|s| s.mean)),
        ("50pct", list(|s| s.p50 as f64)),
        ("75pct", list(|s| s.p75 as f64)),
        ("95pct", list(|s| s.p95 as f64)),
        ("99pct", list(|s| s.p99 as f64)),
        ("999pct", list(|s| s.p999 as f64)),
        ("9999pct", list(|s| s.p9999 as f64)),
        // A second seldom has enough records to tell this one from the highest.
        ("99999pct", list(|s| s.max as f64)),
        ("Max", list(|s| s.max as f64)),
    ]
}

/// Percentage to what `of` makes of the nanoseconds, ever finer towards 100.
fn quantiles(latency: &Distribution, of: impl Fn(f64) -> Value) -> Value {
    let mut map = Map::new();
    let (mut below, mut left) = (0, f64::INFINITY);
    for (value, count) in &latency.buckets {
        below += count;
        let percent = below as f64 * 100.0 / latency.count as f64;
        // A hundredth of what was left to 100 is as fine as any chart.
        if *value == latency.max || 100.0 - percent < left * 0.99 {
            map.insert(format!("{percent}"), of(*value as f64));
            left = 100.0 - percent;
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn it_has_the_shape_of_a_test_result() {
        let run = sample::run("esker", 1.0);
        let result: Value = serde_json::from_str(&test_result(&run).unwrap()).unwrap();
        assert_eq!((&result["messageSize"], &result["driver"]), (&json!(1024), &json!("esker 0.1.0")));
        // Three repeats of five seconds.
        for list in ["publishRate", "consumeRate", "backlog", "publishLatency99pct", "endToEndLatencyMax"] {
            assert_eq!(result[list].as_array().map(Vec::len), Some(15), "{list}");
        }
        assert_eq!(result["publishRate"][0], json!(1000.0));
        let latency = run.latency(Direction::Produce).unwrap();
        assert_eq!(result["aggregatedPublishLatency999pct"], json!(latency.quantile(0.999) as f64 / 1e6));
        let quantiles = result["aggregatedEndToEndLatencyQuantiles"].as_object().unwrap();
        assert!(quantiles.contains_key("100") && quantiles.len() > 100, "{}", quantiles.len());
        assert!(quantiles.keys().all(|key| key.parse::<f64>().is_ok_and(|percent| percent > 0.0 && percent <= 100.0)));
    }

    #[test]
    fn a_delay_is_told_in_microseconds() {
        let mut run = sample::run("esker", 1.0);
        let summary = Summary { mean: 1_500.0, p50: 1_400, max: 2_600, ..Summary::default() };
        run.repeats[0].flows[0].series[1].delay = Some(summary);
        let result: Value = serde_json::from_str(&test_result(&run).unwrap()).unwrap();
        assert_eq!(result["publishDelayLatencyAvg"][1], json!(1.5));
        assert_eq!(
            (&result["publishDelayLatency50pct"][1], &result["publishDelayLatencyMax"][1]),
            (&json!(1), &json!(3))
        );
        assert_eq!(result["publishDelayLatency999pct"].as_array().map(Vec::len), Some(15));
        // 98 in 100 were 40 us late, the others 2 ms.
        assert_eq!(result["aggregatedPublishDelayLatency95pct"], json!(40));
        assert_eq!(result["aggregatedPublishDelayLatency99pct"], json!(2_000));
        assert_eq!(result["aggregatedPublishDelayLatencyQuantiles"], json!({"98": 40, "100": 2_000}));
        run.repeats.iter_mut().flat_map(|repeat| &mut repeat.flows).for_each(|flow| flow.delay = None);
        let result: Value = serde_json::from_str(&test_result(&run).unwrap()).unwrap();
        assert!(result.as_object().unwrap().keys().all(|name| !name.contains("Delay")), "nothing was due");
    }

    #[test]
    fn what_is_published_and_not_read_is_backlog() {
        let flow = |direction, following: Option<(u64, u64)>, records: &[u64]| Flow {
            direction,
            following: following.map(|(groups, behind)| Following { groups, behind }),
            series: records.iter().map(|records| Second { records: *records, ..Second::default() }).collect(),
            ..sample::run("", 1.0).repeats.remove(0).flows.remove(0)
        };
        let produced = flow(Direction::Produce, None, &[10, 10, 0]);
        let backlog = |readers: Flow| {
            let history = flow(Direction::Consume, None, &[500, 500, 500]);
            super::backlog(&Repeat { flows: vec![produced.clone(), readers, history], ..Repeat::default() })
        };
        let consume = |following, records: &[u64]| flow(Direction::Consume, Some(following), records);
        assert_eq!(backlog(consume((1, 0), &[4, 10, 9])), [6, 6, 0]);
        // Every subscription has to read everything.
        assert_eq!(backlog(consume((3, 0), &[12, 30, 18])), [18, 18, 0]);
        // What was there before has to be read as well.
        assert_eq!(backlog(consume((2, 100), &[60, 60, 20])), [60, 20, 0]);
        // Before its acknowledgement came; it evens out.
        assert_eq!(backlog(consume((1, 0), &[12, 7, 1])), [0, 1, 0]);
        assert_eq!(backlog(produced.clone()), Vec::<u64>::new());
    }
}
