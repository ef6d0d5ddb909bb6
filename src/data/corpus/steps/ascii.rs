//! Runs of characters outside ASCII to one space. Knows nothing of words.

/// Appends `text` to `out`, each run of characters outside U+0000..U+007F as **one space** (spec A.1, 3).
///
/// The description in the corpus' own documentation reads as if they were deleted; its program puts a space.
pub fn to_ascii(text: &str, out: &mut String) {
    let mut rest = text.as_bytes();
    let mut ascii = text;
    loop {
        let length = rest.iter().position(|byte| !byte.is_ascii());
        let Some(length) = length else {
            out.push_str(ascii);
            return;
        };
        out.push_str(&ascii[..length]);
        out.push(' ');
        let gap = rest[length..].iter().position(u8::is_ascii);
        let Some(gap) = gap else { return };
        rest = &rest[length + gap..];
        ascii = &ascii[length + gap..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_one_space() {
        let ascii = |text: &str| {
            let mut out = String::new();
            to_ascii(text, &mut out);
            out
        };
        assert_eq!(ascii("β-catenin"), " -catenin");
        assert_eq!(ascii("naïve"), "na ve");
        assert_eq!(ascii("5±2 αβγ–δ x"), "5 2   x");
        assert_eq!(ascii("plain"), "plain");
        assert_eq!(ascii("éé"), " ");
        assert_eq!(ascii(""), "");
    }
}
