//! Sizes and times as people read them, the same everywhere. Knows nothing of what they measure.

/// `312 B`, `4.2 MiB`, `31 GiB`: three digits at most below 1000, powers of 1024.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = to_float(bytes) / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(value), UNITS[unit])
}

/// Seconds as people say them: `12 ms`, `0.3 s`, `41 s`, `2 m 14 s`, `2 h 14 m`, `3 d 4 h`: at most two units, rounded
/// to the last one shown.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 0.0995 {
        return format!("{} ms", (seconds * 1000.0).round().max(1.0));
    }
    if seconds < 9.95 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let whole = rounded(seconds);
    if whole < 60 {
        return format!("{whole} s");
    }
    if whole < 3600 {
        return format!("{} m {:02} s", whole / 60, whole % 60);
    }
    let minutes = rounded(seconds / 60.0);
    if minutes < 24 * 60 {
        return format!("{} h {:02} m", minutes / 60, minutes % 60);
    }
    let hours = rounded(seconds / 3600.0);
    format!("{} d {} h", hours / 24, hours % 24)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; a saturated cast is the right answer for a huge one"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// `4.2`, `4`, `31`.
fn short(value: f64) -> String {
    let text = match value < 9.95 {
        true => format!("{value:.1}"),
        false => format!("{value:.0}"),
    };
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "three digits are shown, 53 bits are kept"
)]
fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_short() {
        let shown: Vec<String> = [0, 999, 1000, 1024, 4_404_019, 33_500_000_000, u64::MAX]
            .map(bytes)
            .into();
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1 KiB", "1 KiB", "4.2 MiB", "31 GiB", "16 EiB"
            ]
        );
    }

    #[test]
    fn durations_show_two_units() {
        let shown: Vec<String> = [
            0.0,
            0.0004,
            0.012,
            0.3,
            4.24,
            9.96,
            41.2,
            59.6,
            134.0,
            3599.7,
            8040.0,
            86_399.0,
            273_600.0,
            f64::NAN,
        ]
        .map(duration)
        .into();
        assert_eq!(
            shown,
            [
                "0 s", "1 ms", "12 ms", "0.3 s", "4.2 s", "10 s", "41 s", "1 m 00 s", "2 m 14 s",
                "1 h 00 m", "2 h 14 m", "1 d 0 h", "3 d 4 h", "0 s"
            ]
        );
    }
}
