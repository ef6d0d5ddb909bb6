//! The one place that reads the clock. Times never reach a key.

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
