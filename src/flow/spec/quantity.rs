//! Amounts with units: bytes and durations. Knows nothing of what they limit.

/// Bytes: `20GiB`, `500MB`, `1.5 GiB`, or a bare number of bytes. `None` when it is neither.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value: f64 = number.parse().ok()?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a unit, bounded below"
    )]
    let bytes = {
        let bytes = value * factor as f64;
        (bytes.is_finite() && (0.0..1e18).contains(&bytes)).then_some(bytes as u64)
    };
    bytes
}

/// Seconds: `45s`, `10m`, `1h30m`, `2d`, `500ms`, or a bare number of seconds. `None` when it is neither or not above 0.
#[must_use]
pub fn parse_seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let mut rest = text;
    let mut total = 0.0;
    let mut first = true;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(split.unwrap_or(rest.len()));
        let value: f64 = number.parse().ok()?;
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "" if first && tail.is_empty() => 1.0,
            _ => return None,
        };
        total += value * factor;
        first = false;
        rest = tail;
    }
    (total > 0.0 && total.is_finite()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes() {
        assert_eq!(parse_bytes("20GiB"), Some(20 << 30));
        assert_eq!(parse_bytes("500 MB"), Some(500_000_000));
        assert_eq!(parse_bytes("1.5KiB"), Some(1536));
        assert_eq!(parse_bytes("12"), Some(12));
        for wrong in ["", "GiB", "-1", "12 apples", "1e9", "99999999999TiB", "."] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reads_durations() {
        assert_eq!(parse_seconds("10m"), Some(600.0));
        assert_eq!(parse_seconds("1h30m"), Some(5400.0));
        assert_eq!(parse_seconds("1.5h"), Some(5400.0));
        assert_eq!(parse_seconds("2 d"), Some(172_800.0));
        assert_eq!(parse_seconds("250ms"), Some(0.25));
        assert_eq!(parse_seconds("90"), Some(90.0));
        for wrong in ["", "m", "10x", "-5m", "0s", "1h30", "h1"] {
            assert_eq!(parse_seconds(wrong), None, "{wrong}");
        }
    }
}
