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
}

/// The GPUs of this machine, as the driver's own tool lists them; `CUDA_VISIBLE_DEVICES` narrows them.
#[must_use]
pub fn detect_gpus() -> Vec<Gpu> {
    let listed = std::process::Command::new("nvidia-smi")
        .args([
            "--query-gpu=index,uuid,memory.total",
            "--format=csv,noheader,nounits",
        ])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output();
    let text = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => return Vec::new(),
    };
    parse_gpus(&text, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
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
        if is_visible {
            gpus.push(Gpu {
                id: index.to_owned(),
                memory_bytes: mebibytes << 20,
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

    /// Bytes that a stage takes of each of its GPUs; 0 takes them whole.
    fn gpu_bytes(&self, stage: &StageSpec) -> u64 {
        let planned = self.planned.get(&stage.name).copied().flatten();
        match stage.policy.resources.gpu_memory_bytes {
            0 => planned.unwrap_or(0),
            bytes => bytes,
        }
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
        let (count, memory) = (self.gpu_count(stage), self.gpu_bytes(stage));
        let named = named_gpu(stage);
        count == 0
            || self
                .gpus()
                .iter()
                .enumerate()
                .filter(|(index, _)| named.is_none_or(|named| named == *index))
                .filter(|(_, (gpu, free))| has_room(gpu, *free, memory))
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
        let (count, memory) = (self.gpu_count(stage), self.gpu_bytes(stage));
        if count == 0 {
            return None;
        }
        let named = named_gpu(stage);
        let mut taken = Vec::new();
        let mut ids = Vec::new();
        for (index, (gpu, free)) in self.gpus().iter_mut().enumerate() {
            let is_meant = named.is_none_or(|named| named == index);
            if is_meant && taken.len() < count && has_room(gpu, *free, memory) {
                let amount = match takes_all(gpu, memory) {
                    true => gpu.memory_bytes,
                    false => memory,
                };
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

/// Whether a stage takes a whole GPU: it names no memory, or plans to take more than there is and may yet find a way.
fn takes_all(gpu: &Gpu, memory: u64) -> bool {
    memory == 0 || memory >= gpu.memory_bytes
}

/// What takes a whole GPU needs an untouched one.
fn has_room(gpu: &Gpu, free: u64, memory: u64) -> bool {
    match takes_all(gpu, memory) {
        true => free == gpu.memory_bytes,
        false => free >= memory,
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
        // Who says how many has said how much: all of each.
        let mut said = seed("said");
        said.policy.resources.gpus = 1;
        assert!(!slots.asks_for_plan(&said) && !slots.asks_for_plan(&stage("other")));
        said.policy.resources.gpus = 0;
        said.policy.resources.processes = 2;
        assert!(!slots.asks_for_plan(&said));
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
        let listing = "0, GPU-aa, 81920\n1, GPU-bb, 81920\n";
        assert_eq!(parse_gpus(listing, None).len(), 2);
        assert_eq!(parse_gpus(listing, Some("1"))[0].id, "1");
        assert_eq!(parse_gpus(listing, Some("GPU-aa"))[0].id, "0");
        assert!(parse_gpus(listing, Some("")).is_empty());
    }
}
