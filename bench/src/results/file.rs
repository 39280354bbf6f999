//! The file of results: JSON with a format name and a version.
//!
//! ```text
//! {"format": "esker-bench results", "version": 1, "runs": [...]}
//! ```
//!
//! A file is read whole or refused with a reason: another format, another version, a field that is not known or has another
//! shape (with its line), figures that contradict each other. The version rises with every change that an older reader
//! would misread; a newer reader keeps reading older versions by converting them.

use super::{Report, Run};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a file says it is.
pub const FORMAT: &str = "esker-bench results";
/// The version that is written.
pub const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no JSON, or not an object with a format and a version.
    #[error("not a file of results: {0}")]
    NotResults(String),
    /// It is of another version.
    #[error(
        "results of version {found}, and this reads version {VERSION}: use the esker-bench that wrote them, or a newer one"
    )]
    Version {
        /// The one found.
        found: u32,
    },
    /// A field is not as this version has it.
    #[error("results of version {VERSION}, but not readable as such: {0}")]
    Shape(String),
    /// Figures that cannot be true together.
    #[error("run {run:?} contradicts itself: {what}")]
    Contradiction {
        /// Which run.
        run: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize)]
struct Written<'a> {
    format: &'a str,
    version: u32,
    runs: &'a [Run],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    runs: Vec<Run>,
}

/// The text of a file with these results.
///
/// # Errors
/// [`Refused::Contradiction`] for what could not be read back.
pub fn encode(report: &Report) -> Result<String, Refused> {
    report.runs.iter().try_for_each(consistent)?;
    let written = Written { format: FORMAT, version: VERSION, runs: &report.runs };
    let shape = |error: serde_json::Error| Refused::Shape(error.to_string());
    let value = serde_json::to_value(&written).map_err(shape)?;
    let mut text = serde_json::to_string(&rounded(value)).map_err(shape)?;
    text.push('\n');
    Ok(text)
}

/// The same with fractions rounded to twelve digits: more means nothing, and so many are read back exactly.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let digits = number.as_f64().and_then(|fraction| format!("{fraction:.11e}").parse::<f64>().ok());
            digits.and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

/// The results in a file's text.
///
/// # Errors
/// [`Refused`], with the reason.
pub fn decode(text: &str) -> Result<Report, Refused> {
    let head: Head = serde_json::from_str(text).map_err(|error| Refused::NotResults(error.to_string()))?;
    if head.format != FORMAT {
        return Err(Refused::NotResults(format!("its format is {:?}", head.format)));
    }
    if head.version != VERSION {
        return Err(Refused::Version { found: head.version });
    }
    let read: Read = serde_json::from_str(text).map_err(|error| Refused::Shape(error.to_string()))?;
    let report = Report { runs: read.runs };
    report.runs.iter().try_for_each(consistent)?;
    Ok(report)
}

/// Whether a run's figures can be true together.
fn consistent(run: &Run) -> Result<(), Refused> {
    let wrong = |what: &str| Err(Refused::Contradiction { run: run.name.clone(), what: what.to_owned() });
    if run.repeats.is_empty() {
        return wrong("it has no repeats");
    }
    for repeat in &run.repeats {
        for flow in &repeat.flows {
            if !(flow.seconds.is_finite() && flow.seconds > 0.0) {
                return wrong("a flow of no time");
            }
            let distributions = flow.latency.iter().chain(&flow.delay);
            if let Some(what) = distributions.filter_map(|distribution| distribution.contradiction()).next() {
                return wrong(what);
            }
        }
        if repeat.measures.iter().any(|measure| !measure.value.is_finite()) {
            return wrong("a measure that is no number");
        }
        let spent = repeat.process.as_ref().map_or(0.0, |process| process.cpu_seconds);
        if !(spent.is_finite() && spent >= 0.0) {
            return wrong("CPU-seconds that are no amount");
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
