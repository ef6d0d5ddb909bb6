//! Raw text to a corpus: one sentence a line, a blank line between documents, in numbered shards. Knows nothing of stages.
//!
//! One thread reads and unpacks, workers take pieces of whole documents ([`read`](self)), and the calling thread writes
//! what they made in the order of the input. Pieces in flight are counted, so that memory does not grow with the input;
//! what grows with it is a hash of 8 bytes a different document ([`Settings::deduplicate`](config::Settings)) and for
//! XML a bit a PMID. What is decided about a document depends on documents before it only in the writer, so that the
//! result does not depend on threads or on the size of pieces.
//!
//! The order of steps: sentences, lower case, ends of lines to a space, non-ASCII runs to one space, tokens,
//! possessives (spec A.1); then whole documents: duplicates, length, sentences of test sets.

pub mod config;
pub mod counts;
mod make;
mod open;
mod read;
pub mod steps;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::DataError;
use config::{Format, Settings};
use counts::Counts;
use make::{Made, Maker};
use open::Next;
pub use open::{Open, Sources, Visit};
use read::xml::Meant;
use read::{Piece, Sizes, each_piece};
use steps::overlap::HeldOut;
use write::Shards;

/// Pieces in flight for each worker.
const PIECES_A_WORKER: usize = 4;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Numbers.
    pub counts: Counts,
    /// The first broken lines and records that were left out, with their places.
    pub samples: Vec<String>,
}

/// The hash that stands for a text.
fn hash(text: &[u8]) -> u64 {
    let hash = blake3::hash(text);
    let first: [u8; 8] = hash.as_bytes()[..8].try_into().expect("8 of 32 bytes");
    u64::from_le_bytes(first)
}

/// Makes the corpus of `sources` in `folder`, which exists and is empty: `00000.txt` and so on.
/// `held` are sentences of test sets; `progress` is told the bytes taken from files so far, packed as they are.
///
/// # Errors
/// Files that cannot be read or written, more broken records than allowed, overlap where it is refused, and a corpus
/// of which nothing is left.
pub fn make(
    sources: &Sources,
    settings: &Settings,
    held: &HeldOut,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, DataError> {
    let sizes = Sizes {
        piece: settings.piece_bytes.max(1),
        document: settings.max_document_bytes.max(1),
    };
    let meant = match settings.format {
        Format::PubmedXml => Meant::find(sources, sizes, settings.threads)?,
        _ => Meant::default(),
    };
    let mut shards = Shards::new(settings, folder);
    shards.counts.held_out_sentences = held.len() as u64;
    let read = Arc::new(AtomicU64::new(0));
    let run = Run {
        sources,
        settings,
        sizes,
        held,
        meant: &meant,
        read: &read,
    };
    if settings.threads <= 1 {
        run.alone(&mut shards, progress)?;
    } else {
        run.together(&mut shards, progress)?;
    }
    let (counts, samples) = shards.finish()?;
    if counts.documents == 0 {
        return Err(DataError::mismatch(
            format!(
                "no document is left of the {} that were read",
                counts.documents_read
            ),
            "look at `format` and at the bounds of length; the corpus would be empty",
        ));
    }
    Ok(Outcome { counts, samples })
}

/// One making, as all its threads see it.
#[derive(Clone, Copy)]
struct Run<'a> {
    sources: &'a Sources,
    settings: &'a Settings,
    sizes: Sizes,
    held: &'a HeldOut,
    meant: &'a Meant,
    read: &'a Arc<AtomicU64>,
}

/// What goes from the reader to a worker: a piece, or why there are no more.
type Task = (u64, Result<Piece, DataError>);
/// What goes from a worker to the writer; `None` from a worker that dies.
type Answer = Option<(u64, Result<(Piece, Made), DataError>)>;

impl Run<'_> {
    fn each_piece(&self, emit: &mut dyn FnMut(Piece) -> Next) -> Result<(), DataError> {
        each_piece(
            self.sources,
            0..self.sources.files.len(),
            self.settings.format,
            self.sizes,
            self.read,
            emit,
        )
    }

    /// All on this thread.
    fn alone(
        &self,
        shards: &mut Shards<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DataError> {
        let mut maker = Maker::new(self.settings, self.held, self.meant);
        let mut failed = None;
        self.each_piece(&mut |piece| {
            let made = maker.make(&piece);
            if let Err(error) = shards.take(&piece, &made) {
                failed = Some(error);
                return Next::Stop;
            }
            progress(self.read.load(Ordering::Relaxed));
            Next::Member
        })
        .and(failed.map_or(Ok(()), Err))
    }

    /// A reader, workers, and this thread as the writer.
    fn together(
        &self,
        shards: &mut Shards<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DataError> {
        let workers = self.settings.threads;
        let flying = workers * PIECES_A_WORKER;
        // The reader takes a pass for each piece, the writer gives it back: so many pieces are in flight at most.
        let (give_pass, passes) = sync_channel::<()>(flying);
        for _ in 0..flying {
            give_pass.send(()).expect("there is room for all passes");
        }
        let (tasks_in, tasks) = sync_channel::<Task>(flying);
        let (answers_in, answers) = sync_channel::<Answer>(flying + workers);
        let tasks = Mutex::new(tasks);
        std::thread::scope(|scope| {
            scope.spawn(move || self.read_all(tasks_in, passes));
            for _ in 0..workers {
                let (tasks, answers) = (&tasks, answers_in.clone());
                scope.spawn(move || self.work(tasks, answers));
            }
            drop(answers_in);
            let written = write_in_order(shards, answers, &give_pass, &mut || {
                progress(self.read.load(Ordering::Relaxed));
            });
            // Threads that wait for a pass or for room see that nobody is there any more.
            drop(give_pass);
            written
        })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "dropped at the end: workers see that no task follows"
    )]
    fn read_all(&self, tasks: SyncSender<Task>, passes: Receiver<()>) {
        let mut number = 0;
        let mut send = |task| {
            let sent = passes.recv().is_ok() && tasks.send((number, task)).is_ok();
            number += 1;
            match sent {
                true => Next::Member,
                false => Next::Stop,
            }
        };
        if let Err(error) = self.each_piece(&mut |piece| send(Ok(piece))) {
            send(Err(error));
        }
    }

    fn work(&self, tasks: &Mutex<Receiver<Task>>, answers: SyncSender<Answer>) {
        let last_words = LastWords(answers);
        let mut maker = Maker::new(self.settings, self.held, self.meant);
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((number, task)) = task else { return };
            let answer = task.map(|piece| {
                let made = maker.make(&piece);
                (piece, made)
            });
            if last_words.0.send(Some((number, answer))).is_err() {
                return;
            }
        }
    }
}

/// Tells the writer that a worker died, so that it does not wait for its answer for ever.
struct LastWords(SyncSender<Answer>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}

/// Answers come in any order; they are written by number.
fn write_in_order(
    shards: &mut Shards<'_>,
    answers: Receiver<Answer>,
    give_pass: &SyncSender<()>,
    progress: &mut dyn FnMut(),
) -> Result<(), DataError> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for answer in answers {
        let Some((number, answer)) = answer else {
            // The scope passes the panic on once all threads have ended.
            return Ok(());
        };
        waiting.insert(number, answer);
        while let Some(answer) = waiting.remove(&next) {
            let (piece, made) = answer?;
            shards.take(&piece, &made)?;
            next += 1;
            progress();
            // The reader may have ended.
            let _ = give_pass.try_send(());
        }
    }
    Ok(())
}
