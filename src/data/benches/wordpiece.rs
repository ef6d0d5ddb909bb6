//! Tokenization in MB/s on one core, side by side in one run: ours, the `tokenizers` library, and Hugging Face's fast
//! tokenizer from Python.
//!
//! `cargo bench -p data --bench wordpiece -- --data DIR [--python VENV/bin/python] [--runs 5] [--megabytes 16]`
//!
//! `DIR` holds `vocab/scivocab.txt` and `corpus/*.txt.gz`, a sentence a line. Every tokenizer gets the same lines one by
//! one, and the ids of all are compared. MB are 10^6 bytes of UTF-8; the median of the runs, which take turns.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use data::vocabulary::Vocabulary;
use data::wordpiece::{Encoder, Settings, WordPiece};
use tokenizers::Tokenizer;

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn lines(folder: &Path, bytes: usize) -> Vec<String> {
    let mut files: Vec<PathBuf> = (fs_err::read_dir(folder.join("corpus")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .collect();
    files.sort();
    // The same share of every file, so that all kinds of text are there.
    let share = bytes / files.len();
    let mut lines = Vec::new();
    for file in files {
        let mut text = String::new();
        let mut file = flate2::read::MultiGzDecoder::new(fs_err::File::open(file).unwrap());
        file.read_to_string(&mut text).unwrap();
        let mut size = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            size += line.len() + 1;
            if size > share {
                break;
            }
            lines.push(line.to_owned());
        }
    }
    lines
}

/// As the NCBI-BERT text is: lower-cased, runs of other characters than ASCII one space.
fn ascii(line: &str) -> String {
    let mut out = String::new();
    for c in line.to_lowercase().chars() {
        match c.is_ascii() {
            true => out.push(c),
            false if out.ends_with('\u{1}') => {}
            false => out.push('\u{1}'),
        }
    }
    out.replace('\u{1}', " ")
}

fn main() {
    let folder = PathBuf::from(argument("--data").expect("give --data DIR"));
    let runs: usize = argument("--runs").map_or(5, |n| n.parse().unwrap());
    let megabytes: usize = argument("--megabytes").map_or(16, |n| n.parse().unwrap());
    let bytes = fs_err::read(folder.join("vocab/scivocab.txt")).unwrap();
    let (vocabulary, _) = Vocabulary::parse(&bytes, "scivocab.txt").unwrap();
    let settings = Settings {
        // As Hugging Face has it, so that the ids are the same.
        max_word_chars: 100,
        ..Settings::default()
    };
    let raw = lines(&folder, megabytes * 1_000_000);
    let plain: Vec<String> = raw.iter().map(|line| ascii(line)).collect();
    println!(
        "{:32}{:>12}{:>12}",
        "MB/s, one core, median", "raw text", "as NCBI-BERT"
    );
    let tables: Vec<Vec<(String, f64)>> = [raw, plain]
        .iter()
        .map(|lines| measure(&vocabulary, settings, lines, runs))
        .collect();
    for ((name, raw), (_, plain)) in tables[0].iter().zip(&tables[1]) {
        println!("{name:32}{raw:12.1}{plain:12.1}");
    }
    for other in 2..tables[0].len() {
        let ratio = |table: &[(String, f64)]| table[0].1 / table[other].1;
        let name = format!("ours / {}", tables[0][other].0);
        println!(
            "{name:32}{:12.1}{:12.1}",
            ratio(&tables[0]),
            ratio(&tables[1])
        );
    }
}

fn measure(
    vocabulary: &Vocabulary,
    settings: Settings,
    lines: &[String],
    runs: usize,
) -> Vec<(String, f64)> {
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let compiled = WordPiece::new(vocabulary, settings);
    let json = vocabulary.to_json(settings);
    let library = Tokenizer::from_bytes(json.as_bytes()).unwrap();
    let mut times: Vec<(String, Vec<f64>)> = Vec::new();
    let mut note = |name: &str, seconds: f64| match times.iter_mut().find(|(n, _)| n == name) {
        Some((_, times)) => times.push(seconds),
        None => times.push((name.to_owned(), vec![seconds])),
    };
    let mut python = argument("--python").map(|python| Python::start(&python, &json, lines));
    for run in 0..runs {
        let mut ids = Vec::with_capacity(bytes / 2);
        let start = Instant::now();
        let mut encoder = Encoder::new(&compiled);
        for line in lines {
            encoder.ids(line, &mut ids);
        }
        note("ours, ids", start.elapsed().as_secs_f64());

        let mut pieces = Vec::with_capacity(bytes / 2);
        let start = Instant::now();
        let mut encoder = Encoder::new(&compiled);
        for line in lines {
            encoder.pieces(line, &mut pieces);
        }
        note("ours, ids and ranges", start.elapsed().as_secs_f64());
        assert!(ids.iter().eq(pieces.iter().map(|piece| &piece.id)));
        drop(pieces);

        for (name, is_fast) in [
            ("tokenizers, encode_fast", true),
            ("tokenizers, encode", false),
        ] {
            let mut theirs = Vec::with_capacity(bytes / 2);
            let start = Instant::now();
            for line in lines {
                let encoding = match is_fast {
                    true => library.encode_fast(line.as_str(), false),
                    false => library.encode(line.as_str(), false),
                };
                theirs.extend_from_slice(encoding.unwrap().get_ids());
            }
            note(name, start.elapsed().as_secs_f64());
            if run == 0 && ids != theirs {
                println!(
                    "ids differ from those of `{name}`: {} and {}",
                    ids.len(),
                    theirs.len()
                );
            }
        }
        if let Some(python) = &mut python {
            note("HF fast from Python, one thread", python.time());
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let speed = |times| bytes as f64 / 1e6 / median(times);
    times
        .into_iter()
        .map(|(name, times)| (name, speed(times)))
        .collect()
}

/// A Python process that tokenizes the lines whenever it is told to.
struct Python {
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

const SCRIPT: &str = "
import sys, time
from transformers import PreTrainedTokenizerFast
fast = PreTrainedTokenizerFast(tokenizer_file=sys.argv[1], unk_token='[UNK]')
lines = open(sys.argv[2], encoding='utf-8', newline='\\n').read().split('\\n')[:-1]
for _ in sys.stdin:
    start = time.perf_counter()
    fast(lines, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)
    print(time.perf_counter() - start, flush=True)
";

impl Python {
    fn start(python: &str, json: &str, lines: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tokenizer, text) = (folder.path().join("t.json"), folder.path().join("text"));
        fs_err::write(&tokenizer, json).unwrap();
        fs_err::write(&text, lines.join("\n") + "\n").unwrap();
        let child = Command::new(python)
            .args(["-c", SCRIPT])
            .args([&tokenizer, &text])
            .env("TOKENIZERS_PARALLELISM", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            _folder: folder,
        }
    }

    fn time(&mut self) -> f64 {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"go\n").unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while byte != [b'\n'] {
            self.child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut byte)
                .unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
