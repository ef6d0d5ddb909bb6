//! Making a corpus in MB/s of text and the most memory it took, on one thread and on more.
//!
//! `cargo bench -p data --bench corpus -- --data DIR [--megabytes 256] [--threads 1,2] [--runs 3] [--format sentences]`
//!
//! `DIR` holds `corpus/*.txt.gz`; its text is repeated up to the size, each document with a number of its own so that none
//! is left out as a repetition. MB are 10^6 bytes of plain text, read from disk, through all steps of NCBI-BERT's text with
//! deduplication, written to disk; the median of the runs. `--sample FILE` writes 5 MB of that text and ends, for
//! `tests/parity/corpus_speed.py`. Memory is the largest resident set of this process so far, so that sizes are compared
//! in runs of their own.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use data::corpus::config::{Format, Lengths, OnOverlap, Settings, Steps, Tokens};
use data::corpus::steps::overlap::HeldOut;
use data::corpus::{Sources, make};
use data::texts::TextFile;

fn argument(name: &str, otherwise: &str) -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).unwrap_or_else(|| otherwise.to_owned())
}

fn write_text(folder: &Path, path: &Path, bytes: u64) -> u64 {
    let mut files: Vec<PathBuf> = (fs_err::read_dir(folder.join("corpus")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .collect();
    files.sort();
    let mut out = std::io::BufWriter::new(fs_err::File::create(path).unwrap());
    let mut written = 0;
    let mut number = 0;
    'all: for file in files.iter().cycle() {
        let mut text = String::new();
        let mut file = flate2::read::MultiGzDecoder::new(fs_err::File::open(file).unwrap());
        file.read_to_string(&mut text).unwrap();
        for document in text.split("\n\n") {
            let document = format!("Document {number}.\n{}\n\n", document.trim_end());
            out.write_all(document.as_bytes()).unwrap();
            number += 1;
            written += document.len() as u64;
            if written >= bytes {
                break 'all;
            }
        }
    }
    out.flush().unwrap();
    written
}

fn peak_mib() -> f64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let folder = PathBuf::from(argument("--data", "../../../shared/data"));
    let sample = argument("--sample", "");
    if !sample.is_empty() {
        write_text(&folder, Path::new(&sample), 5_000_000);
        return;
    }
    let megabytes: u64 = argument("--megabytes", "256").parse().unwrap();
    let runs: usize = argument("--runs", "3").parse().unwrap();
    let (format, split) = match argument("--format", "sentences").as_str() {
        "paragraphs" => (Format::Paragraphs, true),
        _ => (Format::Sentences, false),
    };
    let space = tempfile::tempdir().unwrap();
    let path = space.path().join("text");
    let bytes = write_text(&folder, &path, megabytes * 1_000_000);
    let name = "text".to_owned();
    let sources = Sources::plain(vec![TextFile { name, path }]);
    let threads = argument("--threads", "1,2");
    println!("{} MB of text, {format:?}", bytes / 1_000_000);
    println!("{:>8}{:>10}{:>18}", "threads", "MB/s", "peak memory, MiB");
    for threads in threads.split(',').map(|n| n.parse::<usize>().unwrap()) {
        let settings = Settings {
            format,
            text_fields: Vec::new(),
            titles: true,
            section_labels: false,
            abstracts_only: false,
            steps: Steps {
                split,
                lower_case: true,
                ascii: true,
                tokens: Tokens::Treebank,
                possessives: true,
            },
            deduplicate: true,
            lengths: Lengths {
                sentence: (0, u64::MAX),
                document: (0, u64::MAX),
            },
            on_overlap: OnOverlap::Remove,
            max_bad_records: 0,
            shard_bytes: 100_000_000,
            max_document_bytes: 4 << 20,
            piece_bytes: 1 << 20,
            threads,
        };
        let mut times = Vec::new();
        for _ in 0..runs {
            let out = space.path().join("out");
            fs_err::create_dir(&out).unwrap();
            let start = Instant::now();
            make(&sources, &settings, &HeldOut::default(), &out, &mut |_| {}).unwrap();
            times.push(start.elapsed().as_secs_f64());
            fs_err::remove_dir_all(&out).unwrap();
        }
        times.sort_by(f64::total_cmp);
        let speed = bytes as f64 / 1e6 / times[times.len() / 2];
        println!("{threads:8}{speed:10.1}{:18.0}", peak_mib());
    }
}
