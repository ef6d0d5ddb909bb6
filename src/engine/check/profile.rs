//! Where a step's time goes, kernel by kernel: a device that marks the moments around each piece of work, and what each
//! kernel has to move and to compute, by formula. Knows no clock but the device's.
//!
//! Formulas count what cannot be avoided: each operand read once and each result written once, and the operations of
//! products and of attention. A kernel that reads twice shows as one that is slow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::speed::{Peak, Task, batches, fitting, peak, pretraining};
use super::steps::examples;
use crate::backend::Precision;
use crate::collective::Collective;
use crate::cost;
use crate::cuda::Cuda;
use crate::cuda::driver::{
    DeviceFacts, Driver, Element, Grid, Kernel, Moments, Pointer, Product, Source,
};
use crate::error::{DeviceError, TrainError};
use crate::pretrain::{Pretrainer, Pretraining};

/// What was asked for under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// Seconds on the device.
    pub seconds: f64,
    /// Bytes, where the work itself says.
    pub bytes: f64,
    /// Operations, where the work itself says.
    pub flop: f64,
}

/// What a device did, by name.
#[derive(Debug, Default)]
pub struct Spending {
    by_name: BTreeMap<String, Spent>,
    /// Seconds between pieces of work, in which the device waited.
    waited: f64,
}

/// A device that notes how long everything takes. Steps must not be recorded as graphs on it.
#[derive(Debug)]
pub struct Timed<D> {
    inner: D,
    /// What was asked for since the last look, and what it has to move and to compute.
    asked: Vec<(String, f64, f64)>,
    spending: Arc<Mutex<Spending>>,
}

impl<D: Moments> Timed<D> {
    /// Notes into `spending` whenever work is waited for.
    pub fn new(inner: D, spending: Arc<Mutex<Spending>>) -> Self {
        Self {
            inner,
            asked: Vec::new(),
            spending,
        }
    }

    fn note(&mut self, name: String, [bytes, flop]: [f64; 2], work: impl FnOnce(&mut D)) {
        self.inner.mark();
        work(&mut self.inner);
        self.inner.mark();
        self.asked.push((name, bytes, flop));
    }

    fn look(&mut self) -> Result<(), DeviceError> {
        let asked = std::mem::take(&mut self.asked);
        let intervals = self.inner.intervals()?;
        let mut spending = self.spending.lock().unwrap_or_else(PoisonError::into_inner);
        // Work and waiting in turn.
        for (i, seconds) in intervals.into_iter().enumerate() {
            match asked.get(i / 2) {
                Some((name, bytes, flop)) if i % 2 == 0 => {
                    let spent = spending.by_name.entry(name.clone()).or_default();
                    spent.count += 1;
                    spent.seconds += seconds;
                    spent.bytes += bytes;
                    spent.flop += flop;
                }
                _ => spending.waited += seconds,
            }
        }
        Ok(())
    }
}

/// The name of kernels that differ in the width they are made for.
fn family(name: &str) -> &str {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem.strip_suffix('_') {
        Some(stem) if stem.len() < name.len() - 1 => stem,
        _ => name,
    }
}

/// Bytes and operations of a product: both factors once, the result once, or twice where it is added to.
fn of_product(product: &Product) -> [f64; 2] {
    let [m, n, k] = [product.rows, product.columns, product.inner].map(|n| n as f64);
    let factors = (m * k + k * n) * product.a.element.size() as f64;
    let times = if product.adds { 2.0 } else { 1.0 };
    let result = times * m * n * product.c.element.size() as f64;
    [factors + result, 2.0 * m * n * k]
}

impl<D: Moments> Driver for Timed<D> {
    fn facts(&self) -> &DeviceFacts {
        self.inner.facts()
    }

    fn free_bytes(&self) -> Result<u64, DeviceError> {
        self.inner.free_bytes()
    }

    fn allocate(&mut self, bytes: usize) -> Result<Pointer, DeviceError> {
        self.inner.allocate(bytes)
    }

    fn release(&mut self, at: Pointer) {
        self.inner.release(at);
    }

    fn write(&mut self, to: Pointer, bytes: &[u8]) {
        let moved = bytes.len() as f64;
        self.note("copies to the device".to_owned(), [moved, 0.0], |inner| {
            inner.write(to, bytes);
        });
    }

    fn read(&mut self, from: Pointer, bytes: &mut [u8]) {
        self.inner.read(from, bytes);
    }

    fn zero(&mut self, at: Pointer, bytes: usize) {
        self.note("zeros".to_owned(), [bytes as f64, 0.0], |inner| {
            inner.zero(at, bytes);
        });
    }

    fn copy(&mut self, to: Pointer, from: Pointer, bytes: usize) {
        let moved = 2.0 * bytes as f64;
        self.note("copies inside".to_owned(), [moved, 0.0], |inner| {
            inner.copy(to, from, bytes);
        });
    }

    fn prepare(
        &mut self,
        sources: &[&'static Source],
        element: Element,
    ) -> Result<(), DeviceError> {
        self.inner.prepare(sources, element)
    }

    unsafe fn launch(
        &mut self,
        kernel: &'static Kernel,
        element: Element,
        grid: Grid,
        arguments: &[u8],
    ) {
        self.note(family(kernel.name).to_owned(), [0.0, 0.0], |inner| {
            // SAFETY: the caller's promise.
            unsafe { inner.launch(kernel, element, grid, arguments) };
        });
    }

    unsafe fn product(&mut self, product: &Product) {
        let turned = |is_turned: bool| if is_turned { "t" } else { "" };
        let name = format!(
            "product {}x{}x{} a{} b{}{}",
            product.rows,
            product.columns,
            product.inner,
            turned(product.a.transposed),
            turned(product.b.transposed),
            if product.adds { " +=" } else { "" },
        );
        self.note(name, of_product(product), |inner| {
            // SAFETY: the caller's promise.
            unsafe { inner.product(product) };
        });
    }

    fn sum_over(
        &mut self,
        group: &mut dyn Collective,
        at: Pointer,
        len: usize,
    ) -> Result<bool, DeviceError> {
        self.inner.sum_over(group, at, len)
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        self.look()
    }
}

/// A network of a step.
#[derive(Clone, Copy, Debug)]
struct Network {
    layers: f64,
    hidden: f64,
    wide: f64,
}

/// A step of pre-training in numbers, as formulas take it.
#[derive(Clone, Debug)]
pub struct Step {
    networks: [Network; 2],
    embedding: f64,
    vocabulary: f64,
    parameters: f64,
    tokens: f64,
    /// Sum of the squares of the lengths.
    squares: f64,
    slots: f64,
    /// Bytes of an activation.
    size: f64,
}

impl Step {
    /// Of a batch.
    #[must_use]
    pub fn new(settings: &Pretraining, lengths: &[usize], element: Element) -> Self {
        let network = |config: &crate::config::ElectraConfig| Network {
            layers: config.num_hidden_layers as f64,
            hidden: config.hidden_size as f64,
            wide: config.intermediate_size as f64,
        };
        let (large, small) = (&settings.discriminator, &settings.generator);
        let masking = &settings.masking;
        let slots = |n: &usize| ((*n as f64 * 0.15).round() as usize).clamp(1, masking.most);
        Self {
            networks: [network(large), network(small)],
            embedding: large.embedding_size as f64,
            vocabulary: large.vocab_size as f64,
            parameters: cost::pretraining_parameters(large, small) as f64,
            tokens: lengths.iter().sum::<usize>() as f64,
            squares: lengths.iter().map(|n| (n * n) as f64).sum(),
            slots: lengths.iter().map(slots).sum::<usize>() as f64,
            size: element.size() as f64,
        }
    }

    /// Bytes and operations of all launches of a kernel in a step; nothing where it is too small to count.
    #[must_use]
    pub fn cost_of(&self, kernel: &str) -> Option<[f64; 2]> {
        let (t, e) = (self.tokens, self.size);
        // Rows of the encoders' layers, so many columns wide, `times` read or written.
        let layers = |columns: &dyn Fn(Network) -> f64| {
            let of = |network: &Network| network.layers * columns(*network);
            t * self.networks.iter().map(of).sum::<f64>()
        };
        let attention = |times: f64| {
            let of = |network: &Network| network.layers * network.hidden;
            times * self.squares * self.networks.iter().map(of).sum::<f64>()
        };
        let table = self.slots * self.vocabulary;
        let embedded = t * self.embedding;
        Some(match kernel {
            // Read h and x, write z and y; twice a layer.
            "layernorm_forward" => [8.0 * e * layers(&|n| n.hidden), 0.0],
            // Read d and z, write dz and dh; and once for each network's embeddings.
            "layernorm_backward" => [8.0 * e * layers(&|n| n.hidden) + 6.0 * e * embedded, 0.0],
            "linear_gelu" => [2.0 * e * layers(&|n| n.wide), 0.0],
            // Read u and d, write d and, again, g.
            "linear_gelu_backward" => [4.0 * e * layers(&|n| n.wide), 0.0],
            // Gradients of every dense layer's output: 3h, h, f, h.
            "linear_columns" => [e * layers(&|n| 5.0 * n.hidden + n.wide), 0.0],
            // Read qkv, write the context; QK' and PV.
            "attention_forward" => [4.0 * e * layers(&|n| n.hidden), attention(4.0)],
            // Read qkv, context and its gradient, write a third; QK', dPV', dS K.
            "attention_d_queries" => [6.0 * e * layers(&|n| n.hidden), attention(6.0)],
            // Read qkv and the gradient, write two thirds; QK', dPV', dV, dK.
            "attention_d_keys" => [6.0 * e * layers(&|n| n.hidden), attention(8.0)],
            // Read values, gradients, both moments; write all but gradients, and the copy for products.
            "adamw_update" => [
                (28.0 + if e < 4.0 { e } else { 0.0 }) * self.parameters,
                0.0,
            ],
            "adamw_squares" => [4.0 * self.parameters, 0.0],
            // Read logits, write their gradient.
            "mlm_slots" => [(4.0 + e) * table, 0.0],
            "mlm_columns" => [e * table, 0.0],
            // Two passes over three tables in f32 that are mostly in cache: what is written, and the rows of words.
            "embedding" => [2.0 * embedded * (4.0 + 2.0 * e), 0.0],
            _ => return None,
        })
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The kernel, or the product by rows, columns and what is summed over.
    pub name: String,
    /// Launches in a step.
    pub count: f64,
    /// Seconds in a step.
    pub seconds: f64,
    /// Share of the time in which the device worked.
    pub share: f64,
    /// Bytes that it has to move, by formula.
    pub bytes: Option<f64>,
    /// Operations that it has to do, by formula.
    pub flop: Option<f64>,
    /// Bytes a second.
    pub bytes_per_second: Option<f64>,
    /// Operations a second.
    pub flop_per_second: Option<f64>,
    /// Share of the best that the device could do by its data sheet: bound by memory or by products, whichever is slower.
    pub of_roofline: Option<f64>,
}

/// Where the time of a step goes.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Of what.
    pub task: Task,
    /// Most tokens of a micro-batch.
    pub micro_tokens: usize,
    /// Steps that were taken.
    pub steps: usize,
    /// Seconds of a step in which the device worked.
    pub worked: f64,
    /// Seconds of a step in which it waited, which marking makes longer.
    pub waited: f64,
    /// The longest first.
    pub lines: Vec<Line>,
}

/// Lines of what was spent in `steps` steps.
#[must_use]
pub fn lines(spending: &Spending, steps: usize, step: &Step, peak: Option<Peak>) -> Vec<Line> {
    let per_step = 1.0 / steps.max(1) as f64;
    let all: f64 = spending.by_name.values().map(|spent| spent.seconds).sum();
    let mut lines: Vec<Line> = (spending.by_name.iter())
        .map(|(name, spent)| {
            let said = (spent.bytes > 0.0).then_some([spent.bytes, spent.flop]);
            let said = said.map(|both| both.map(|value| value * per_step));
            let [bytes, flop] = match said.or_else(|| step.cost_of(name)) {
                None => [None, None],
                Some(both) => both.map(|value| (value > 0.0).then_some(value)),
            };
            let seconds = spent.seconds * per_step;
            let rate = |value: Option<f64>| value.map(|value| value / seconds);
            let best = peak.map(|peak| {
                let moved = bytes.unwrap_or(0.0) / peak.bytes;
                moved.max(flop.unwrap_or(0.0) / peak.flop)
            });
            Line {
                name: name.clone(),
                count: spent.count as f64 * per_step,
                seconds,
                share: spent.seconds / all,
                bytes,
                flop,
                bytes_per_second: rate(bytes),
                flop_per_second: rate(flop),
                of_roofline: best.filter(|best| *best > 0.0).map(|best| best / seconds),
            }
        })
        .collect();
    lines.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    lines
}

/// Takes some steps of pre-training, every piece of work marked.
///
/// # Errors
/// Faults of the device, and losses that are not finite.
pub fn profile<D: Moments>(
    task: &Task,
    steps: usize,
    open: impl FnOnce() -> Result<D, DeviceError>,
) -> Result<Table, TrainError> {
    let spending = Arc::new(Mutex::new(Spending::default()));
    let driver = Timed::new(open()?, Arc::clone(&spending));
    let device = Cuda::new(driver, Precision::Bf16)?;
    let free = device.driver().free_bytes()?;
    let peak = peak(&device.driver().facts().name);
    let micro_tokens = fitting(task, free);
    let settings = pretraining(task);
    let mut trainer = Pretrainer::new(device, settings.clone(), task.longest, micro_tokens)?;
    let batch = batches(task).swap_remove(0);
    let zeros = vec![0; task.longest];
    let examples = examples(&batch, &zeros);
    // Kernels are loaded and products chosen.
    trainer.train(&examples)?;
    *spending.lock().unwrap_or_else(PoisonError::into_inner) = Spending::default();
    for _ in 0..steps {
        trainer.train(&examples)?;
    }
    let lengths: Vec<usize> = batch.iter().map(Vec::len).collect();
    let step = Step::new(&settings, &lengths, Element::Bf16);
    let spending = spending.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = lines(&spending, steps, &step, peak);
    Ok(Table {
        task: task.clone(),
        micro_tokens,
        steps,
        worked: lines.iter().map(|line| line.seconds).sum(),
        waited: spending.waited / steps.max(1) as f64,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::speed::tasks;

    #[test]
    fn kernels_for_several_widths_are_one() {
        assert_eq!(family("layernorm_forward_3"), "layernorm_forward");
        assert_eq!(family("attention_d_keys_64"), "attention_d_keys");
        assert_eq!(family("adamw_update"), "adamw_update");
        assert_eq!(family("embedding_1"), "embedding");
    }

    #[test]
    fn lines_say_what_was_reached_and_of_what() {
        let task = &tasks()[0];
        let step = Step::new(&pretraining(task), &[512; 256], Element::Bf16);
        let spent = |count, seconds, bytes, flop| Spent {
            count,
            seconds,
            bytes,
            flop,
        };
        let mut spending = Spending::default();
        for (name, value) in [
            ("product 8x8x8 a b", spent(4, 2.0, 8e9, 4e12)),
            ("adamw_update", spent(2, 6.0, 0.0, 0.0)),
            ("rows_order", spent(2, 0.0, 0.0, 0.0)),
        ] {
            spending.by_name.insert(name.to_owned(), value);
        }
        let peak = Peak {
            flop: 4e12,
            bytes: 1e12,
        };
        let lines = lines(&spending, 2, &step, Some(peak));
        let update = &lines[0];
        assert_eq!(
            (update.count, update.seconds, update.share),
            (1.0, 3.0, 0.75)
        );
        // 30 bytes for each of the parameters of spec C.4.
        assert_eq!(update.bytes, Some(30.0 * 119_823_219.0));
        assert_eq!(update.flop_per_second, None);
        let product = &lines[1];
        assert_eq!(product.flop_per_second, Some(2e12));
        assert_eq!(product.of_roofline, Some(0.5));
        assert_eq!((lines[2].bytes, lines[2].of_roofline), (None, None));
    }

    #[test]
    fn attention_costs_what_the_specification_says() {
        let task = &tasks()[0];
        let step = Step::new(&pretraining(task), &[512; 256], Element::Bf16);
        let [_, flop] = step.cost_of("attention_forward").expect("known");
        // 4 n h a layer and token, of 12 layers 768 and 256 wide.
        assert_eq!(flop, 4.0 * 512.0 * 12.0 * (768.0 + 256.0) * 512.0 * 256.0);
    }
}
