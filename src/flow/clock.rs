//! The one place that reads the clock, and how times are written. Times never reach a key.

use std::time::{SystemTime, UNIX_EPOCH};

/// This machine's time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Nanoseconds since 1970 by this machine's clock.
#[must_use]
pub fn now_ns() -> i128 {
    match now().duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    }
}

/// A time as `2026-11-21T01:19:00.123Z`.
#[must_use]
pub fn rfc3339(time_ns: i128) -> String {
    match jiff::Timestamp::from_nanosecond(time_ns) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => "out of range".to_owned(),
    }
}

/// Seconds from a time as [`rfc3339`] writes it until now, not below 0; `None` when it is no time.
#[must_use]
pub fn seconds_since(text: &str) -> Option<f64> {
    let then: jiff::Timestamp = text.parse().ok()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds for people need no more than 53 bits"
    )]
    let seconds = (now_ns() - then.as_nanosecond()).max(0) as f64 / 1e9;
    Some(seconds)
}

/// The nanoseconds since 1970 that an RFC 3339 text means.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i128> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_nanosecond())
}

/// The moment that many nanoseconds after 1970; none for one before.
#[must_use]
pub fn from_ns(time_ns: i128) -> Option<SystemTime> {
    let nanos = u64::try_from(time_ns).ok()?;
    UNIX_EPOCH.checked_add(std::time::Duration::from_nanos(nanos))
}

/// A new run id such as `20261121T011900Z-4f2a`: sorts by time; the tail tells runs of one second apart.
#[must_use]
pub fn new_run_id() -> String {
    let now = now_ns();
    let stamp = match jiff::Timestamp::from_nanosecond(now) {
        Ok(time) => time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => "19700101T000000Z".to_owned(),
    };
    let tail = blake3::hash(format!("{now} {}", std::process::id()).as_bytes());
    format!("{stamp}-{}", &tail.to_hex().as_str()[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let text = "2026-11-21T01:19:00.123Z";
        let time = parse_rfc3339(text).expect("a time");
        assert_eq!(rfc3339(time), text);
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
