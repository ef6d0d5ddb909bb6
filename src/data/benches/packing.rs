//! Packing in MB/s of text and the most memory it took, on one thread and on more.
//!
//! `cargo bench -p data --bench packing -- --data DIR [--megabytes 512] [--threads 1,2] [--lengths 128,512] [--runs 3]`
//!
//! `DIR` holds `vocab/scivocab.txt` and `corpus/*.txt.gz`; its text is repeated up to the size. MB are 10^6 bytes of plain
//! text, read from disk, shuffled and written to disk; the median of the runs. Memory is the largest resident set of this
//! process so far, so that sizes are compared in runs of their own.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use data::packed::builder::Overflow;
use data::packed::pack::{Settings, Target, pack};
use data::texts::{TextFile, Texts};
use data::vocabulary::Vocabulary;

fn argument(name: &str, otherwise: &str) -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).unwrap_or_else(|| otherwise.to_owned())
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(',').map(|n| n.parse().unwrap()).collect()
}

fn write_text(folder: &Path, path: &Path, bytes: u64) -> u64 {
    let mut files: Vec<PathBuf> = (fs_err::read_dir(folder.join("corpus")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .collect();
    files.sort();
    let mut out = std::io::BufWriter::new(fs_err::File::create(path).unwrap());
    let mut written = 0;
    for file in files.iter().cycle() {
        let mut text = String::new();
        let mut file = flate2::read::MultiGzDecoder::new(fs_err::File::open(file).unwrap());
        file.read_to_string(&mut text).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        written += text.len() as u64;
        if written >= bytes {
            break;
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
    let megabytes: u64 = argument("--megabytes", "512").parse().unwrap();
    let runs: usize = argument("--runs", "3").parse().unwrap();
    let lengths = numbers(&argument("--lengths", "128,512"));
    let space = tempfile::tempdir().unwrap();
    let path = space.path().join("text");
    let bytes = write_text(&folder, &path, megabytes * 1_000_000);
    let name = "text".to_owned();
    let texts = Texts::plain(vec![TextFile { name, path }]);
    let vocabulary = fs_err::read(folder.join("vocab/scivocab.txt")).unwrap();
    let (vocabulary, _) = Vocabulary::parse(&vocabulary, "scivocab.txt").unwrap();
    let settings = Settings {
        words: data::wordpiece::Settings::default(),
        flush_documents: true,
        overflow: Overflow::Drop,
        shuffle: true,
        seed: 1,
    };
    let targets: Vec<Target> = lengths
        .iter()
        .map(|length| Target {
            length: *length,
            path: space.path().join(format!("{length}.packed")),
        })
        .collect();
    println!("{} MB of text, lengths {lengths:?}", bytes / 1_000_000);
    println!("{:>8}{:>10}{:>18}", "threads", "MB/s", "peak memory, MiB");
    for threads in numbers(&argument("--threads", "1,2")) {
        let mut times = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            let work = space.path().join("work");
            let threads = threads as usize;
            pack(
                &texts,
                &vocabulary,
                &settings,
                &targets,
                threads,
                &work,
                &mut |_| {},
            )
            .unwrap();
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let speed = bytes as f64 / 1e6 / times[times.len() / 2];
        println!("{threads:8}{speed:10.1}{:18.0}", peak_mib());
    }
}
