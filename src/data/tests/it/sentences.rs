//! The sentence splitter against boundaries that people annotated, beside a naive rule.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use data::corpus::steps::sentences;

/// Hits, found and annotated boundaries.
#[derive(Default)]
struct Score {
    hits: usize,
    found: usize,
    annotated: usize,
    /// Annotated boundaries that follow no mark; none of the above.
    unmarked: usize,
}

impl Score {
    /// Counts boundaries inside a text, by the characters before them that are no white space.
    fn add(&mut self, found: &[&str], annotated: &[&str]) {
        let ends = |parts: &[&str]| -> (BTreeSet<usize>, BTreeSet<usize>) {
            let mut at = 0;
            let (mut ends, mut marked) = (BTreeSet::new(), BTreeSet::new());
            for part in parts {
                at += squash(part).len();
                ends.insert(at);
                if part
                    .trim_end_matches([')', ']', '"', '\''])
                    .ends_with(['.', '?', '!'])
                {
                    marked.insert(at);
                }
            }
            let last = ends.pop_last();
            marked.retain(|end| Some(*end) != last);
            (ends, marked)
        };
        let (found, _) = ends(found);
        let (all, annotated) = ends(annotated);
        self.unmarked += all.len() - annotated.len();
        // A heading that ends without a mark is found by nobody; whoever does is not wrong.
        let found: BTreeSet<usize> = found
            .into_iter()
            .filter(|end| annotated.contains(end) || !all.contains(end))
            .collect();
        self.hits += found.intersection(&annotated).count();
        self.found += found.len();
        self.annotated += annotated.len();
    }

    fn f1(&self) -> f64 {
        2.0 * self.hits as f64 / (self.found + self.annotated) as f64
    }

    #[expect(clippy::print_stderr, reason = "the figures of the documentation")]
    fn show(&self, what: &str) {
        eprintln!(
            "{what}: {} boundaries after a mark ({} others), precision {:.2} %, recall {:.2} %, F1 {:.2} %",
            self.annotated,
            self.unmarked,
            100.0 * self.hits as f64 / self.found as f64,
            100.0 * self.hits as f64 / self.annotated as f64,
            100.0 * self.f1()
        );
    }
}

fn squash(text: &str) -> String {
    text.split_whitespace().collect()
}

fn ours(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    sentences::split(text, &mut |part| parts.push(part));
    parts
}

/// `.`, `?` or `!`, white space, a capital letter.
fn naive(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let next = rest.trim_start();
        if matches!(c, '.' | '?' | '!')
            && next.len() < rest.len()
            && next.starts_with(char::is_uppercase)
        {
            parts.push(&text[start..=at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unzip(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(fs_err::File::open(path).expect("there"))
        .read_to_end(&mut bytes)
        .expect("whole");
    bytes
}

#[test]
fn documents_of_drug_labels_and_abstracts() {
    let Some(shared) = crate::real_files::shared("documents_of_drug_labels") else {
        return;
    };
    // DDI-2013: a sentence a line as annotated.
    let text = unzip(&shared.join("corpus/ddi-train-documents.txt.gz"));
    let text = String::from_utf8(text).expect("UTF-8");
    let (mut mine, mut simple) = (Score::default(), Score::default());
    for document in text.split("\n\n") {
        let annotated: Vec<&str> = document.lines().collect();
        let joined = annotated.join(" ");
        mine.add(&ours(&joined), &annotated);
        simple.add(&naive(&joined), &annotated);
    }
    mine.show("DDI-2013, these rules");
    simple.show("DDI-2013, naive rule");
    assert!(mine.annotated > 3500);
    assert!(mine.f1() > 0.98 && mine.f1() > simple.f1(), "{}", mine.f1());
}

#[test]
fn abstracts_of_genia() {
    let Some(shared) = crate::real_files::shared("abstracts_of_genia") else {
        return;
    };
    let tokens = shared.join("ner/JNLPBA/train.txt");
    let tokens = fs_err::read_to_string(tokens).expect("there");
    let blocks = tokens.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.split(' ').next());
        lines.collect::<String>()
    });
    let blocks: Vec<String> = blocks.filter(|block| !block.is_empty()).collect();
    let archive = unzip(&shared.join("ner/JNLPBA/raw/standoff-train.tar.gz"));
    let mut archive = tar::Archive::new(archive.as_slice());
    let mut documents = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("whole");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name.ends_with(".txt") {
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("UTF-8");
            documents.push((name, text));
        }
    }
    // Where a block stands; titles are blocks.
    let places: BTreeMap<&str, usize> = blocks.iter().map(String::as_str).zip(0..).collect();
    let (mut mine, mut simple) = (Score::default(), Score::default());
    let mut aligned = 0;
    for (_, text) in &documents {
        let whole = squash(text);
        let title = squash(text.lines().next().unwrap_or_default());
        let Some(&next) = places.get(title.as_str()) else {
            continue;
        };
        // Abstracts of the development set are not among the blocks.
        let mut length = 0;
        let mut to = next;
        while to < blocks.len() && whole[length..].starts_with(&blocks[to]) {
            length += blocks[to].len();
            to += 1;
        }
        if length < whole.len() {
            continue;
        }
        let annotated: Vec<&str> = blocks[next..to].iter().map(String::as_str).collect();
        // A title is a text of its own, as in a record of PubMed.
        let split = |rule: fn(&str) -> Vec<&str>| text.lines().flat_map(rule).collect::<Vec<_>>();
        mine.add(&split(ours), &annotated);
        simple.add(&split(naive), &annotated);
        aligned += 1;
    }
    mine.show("GENIA, these rules");
    simple.show("GENIA, naive rule");
    assert!(aligned > 1500, "{aligned}");
    assert!(mine.f1() > 0.99 && mine.f1() > simple.f1(), "{}", mine.f1());
}
