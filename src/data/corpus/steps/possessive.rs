//! Attaches `'s` to the word before it again. Knows nothing of tokens.

/// Takes out the white space before each `'s` that ends a word in `line[from..]`: the substitution `\s's\b` to `'s`
/// (spec A.1, 5). Returns how many there were.
pub fn attach(line: &mut Vec<u8>, from: usize) -> u64 {
    if memchr::memchr(b'\'', &line[from..]).is_none() {
        return 0;
    }
    let text = line.split_off(from);
    let mut found = 0;
    let mut at = 0;
    while at < text.len() {
        let gap = space_at(&text[at..]);
        let behind = at + gap;
        if gap > 0 && text[behind..].starts_with(b"'s") && ends_word(&text[behind + 2..]) {
            line.extend_from_slice(b"'s");
            at = behind + 2;
            found += 1;
        } else {
            line.push(text[at]);
            at += 1;
        }
    }
    found
}

/// The length in bytes of the white space character the text starts with, 0 if it starts with none.
fn space_at(text: &[u8]) -> usize {
    match text.first() {
        Some(b' ' | 0x09..=0x0d | 0x1c..=0x1f) => 1,
        Some(0xc2..=0xef) => first_char(text)
            .filter(|c| c.is_whitespace())
            .map_or(0, char::len_utf8),
        _ => 0,
    }
}

fn ends_word(rest: &[u8]) -> bool {
    match rest.first() {
        None => true,
        Some(byte) if byte.is_ascii() => !(byte.is_ascii_alphanumeric() || *byte == b'_'),
        Some(_) => first_char(rest).is_none_or(|c| !c.is_alphanumeric()),
    }
}

/// The first character of what was UTF-8 text; looks at 4 bytes at most.
fn first_char(text: &[u8]) -> Option<char> {
    let chunk = text[..text.len().min(4)].utf8_chunks().next()?;
    chunk.valid().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_s_behind_white_space() {
        for (line, expected, count) in [
            ("alzheimer 's disease", "alzheimer's disease", 1),
            ("crohn 's", "crohn's", 1),
            ("the 'slow ' one", "the 'slow ' one", 0),
            ("a 's 's b", "a's's b", 2),
            ("a 's_ b", "a 's_ b", 0),
            ("a 's\u{e9} b", "a 's\u{e9} b", 0),
            ("a\u{a0}'s-b", "a's-b", 1),
            ("'s", "'s", 0),
            ("parkinson 'S", "parkinson 'S", 0),
        ] {
            let mut bytes = format!("x 's {line}").into_bytes();
            assert_eq!(attach(&mut bytes, 5), count, "{line}");
            assert_eq!(String::from_utf8_lossy(&bytes[5..]), expected);
        }
    }
}
