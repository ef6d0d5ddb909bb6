//! A record of a stranger's: whether it is sound, and whether what people are shown of it can be shown. Reads no file.

use flow::digest::Use;
use flow::store::record::{RECORD_VERSION, Record};

/// The longest note, and the longest text of a command in a record.
const LONGEST_NOTE_BYTES: usize = 1 << 20;

/// A record of a stranger's. What people are shown of it must be one line without control characters, its outputs must
/// have names of outputs, and its key must be the digest of its manifest.
///
/// # Errors
/// What is wrong, in words.
pub(in crate::share) fn decode_record(text: &[u8]) -> Result<Record, String> {
    let record: Record =
        serde_json::from_slice(text).map_err(|error| format!("it does not decode: {error}"))?;
    if record.version > RECORD_VERSION {
        return Err(format!(
            "it has version {}, beyond {RECORD_VERSION}",
            record.version
        ));
    }
    let mut shown: Vec<&str> = vec![
        &record.stage,
        &record.pipeline,
        &record.device,
        &record.program,
        &record.finished,
        &record.machine.host,
        &record.machine.system,
        &record.machine.processor,
    ];
    shown.extend(record.machine.gpus.iter().map(String::as_str));
    for attempt in &record.attempts {
        shown.extend([attempt.started.as_str(), &attempt.end, &attempt.host]);
    }
    shown.extend(
        record
            .choice
            .iter()
            .flat_map(|(axis, value)| [axis.as_str(), value]),
    );
    if let Some(imported) = &record.imported {
        shown.push(&imported.title);
        shown.extend(imported.by.iter().map(String::as_str));
    }
    let mut moments = vec![record.finished.as_str()];
    moments.extend(
        record
            .attempts
            .iter()
            .map(|attempt| attempt.started.as_str()),
    );
    if let Some(accepted) = &record.accepted {
        shown.push(&accepted.reason);
        moments.push(&accepted.date);
    }
    moments.extend(
        record
            .imported
            .iter()
            .map(|imported| imported.date.as_str()),
    );
    if let Some(odd) = shown.iter().find(|text| !is_line(text)) {
        return Err(format!(
            "`{}` is not a line of text",
            odd.escape_debug().take(60).collect::<String>()
        ));
    }
    let odd = moments
        .iter()
        .find(|text| text.len() > 40 || flow::clock::parse_rfc3339(text).is_none());
    if let Some(odd) = odd {
        return Err(format!(
            "`{}` is no moment",
            odd.escape_debug().take(60).collect::<String>()
        ));
    }
    let environment = record
        .environment
        .iter()
        .flat_map(|(words, text)| [words.as_str(), text]);
    let notes = record.notes.iter().chain(&record.inherited);
    let told = notes.flat_map(|(name, note)| {
        let mut texts = vec![name.as_str()];
        texts_of(note, &mut texts);
        texts
    });
    if let Some(odd) = environment.chain(told).find(|text| !is_text(text)) {
        return Err(format!(
            "`{}` is not text that can be shown",
            odd.escape_debug().take(60).collect::<String>()
        ));
    }
    // Texts in a manifest are JSON, which has none as they are.
    if record.manifest.chars().any(|c| c < ' ' && c != '\n') {
        return Err("its manifest has control characters".to_owned());
    }
    let is_name = |name: &String| flow::spec::check_name(name) && name.len() <= 200;
    if let Some(odd) = record.outputs.keys().find(|name| !is_name(name)) {
        return Err(format!(
            "`{}` cannot name an output",
            odd.escape_debug().take(60).collect::<String>()
        ));
    }
    let seconds = record.attempts.iter().map(|attempt| attempt.seconds);
    if seconds
        .chain([record.seconds])
        .any(|seconds| !seconds.is_finite() || seconds < 0.0)
    {
        return Err("its time is no time".to_owned());
    }
    if Use::Manifest.digest(record.manifest.as_bytes()) != record.key {
        return Err("its key is not the digest of its manifest".to_owned());
    }
    Ok(record)
}

/// Every text of a note.
fn texts_of<'a>(note: &'a serde_json::Value, texts: &mut Vec<&'a str>) {
    match note {
        serde_json::Value::String(text) => texts.push(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts_of(item, texts)),
        serde_json::Value::Object(parts) => {
            for (name, part) in parts {
                texts.push(name);
                texts_of(part, texts);
            }
        }
        _ => {}
    }
}

/// Whether lines of a text can be shown, as notes and what a command said are.
fn is_text(text: &str) -> bool {
    text.len() <= LONGEST_NOTE_BYTES
        && text
            .split(['\n', '\t'])
            .all(|line| !line.chars().any(is_odd))
}

/// What of a text of a command cannot be shown, left out.
pub(in crate::share) fn shown_text(text: &str) -> String {
    let kept = |c: &char| matches!(c, '\n' | '\t') || !is_odd(*c);
    let text: String = text.chars().filter(kept).collect();
    let end = text.floor_char_boundary(LONGEST_NOTE_BYTES);
    text[..end].to_owned()
}

/// A character that moves the cursor, or makes what follows run the other way.
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text can be shown: one line, no control characters, not without end.
pub(in crate::share) fn is_line(text: &str) -> bool {
    text.len() <= 4096 && !text.chars().any(is_odd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Vec<u8> {
        let manifest = "config.a = 1\nkind = t 1\n";
        serde_json::json!({
            "version": 1, "key": Use::Manifest.digest(manifest.as_bytes()), "manifest": manifest,
            "stage": "a[x=1]", "pipeline": "p",
            "outputs": { "data": { "form": "file", "digest": Use::File.digest(b"x"), "bytes": 1 } },
            "seconds": 1.5, "finished": "2026-11-21T00:00:00Z",
            "attempts": [{ "started": "2026-11-21T00:00:00Z", "seconds": 1.5, "end": "done", "host": "h" }],
            "machine": { "host": "h", "system": "s", "processor": "p", "cores": 2, "memory_bytes": 5 },
            "device": "cpu", "program": "pipeline 0",
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn odd_records_are_refused_by_what_is_odd() {
        assert!(decode_record(&record()).is_ok());
        let text = String::from_utf8(record()).expect("UTF-8");
        for (from, to, says) in [
            (r#""a[x=1]""#, r#""a\u001b[2J""#, "not a line of text"),
            (r#""cpu""#, r#""cpu\n""#, "not a line of text"),
            (
                r#""device":"cpu""#,
                r#""device":"cpu","notes":{"licence":["\u001b[2J"]}"#,
                "not text that can be shown",
            ),
            (
                r#""device":"cpu""#,
                r#""device":"cpu","inherited":{"a\u0007":1}"#,
                "not text that can be shown",
            ),
            (
                r#""device":"cpu""#,
                r#""device":"cpu","environment":{"x":"y\r"}"#,
                "not text that can be shown",
            ),
            (
                r#""finished":"2026-11-21T00:00:00Z""#,
                r#""finished":"not a date""#,
                "is no moment",
            ),
            (
                r#""started":"2026-11-21T00:00:00Z""#,
                r#""started":"zzz""#,
                "is no moment",
            ),
            (r#""data":"#, r#""../data":"#, "cannot name an output"),
            (r#""data":"#, r#""Data":"#, "cannot name an output"),
            (
                r#""seconds":1.5,"finished""#,
                r#""seconds":-1.5,"finished""#,
                "no time",
            ),
            (
                r#""seconds":1.5,"finished""#,
                r#""seconds":1e999,"finished""#,
                "does not decode",
            ),
            (
                r#"config.a = 1"#,
                r#"config.a = 2"#,
                "not the digest of its manifest",
            ),
            (r#""version":1"#, r#""version":2"#, "version 2"),
            (r#""form":"file""#, r#""form":"link""#, "does not decode"),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            let error = decode_record(text.replace(from, to).as_bytes()).expect_err(to);
            assert!(error.contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_record_holds_it_is_refused_or_sound(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode_record(&noise);
            let mut text = record();
            for (at, byte, what) in edits {
                let at = at.index(text.len());
                match what {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            if let Ok(record) = decode_record(&text) {
                prop_assert_eq!(Use::Manifest.digest(record.manifest.as_bytes()), record.key);
                prop_assert!(is_line(&record.stage) && is_line(&record.device));
                prop_assert!(record.outputs.keys().all(|name| flow::spec::check_name(name)));
            }
        }
    }
}
