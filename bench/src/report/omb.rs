//! Results in the shape of the OpenMessaging benchmark's `TestResult`, so that its tools (charts, CSV) read them.
//!
//! Lists have one entry a period; ours are a second, its own ten. Latencies are in milliseconds, those of the publish delay (how
//! late a record is sent) in microseconds: an open loop counts a delay as latency, so that they are absent here. `backlog` is
//! what was acknowledged and not yet read, by period.

use crate::results::{Direction, Distribution, Flow, Run, Second, Summary};
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
    put("consumersPerTopic", json!(work.consumers));
    let (published, consumed) = (periods(run, Direction::Produce), periods(run, Direction::Consume));
    let rates = |periods: &[Second]| periods.iter().map(|second| second.records as f64).collect::<Vec<_>>();
    put("publishRate", json!(rates(&published)));
    put("publishErrorRate", json!(vec![0.0; published.len()]));
    put("consumeRate", json!(rates(&consumed)));
    put("backlog", json!(backlog(&published, &consumed)));
    for (prefix, periods) in [("publishLatency", &published), ("endToEndLatency", &consumed)] {
        for (suffix, values) in by_period(periods) {
            put(&format!("{prefix}{suffix}"), json!(values));
        }
    }
    for (name, direction) in [("Publish", Direction::Produce), ("EndToEnd", Direction::Consume)] {
        let latency = run.latency(direction).unwrap_or_default();
        put(&format!("aggregated{name}LatencyAvg"), json!(latency.mean / 1e6));
        for (percent, suffix) in NAMED {
            let value = latency.quantile(percent / 100.0) as f64 / 1e6;
            put(&format!("aggregated{name}Latency{suffix}"), json!(value));
        }
        put(&format!("aggregated{name}LatencyMax"), json!(latency.max as f64 / 1e6));
        put(&format!("aggregated{name}LatencyQuantiles"), quantiles(&latency));
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
            });
        }
    }
    all
}

/// What was published and not yet read, after each period; nothing where nobody reads.
fn backlog(published: &[Second], consumed: &[Second]) -> Vec<u64> {
    let mut behind = 0_u64;
    let pairs = published.iter().zip(consumed);
    let counted = pairs.map(|(published, consumed)| {
        behind = (behind + published.records).saturating_sub(consumed.records);
        behind
    });
    counted.collect()
}

/// Lists of latencies by period, with the ends of their names.
fn by_period(periods: &[Second]) -> Vec<(&'static str, Vec<f64>)> {
    let list = |of: fn(&Summary) -> f64| {
        periods.iter().map(|second| second.latency.as_ref().map_or(0.0, of) / 1e6).collect::<Vec<_>>()
    };
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

/// Percentage to milliseconds, ever finer towards 100.
fn quantiles(latency: &Distribution) -> Value {
    let mut map = Map::new();
    let (mut below, mut left) = (0, f64::INFINITY);
    for (value, count) in &latency.buckets {
        below += count;
        let percent = below as f64 * 100.0 / latency.count as f64;
        // A hundredth of what was left to 100 is as fine as any chart.
        if *value == latency.max || 100.0 - percent < left * 0.99 {
            map.insert(format!("{percent}"), json!(*value as f64 / 1e6));
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
    fn what_is_published_and_not_read_is_backlog() {
        let seconds = |records: &[u64]| -> Vec<Second> {
            records.iter().map(|records| Second { records: *records, ..Second::default() }).collect()
        };
        assert_eq!(backlog(&seconds(&[10, 10, 0]), &seconds(&[4, 10, 9])), [6, 6, 0]);
    }
}
