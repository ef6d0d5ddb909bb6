//! What the page shows, brought up to date when somebody asks: finds the run, reads what its files gained. Writes nothing.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Instant;

use flow::diagnostic::Failure;
use flow::metric::MetricRow;
use flow::plan::pipeline_id;
use flow::run::pulse::is_gone;
use flow::run::watch::{self, Standing, Watch};
use flow::spec::{METRICS, Workflow};
use flow::store::Store;

use super::board::{Board, Stand, State};
use super::curves::Curves;

/// Between two looks at the files, whoever asks.
const LOOK_EVERY_SECONDS: f64 = 0.2;
/// Between two looks for another run.
const SEARCH_EVERY_SECONDS: f64 = 1.0;
/// Bytes shown of a log's end.
const LOG_BYTES: u64 = 32 << 10;
/// Bytes read of the numbers of a stage.
const NUMBERS_BYTES: u64 = 1 << 20;
/// Trainings whose curves are kept.
const MOST_CURVES: usize = 64;

/// A pipeline as it is planned now.
pub struct Loaded {
    /// The stages.
    pub workflow: Workflow,
    /// What is known of each, in the same order.
    pub stands: Vec<Stand>,
}

/// Loads the pipeline anew.
pub type Load = Box<dyn Fn() -> Result<Loaded, Failure> + Send>;

/// Everything behind the page.
pub struct Live {
    store: Store,
    load: Load,
    pipeline: String,
    root: PathBuf,
    name: String,
    /// The stages and the run.
    pub board: Board,
    /// Whether the run goes on; none without a run.
    pub standing: Option<Standing>,
    /// Who runs it.
    pub holder: Option<String>,
    run: Option<String>,
    watch: Option<Watch>,
    curves: BTreeMap<String, Curves>,
    origin: Instant,
    looked: Option<f64>,
    searched: Option<f64>,
}

/// The end of a log.
#[derive(Debug, Default, PartialEq)]
pub struct LogEnd {
    /// Its last lines, as text without the controls of terminals.
    pub text: String,
    /// Bytes before them.
    pub before: u64,
}

impl Live {
    /// The state of a loaded pipeline.
    #[must_use]
    pub fn new(store: Store, first: &Loaded, load: Load) -> Self {
        Self {
            store,
            load,
            pipeline: pipeline_id(&first.workflow),
            root: first.workflow.root.clone(),
            name: first.workflow.name.clone(),
            board: Board::new(&first.workflow, &first.stands),
            standing: None,
            holder: None,
            run: None,
            watch: None,
            curves: BTreeMap::new(),
            origin: Instant::now(),
            looked: None,
            searched: None,
        }
    }

    /// The pipeline's file, as runs name it.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Takes what is new. Files that cannot be read now may be readable at the next look.
    pub fn refresh(&mut self) {
        let now = self.origin.elapsed().as_secs_f64();
        let is_due = |last: Option<f64>, every| last.is_none_or(|last| now - last >= every);
        if !is_due(self.looked, LOOK_EVERY_SECONDS) {
            return;
        }
        self.looked = Some(now);
        if is_due(self.searched, SEARCH_EVERY_SECONDS) {
            self.searched = Some(now);
            self.search();
        }
        let Some(watch) = &mut self.watch else { return };
        for seen in watch.poll(now).unwrap_or_default() {
            self.board.take(&seen);
        }
        let standing = watch.standing(now);
        self.holder = watch.holder();
        if standing == Standing::Killed && self.standing != Some(Standing::Killed) {
            self.board.stop_what_runs();
        }
        self.standing = Some(standing);
    }

    /// Turns to the run that began last and goes on; without one to that which began last.
    fn search(&mut self) {
        let alive = watch::going(&self.store, Some(&self.pipeline)).unwrap_or_default();
        let (gone, alive): (Vec<_>, Vec<_>) = alive.into_iter().partition(is_gone);
        let found = match (alive.last(), &self.run) {
            (Some(pulse), _) => Some(pulse.run.clone()),
            (None, None) => gone.last().map(|pulse| pulse.run.clone()),
            (None, Some(_)) => None,
        };
        let found = found.or_else(|| {
            let is_over = matches!(
                self.standing,
                None | Some(Standing::Over | Standing::Killed)
            );
            // A run so short that it was never seen at work.
            let last = is_over.then(|| watch::last(&self.store, Some(&self.pipeline)));
            Some(last?.ok()??.run)
        });
        let Some(run) = found.filter(|run| self.run.as_ref() != Some(run)) else {
            return;
        };
        // The file may have changed since; if it cannot be loaded now, its stages of before are shown.
        if self.run.is_some()
            && let Ok(loaded) = (self.load)()
        {
            self.board = Board::new(&loaded.workflow, &loaded.stands);
        } else if self.run.is_some() {
            self.board.begin_anew();
        }
        self.watch = Some(Watch::run(&self.store, &run));
        self.run = Some(run);
        self.standing = None;
        self.curves.clear();
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now() -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
        let now = flow::clock::now_ns() as f64 / 1e9;
        now
    }

    /// The curves of a stage, as far as it wrote any.
    pub fn curves(&mut self, cell: usize) -> &Curves {
        let name = &self.board.cells[cell].name;
        if self.curves.len() >= MOST_CURVES && !self.curves.contains_key(name) {
            self.curves.clear();
        }
        let curves = self.curves.entry(name.clone()).or_insert_with(|| {
            // Names also come from logs, and a name is a place here.
            let is_name = name.split('[').next().is_some_and(|stage| {
                let mut letters = stage.bytes();
                letters
                    .next()
                    .is_some_and(|first| first.is_ascii_lowercase())
                    && letters.all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            });
            let folder = is_name.then(|| flow::exec::live_folder(&self.root, &self.name, name));
            Curves::new(folder.map_or_else(PathBuf::new, |folder| folder.join("live.jsonl")))
        });
        // What cannot be read is not shown.
        let _ = curves.refresh();
        curves
    }

    /// The end of what a stage printed: at work, when it failed, or when it made its result.
    #[must_use]
    pub fn log(&self, cell: usize) -> Option<LogEnd> {
        let cell = &self.board.cells[cell];
        let key = cell.key?;
        let path = match flow::exec::last_log(&self.store, &key) {
            Some(path) if cell.state != State::Cached => path,
            found => match self.store.find_record(&key).and_then(|record| record.log) {
                Some(content) => self.store.object_path(&content.digest),
                None => found?,
            },
        };
        end_of(&path)
    }

    /// The numbers of a stage that has a result.
    #[must_use]
    pub fn numbers(&self, cell: usize) -> Vec<MetricRow> {
        let cell = &self.board.cells[cell];
        let Some(content) = (cell.key)
            .filter(|_| cell.state.is_made())
            .and_then(|key| self.store.find_record(&key))
            .and_then(|record| record.outputs.get(METRICS).map(|content| content.digest))
        else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let read = fs_err::File::open(self.store.object_path(&content))
            .and_then(|file| file.take(NUMBERS_BYTES).read_to_end(&mut bytes));
        let lines = bytes.split(|byte| *byte == b'\n');
        match read {
            Ok(_) => lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
            Err(_) => Vec::new(),
        }
    }
}

fn end_of(path: &std::path::Path) -> Option<LogEnd> {
    let mut file = fs_err::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut before = length.saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(before)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
    if before > 0
        && let Some(line) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=line);
        before += line as u64 + 1;
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .split('\n')
        .map(crate::console::format::clean_line)
        .collect();
    let text = lines.join("\n");
    Some(LogEnd { text, before })
}
