//! What is written is read back, and what cannot be read is refused with a reason.

use super::super::sample;
use super::*;

#[test]
fn what_is_written_is_read_back() {
    let report = sample::report();
    let text = encode(&report).unwrap();
    assert!(decode(&text).unwrap() == report, "it reads otherwise than it was written");
    // Written once more, it is the same to the byte: nothing is lost on the way.
    assert!(encode(&decode(&text).unwrap()).unwrap() == text);
}

#[test]
fn what_was_noted_is_kept() {
    let mut report = sample::report();
    report.runs[0].repeats[1].notes.push("the load was slow".to_owned());
    assert!(decode(&encode(&report).unwrap()).unwrap() == report, "the note is gone");
}

fn refused(change: impl Fn(&mut serde_json::Value)) -> String {
    let mut value: serde_json::Value = serde_json::from_str(&encode(&sample::report()).unwrap()).unwrap();
    change(&mut value);
    decode(&value.to_string()).expect_err("it is refused").to_string()
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    assert!(decode("").unwrap_err().to_string().starts_with("not a file of results"));
    assert!(decode("{\"runs\": []}").unwrap_err().to_string().contains("missing field `format`"));
    let other = refused(|value| value["format"] = "something else".into());
    assert_eq!(other, "not a file of results: its format is \"something else\"");
    let newer = refused(|value| value["version"] = 2.into());
    assert!(newer.contains("version 2") && newer.contains("reads version 1"), "{newer}");
    let unknown = refused(|value| value["runs"][0]["repeats"][0]["flows"][0]["recods"] = 7.into());
    assert!(unknown.contains("unknown field `recods`"), "{unknown}");
    let absent = refused(|value| drop(value["runs"][0]["disclosure"].as_object_mut().unwrap().remove("machine")));
    assert!(absent.contains("missing field `machine`"), "{absent}");
    let negative = refused(|value| value["runs"][0]["repeats"][0]["flows"][0]["records"] = (-1).into());
    assert!(negative.contains("-1"), "{negative}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let no_time = refused(|value| value["runs"][0]["repeats"][0]["flows"][0]["seconds"] = 0.into());
    assert!(no_time.contains("a flow of no time"), "{no_time}");
    let fewer = refused(|value| value["runs"][0]["repeats"][0]["flows"][0]["latency"]["count"] = 1.into());
    assert!(fewer.contains("do not add up"), "{fewer}");
    let nothing = refused(|value| value["runs"][0]["repeats"] = serde_json::json!([]));
    assert!(nothing.contains("it has no repeats"), "{nothing}");
    let mut broken = sample::report();
    broken.runs[0].repeats[0].measures[0].value = f64::NAN;
    assert!(encode(&broken).unwrap_err().to_string().contains("no number"));
}
