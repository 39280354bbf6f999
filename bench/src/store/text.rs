//! What S3's protocol says in text: listings, dates, and keys in URLs.

use super::objects::Listed;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time by the calendar.
struct Date {
    days: u64,
    year: u64,
    month: u64,
    day: u64,
    seconds: u64,
}

/// By Howard Hinnant's `civil_from_days`, for dates from 1970 on.
fn date(time: SystemTime) -> Date {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400;
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Date {
        days,
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        seconds: seconds % 86_400,
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// A date as HTTP's headers have it.
pub(super) fn http_date(time: SystemTime) -> String {
    let Date { days, year, month, day, seconds } = date(time);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[(month as usize).saturating_sub(1) % 12]);
    format!("{weekday}, {day:02} {month} {year} {} GMT", clock(seconds))
}

fn iso_date(time: SystemTime) -> String {
    let Date { year, month, day, seconds, .. } = date(time);
    format!("{year:04}-{month:02}-{day:02}T{}.000Z", clock(seconds))
}

/// A page of a listing; the token of the next page is its last key.
pub(super) fn listing(found: &[Listed], more: bool) -> String {
    let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    for Listed { key, size, tag, modified } in found {
        let (key, modified) = (escape(key), iso_date(*modified));
        // Writing into a String does not fail.
        let _ = write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>\"{tag:x}\"</ETag>\
             <Size>{size}</Size></Contents>"
        );
    }
    if let Some(last) = found.last().filter(|_| more) {
        let _ = write!(text, "<NextContinuationToken>{}</NextContinuationToken>", escape(&last.key));
    }
    text + "</ListBucketResult>"
}

/// The keys that a bulk delete names.
pub(super) fn keys_to_delete(body: &str) -> Vec<String> {
    body.split("<Key>").skip(1).filter_map(|rest| Some(unescape(rest.split_once("</Key>")?.0))).collect()
}

/// The answer to a bulk delete.
pub(super) fn deleted(keys: &[String]) -> String {
    let lines: String = keys.iter().map(|key| format!("<Deleted><Key>{}</Key></Deleted>", escape(key))).collect();
    format!("<DeleteResult>{lines}</DeleteResult>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Text from a URL, its percent signs resolved.
pub(super) fn decode_url(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        match (first, behind) {
            (b'%', [high, low, after @ ..]) if hex(*high).zip(hex(*low)).is_some() => {
                let (high, low) = (hex(*high).unwrap_or(0), hex(*low).unwrap_or(0));
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            (first, behind) => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of `name` in a query; `Some("")` for a name without one.
pub(super) fn query(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decode_url(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(http_date(at(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(at(1_709_210_096)), "Thu, 29 Feb 2024 12:34:56 GMT");
        assert_eq!(iso_date(at(1_795_651_199)), "2026-11-25T23:59:59.000Z");
        assert_eq!(iso_date(at(4_102_444_800)), "2100-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_was_escaped_comes_back() {
        let body =
            format!("<Delete><Object><Key>{}</Key></Object><Object><Key>b</Key></Object></Delete>", escape("a&<b>"));
        assert_eq!(keys_to_delete(&body), ["a&<b>", "b"]);
        assert_eq!(decode_url("a%20b%2Fc%zz%4"), "a b/c%zz%4");
        assert_eq!(query("list-type=2&prefix=a%2Fb&uploads", "prefix").as_deref(), Some("a/b"));
        assert_eq!(query("list-type=2&uploads", "uploads").as_deref(), Some(""));
        assert_eq!(query("list-type=2", "uploads"), None);
    }
}
