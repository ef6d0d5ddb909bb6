//! Cores, memory and GPUs that stages take and give back. Knows nothing of what they do with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::amounts;
use crate::diagnostic::Diagnostic;
use crate::spec::StageSpec;
use crate::store::record::total_memory_bytes;

/// Cores this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A GPU: its index as `CUDA_VISIBLE_DEVICES` takes it, and its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Index or UUID.
    pub id: String,
    /// Bytes of memory in all.
    pub memory_bytes: u64,
    /// Whether nobody else was seen on it, so that stages may share it by what they plan to take.
    pub is_shareable: bool,
}

/// Bytes of a GPU's memory that are taken though nobody uses it.
const IDLE_BYTES: u64 = 1 << 30;

/// The GPUs of this machine, as the driver's own tool lists them; `CUDA_VISIBLE_DEVICES` narrows them.
#[must_use]
pub fn detect_gpus() -> Vec<Gpu> {
    let list = |fields: &str| {
        let listed = std::process::Command::new("nvidia-smi")
            .args([
                &format!("--query-gpu={fields}"),
                "--format=csv,noheader,nounits",
            ])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output();
        let output = listed.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Older drivers do not know the last field; their GPUs are not shared.
    let listing = list("index,uuid,memory.total,memory.used,mig.mode.current")
        .or_else(|| list("index,uuid,memory.total"));
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    parse_gpus(&listing.unwrap_or_default(), visible.as_deref())
}

fn parse_gpus(listing: &str, visible: Option<&str>) -> Vec<Gpu> {
    let mut gpus = Vec::new();
    for line in listing.lines() {
        let mut fields = line.split(',').map(str::trim);
        let (Some(index), Some(uuid), Some(mebibytes)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(mebibytes) = mebibytes.parse::<u64>() else {
            continue;
        };
        let is_visible = visible.is_none_or(|list| {
            list.split(',')
                .map(str::trim)
                .any(|id| id == index || id == uuid)
        });
        let used = fields.next().and_then(|used| used.parse::<u64>().ok());
        let is_partitioned = fields.next() == Some("Enabled");
        if is_visible {
            gpus.push(Gpu {
                id: index.to_owned(),
                memory_bytes: mebibytes << 20,
                is_shareable: !is_partitioned && used.is_some_and(|used| used << 20 <= IDLE_BYTES),
            });
        }
    }
    gpus
}

#[derive(Debug)]
pub(super) struct Slots {
    cores: u32,
    cores_free: u32,
    memory_bytes: u64,
    memory_free: u64,
    gpus: Option<Vec<(Gpu, u64)>>,
    /// Kinds whose stages compute on a GPU where they name no device.
    auto: Option<BTreeSet<String>>,
    /// Bytes that stages plan to take of a GPU, by name; `None` for those that fill one.
    planned: BTreeMap<String, Option<u64>>,
    taken: BTreeMap<String, Vec<(usize, u64)>>,
}

impl Slots {
    pub(super) fn new(jobs: usize) -> Self {
        let cores = u32::try_from(cores().max(jobs)).unwrap_or(u32::MAX);
        let memory_bytes = total_memory_bytes();
        Self {
            cores,
            cores_free: cores,
            memory_bytes,
            memory_free: memory_bytes,
            gpus: None,
            auto: None,
            planned: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    /// Whether it is settled what stages that name no device compute on.
    pub(super) fn knows_auto(&self) -> bool {
        self.auto.is_some()
    }

    /// Settles it: a GPU for stages of these kinds, if the driver's tool lists any. Whether it does.
    pub(super) fn set_auto(&mut self, kinds: BTreeSet<String>) -> bool {
        let is_listed = kinds.is_empty() || !self.gpus().is_empty();
        self.auto = Some(if is_listed { kinds } else { BTreeSet::new() });
        is_listed
    }

    /// The device that a stage is started on, where that is settled here.
    pub(super) fn device(&self, stage: &StageSpec) -> Option<String> {
        let named = stage.policy.resources.device.clone();
        match &self.auto {
            // A GPU that was taken is the only one that the stage sees.
            _ if self.gpu_count(stage) > 0 && is_cuda(stage) => Some("cuda".to_owned()),
            Some(kinds) if is_auto(stage) && kinds.contains(&stage.kind) => Some("cuda".to_owned()),
            _ => named,
        }
    }

    /// GPUs that a stage takes.
    fn gpu_count(&self, stage: &StageSpec) -> usize {
        let kinds = self.auto.as_ref();
        let is_gpu = is_auto(stage) && kinds.is_some_and(|kinds| kinds.contains(&stage.kind));
        // Each process that computes on a GPU has one of its own.
        let implied = match is_cuda(stage) || is_gpu {
            true => stage.policy.resources.processes,
            false => 0,
        };
        stage.policy.resources.gpus.max(implied) as usize
    }

    /// Whether a stage takes a GPU without a word on how much of it, and nobody has asked its kind.
    pub(super) fn asks_for_plan(&self, stage: &StageSpec) -> bool {
        let wanted = &stage.policy.resources;
        let is_implied = wanted.gpus == 0 && wanted.processes == 1;
        is_implied && self.gpu_count(stage) > 0 && !self.planned.contains_key(&stage.name)
    }

    /// Bytes that a stage plans to take of a GPU; `None` where it fills one.
    pub(super) fn set_planned(&mut self, stage: &StageSpec, bytes: Option<u64>) {
        self.planned.insert(stage.name.clone(), bytes);
    }

    /// What a stage takes of each of its GPUs.
    fn share(&mut self, stage: &StageSpec) -> Share {
        let stated = stage.policy.resources.gpu_memory_bytes;
        if stated > 0 {
            return Share::Stated(stated);
        }
        let Some(planned) = self.planned.get(&stage.name).copied().flatten() else {
            return Share::Whole;
        };
        let named = named_gpu(stage);
        let meant = (self.gpus().iter().enumerate())
            .filter(|(index, _)| named.is_none_or(|named| named == *index));
        let largest = meant.map(|(_, (gpu, _))| gpu.memory_bytes).max();
        // A plan that no GPU holds may yet find a way.
        match largest.is_some_and(|largest| planned <= largest) {
            true => Share::Planned(planned),
            false => Share::Whole,
        }
    }

    /// Whether a stage that ran out of a GPU's memory had but a share of it; then it gets a whole one from here on.
    pub(super) fn takes_whole_next(&mut self, stage: &StageSpec) -> bool {
        let had_share = self.gpu_count(stage) > 0 && matches!(self.share(stage), Share::Planned(_));
        if had_share {
            self.set_planned(stage, None);
        }
        had_share
    }

    /// Detects GPUs when the first stage asks for one: the driver's tool takes a while.
    fn gpus(&mut self) -> &mut Vec<(Gpu, u64)> {
        self.gpus.get_or_insert_with(|| {
            detect_gpus()
                .into_iter()
                .map(|gpu| (gpu.clone(), gpu.memory_bytes))
                .collect()
        })
    }

    /// Whether an empty machine could run the stage.
    pub(super) fn can_ever_hold(&mut self, stage: &StageSpec) -> Result<(), Diagnostic> {
        let wanted = &stage.policy.resources;
        if self.memory_bytes > 0 && wanted.memory_bytes > self.memory_bytes {
            return Err(Diagnostic::error(
                "run::too_much_memory",
                format!(
                    "`{}` asks for {} of memory, this machine has {}",
                    stage.name,
                    amounts::bytes(wanted.memory_bytes),
                    amounts::bytes(self.memory_bytes)
                ),
            )
            .at(stage.span, "")
            .help("lower `resources.memory`, or run on a larger machine"));
        }
        if self.gpu_count(stage) == 0 {
            return Ok(());
        }
        let (count, named) = (self.gpu_count(stage), named_gpu(stage));
        let fitting = self
            .gpus()
            .iter()
            .enumerate()
            .filter(|(index, _)| named.is_none_or(|named| named == *index))
            .filter(|(_, (gpu, _))| gpu.memory_bytes >= wanted.gpu_memory_bytes)
            .count();
        if fitting < count {
            let with = if wanted.gpu_memory_bytes > 0 {
                format!(" with {}", amounts::bytes(wanted.gpu_memory_bytes))
            } else {
                String::new()
            };
            return Err(Diagnostic::error(
                "run::no_gpu",
                format!("`{}` asks for {} GPU{with}, this machine has {fitting}", stage.name, count),
            )
            .at(stage.span, "")
            .help("`nvidia-smi` must list them; `CUDA_VISIBLE_DEVICES` may hide some; or ask for less in `resources.gpu`"));
        }
        Ok(())
    }

    pub(super) fn fits(&mut self, stage: &StageSpec) -> bool {
        let wanted = &stage.policy.resources;
        let memory = wanted.memory_bytes.min(self.memory_bytes);
        if wanted.cores.min(self.cores) > self.cores_free || memory > self.memory_free {
            return false;
        }
        let (count, share) = (self.gpu_count(stage), self.share(stage));
        let named = named_gpu(stage);
        count == 0
            || self
                .gpus()
                .iter()
                .enumerate()
                .filter(|(index, _)| named.is_none_or(|named| named == *index))
                .filter(|(_, (gpu, free))| share.of(gpu, *free).is_some())
                .count()
                >= count
    }

    /// Takes what a stage asks for; the GPUs it gets, if it asked for any.
    pub(super) fn take(&mut self, stage: &StageSpec) -> Option<Vec<String>> {
        let wanted = &stage.policy.resources;
        self.cores_free = self.cores_free.saturating_sub(wanted.cores.min(self.cores));
        self.memory_free = self
            .memory_free
            .saturating_sub(wanted.memory_bytes.min(self.memory_bytes));
        let (count, share) = (self.gpu_count(stage), self.share(stage));
        if count == 0 {
            return None;
        }
        let named = named_gpu(stage);
        let mut taken = Vec::new();
        let mut ids = Vec::new();
        for (index, (gpu, free)) in self.gpus().iter_mut().enumerate() {
            let is_meant = named.is_none_or(|named| named == index);
            if !is_meant || taken.len() == count {
                continue;
            }
            if let Some(amount) = share.of(gpu, *free) {
                *free -= amount;
                taken.push((index, amount));
                ids.push(gpu.id.clone());
            }
        }
        self.taken.insert(stage.name.clone(), taken);
        Some(ids)
    }

    pub(super) fn give_back(&mut self, stage: &StageSpec) {
        let wanted = &stage.policy.resources;
        self.cores_free = (self.cores_free + wanted.cores.min(self.cores)).min(self.cores);
        self.memory_free =
            (self.memory_free + wanted.memory_bytes.min(self.memory_bytes)).min(self.memory_bytes);
        for (index, amount) in self.taken.remove(&stage.name).unwrap_or_default() {
            if let Some((_, free)) = self.gpus().get_mut(index) {
                *free += amount;
            }
        }
    }
}

/// Whether a stage leaves its device to this machine.
pub(super) fn is_auto(stage: &StageSpec) -> bool {
    matches!(
        stage.policy.resources.device.as_deref(),
        None | Some("auto")
    )
}

fn is_cuda(stage: &StageSpec) -> bool {
    let device = stage.policy.resources.device.as_deref();
    device.is_some_and(|device| device.starts_with("cuda"))
}

/// The number of the GPU that a stage names, among those that are there.
fn named_gpu(stage: &StageSpec) -> Option<usize> {
    let device = stage.policy.resources.device.as_deref()?;
    device.strip_prefix("cuda:")?.parse().ok()
}

/// What a stage takes of each of its GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// All of it.
    Whole,
    /// So many bytes, as the pipeline says.
    Stated(u64),
    /// So many, as its kind reckons; all of a GPU that others use.
    Planned(u64),
}

impl Share {
    /// Bytes that it takes of a GPU with so much of it free, where that is enough.
    fn of(self, gpu: &Gpu, free: u64) -> Option<u64> {
        let wanted = match self {
            Self::Stated(bytes) => bytes,
            Self::Planned(bytes) if gpu.is_shareable => bytes,
            Self::Planned(bytes) if bytes > gpu.memory_bytes => return None,
            // What takes a whole GPU needs an untouched one.
            Self::Whole | Self::Planned(_) => gpu.memory_bytes,
        };
        (free >= wanted).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::stage;

    fn slots(memories: &[u64]) -> Slots {
        let gpu = |(i, memory): (usize, &u64)| {
            (
                Gpu {
                    id: i.to_string(),
                    memory_bytes: *memory,
                    is_shareable: true,
                },
                *memory,
            )
        };
        Slots {
            cores: 4,
            cores_free: 4,
            memory_bytes: 100,
            memory_free: 100,
            auto: None,
            planned: BTreeMap::new(),
            gpus: Some(memories.iter().enumerate().map(gpu).collect()),
            taken: BTreeMap::new(),
        }
    }

    #[test]
    fn two_small_stages_share_a_gpu_and_a_whole_one_waits() {
        let mut slots = slots(&[80, 80]);
        let (mut a, mut b, mut whole, mut pair) = (stage("a"), stage("b"), stage("w"), stage("p"));
        for small in [&mut a, &mut b] {
            (
                small.policy.resources.gpus,
                small.policy.resources.gpu_memory_bytes,
            ) = (1, 40);
        }
        whole.policy.resources.gpus = 1;
        pair.policy.resources.gpus = 2;
        assert_eq!(slots.take(&a), Some(vec!["0".into()]));
        assert_eq!(slots.take(&b), Some(vec!["0".into()]));
        assert!(!slots.fits(&pair));
        assert_eq!(slots.take(&whole), Some(vec!["1".into()]));
        slots.give_back(&a);
        assert!(!slots.fits(&pair));
        slots.give_back(&b);
        slots.give_back(&whole);
        assert!(slots.fits(&pair));
    }

    #[test]
    fn a_gpu_that_is_named_is_the_one_and_auto_is_one_of_them_where_it_is_a_gpu() {
        let mut slots = slots(&[80, 80]);
        let (mut second, mut auto, mut other) = (stage("second"), stage("auto"), stage("other"));
        second.policy.resources.device = Some("cuda:1".to_owned());
        (auto.kind, other.kind) = ("pretrain".to_owned(), "score".to_owned());
        // Before it is settled, and where it is no GPU, a stage takes none.
        assert_eq!((slots.take(&auto), slots.device(&auto)), (None, None));
        slots.give_back(&auto);
        assert!(slots.set_auto(BTreeSet::new()));
        assert_eq!((slots.take(&auto), slots.device(&auto)), (None, None));
        slots.give_back(&auto);
        assert!(slots.set_auto(BTreeSet::from(["pretrain".to_owned()])));
        assert_eq!(slots.take(&second), Some(vec!["1".into()]));
        assert_eq!(slots.device(&second).as_deref(), Some("cuda"));
        assert!(!slots.fits(&second) && slots.fits(&auto));
        assert_eq!(slots.take(&auto), Some(vec!["0".into()]));
        assert_eq!(slots.device(&auto).as_deref(), Some("cuda"));
        assert!(!slots.fits(&auto) && slots.fits(&other));
        assert_eq!((slots.take(&other), slots.device(&other)), (None, None));
        second.policy.resources.device = Some("cuda:2".to_owned());
        let problem = slots.can_ever_hold(&second).expect_err("there are two");
        assert_eq!(problem.code, "run::no_gpu");
        // Each process has one of its own.
        second.policy.resources.device = Some("cuda".to_owned());
        second.policy.resources.processes = 2;
        assert!(slots.can_ever_hold(&second).is_ok() && !slots.fits(&second));
        second.policy.resources.processes = 3;
        let problem = slots.can_ever_hold(&second).expect_err("there are two");
        assert!(problem.message.contains("asks for 3 GPU"));
        // A GPU that nobody lists cannot be shared.
        let mut none = super::tests::slots(&[]);
        assert!(!none.set_auto(BTreeSet::from(["pretrain".to_owned()])));
        assert_eq!((none.take(&auto), none.device(&auto)), (None, None));
    }

    #[test]
    fn trainings_that_say_nothing_share_a_gpu_by_what_they_plan_to_take() {
        let mut slots = slots(&[80]);
        let kind = "finetune".to_owned();
        assert!(slots.set_auto(BTreeSet::from([kind.clone()])));
        let seed = |name: &str| {
            let mut seed = stage(name);
            seed.kind.clone_from(&kind);
            seed
        };
        let (a, b, c, huge, unknown) = (
            seed("a"),
            seed("b"),
            seed("c"),
            seed("huge"),
            seed("unknown"),
        );
        for (stage, bytes) in [(&a, 30), (&b, 30), (&c, 30), (&huge, 81)] {
            assert!(slots.asks_for_plan(stage));
            slots.set_planned(stage, Some(bytes));
            assert!(!slots.asks_for_plan(stage));
        }
        slots.set_planned(&unknown, None);
        assert!(slots.fits(&huge) && slots.fits(&unknown));
        assert_eq!(slots.take(&a), Some(vec!["0".into()]));
        assert_eq!(slots.take(&b), Some(vec!["0".into()]));
        assert!(!slots.fits(&c) && !slots.fits(&huge) && !slots.fits(&unknown));
        slots.give_back(&a);
        assert!(slots.fits(&c));
        slots.give_back(&b);
        // One that plans more than there is has the whole GPU, and gives it back whole.
        assert_eq!(slots.take(&huge), Some(vec!["0".into()]));
        assert!(!slots.fits(&c));
        slots.give_back(&huge);
        assert!(slots.fits(&unknown));
        // One whose share was too small gets all of it, once.
        assert!(slots.takes_whole_next(&a) && !slots.takes_whole_next(&a));
        assert!(!slots.takes_whole_next(&unknown));
        assert_eq!(slots.take(&b), Some(vec!["0".into()]));
        assert!(!slots.fits(&a) && slots.fits(&c));
        slots.give_back(&b);
        // Nor does anyone share a GPU that others use.
        if let Some(gpus) = &mut slots.gpus {
            gpus[0].0.is_shareable = false;
        }
        assert_eq!(slots.take(&b), Some(vec!["0".into()]));
        assert!(!slots.fits(&c));
        slots.give_back(&b);
        // Who says how many has said how much: all of each.
        let mut said = seed("said");
        said.policy.resources.gpus = 1;
        assert!(!slots.asks_for_plan(&said) && !slots.asks_for_plan(&stage("other")));
        said.policy.resources.gpus = 0;
        said.policy.resources.processes = 2;
        assert!(!slots.asks_for_plan(&said));
    }

    /// A stated size is held to the letter, and a planned one goes where it fits before it takes a small GPU whole.
    #[test]
    fn gpus_may_be_unequal() {
        let mut slots = slots(&[24, 80]);
        let mut stated = stage("stated");
        let resources = &mut stated.policy.resources;
        (resources.gpus, resources.gpu_memory_bytes) = (1, 40);
        assert_eq!(slots.take(&stated), Some(vec!["1".into()]));
        let mut second = stated.clone();
        second.name = "second".to_owned();
        assert_eq!(slots.take(&second), Some(vec!["1".into()]));
        assert!(!slots.fits(&stated));
        slots.give_back(&stated);
        slots.give_back(&second);
        let kind = "finetune".to_owned();
        assert!(slots.set_auto(BTreeSet::from([kind.clone()])));
        let mut planned = stage("planned");
        planned.kind = kind;
        slots.set_planned(&planned, Some(40));
        assert_eq!(slots.take(&planned), Some(vec!["1".into()]));
    }

    #[test]
    fn cores_and_memory_bound_what_runs_and_too_much_is_said() {
        let mut slots = slots(&[]);
        let mut big = stage("big");
        (
            big.policy.resources.cores,
            big.policy.resources.memory_bytes,
        ) = (3, 60);
        assert!(slots.fits(&big));
        assert_eq!(slots.take(&big), None);
        assert!(!slots.fits(&big));
        slots.give_back(&big);
        assert!(slots.fits(&big));
        big.policy.resources.memory_bytes = 101;
        assert_eq!(
            slots.can_ever_hold(&big).expect_err("too much").code,
            "run::too_much_memory"
        );
        big.policy.resources.memory_bytes = 0;
        big.policy.resources.gpus = 1;
        assert_eq!(
            slots.can_ever_hold(&big).expect_err("none").code,
            "run::no_gpu"
        );
    }

    #[test]
    fn gpus_are_read_and_narrowed() {
        let listing = "0, GPU-aa, 81920, 512, [N/A]\n1, GPU-bb, 81920, 9000, Disabled\n2, GPU-cc, 81920, 0, Enabled\n3, GPU-dd, 81920\n";
        let shared: Vec<bool> = (parse_gpus(listing, None).iter())
            .map(|gpu| gpu.is_shareable)
            .collect();
        assert_eq!(shared, [true, false, false, false]);
        let listing = "0, GPU-aa, 81920\n1, GPU-bb, 81920\n";
        assert_eq!(parse_gpus(listing, None).len(), 2);
        assert_eq!(parse_gpus(listing, Some("1"))[0].id, "1");
        assert_eq!(parse_gpus(listing, Some("GPU-aa"))[0].id, "0");
        assert!(parse_gpus(listing, Some("")).is_empty());
    }
}
