//! Stretches of work that are recorded as graphs and replayed. Knows nothing of what the work is.
//!
//! A stretch is recorded anew each time, since addresses and counters change, and laid over an executable graph of the same
//! shape, which is cheaper than making one. Of the same shape are those with as many nodes and the same choices of products:
//! an update carries arguments and grids over, but not the sizes of clusters, which libraries launch some products with.

use std::mem::MaybeUninit;

use cudarc::driver::sys::{CUgraph, CUgraphExec, CUgraphExecUpdateResultInfo, CUstreamCaptureMode};

use super::device::Device;
use super::ffi::{Handle, SUCCESS};

/// Executable graphs that are kept.
const MOST: usize = 64;
/// Stretches carried out plainly before any is recorded: libraries load what they need when they first meet it.
const PLAIN: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    Outside,
    /// Carried out as it is asked for.
    Plain,
    Recorded,
}

#[derive(Debug)]
struct Executable {
    nodes: usize,
    products: u64,
    handle: Handle<CUgraphExec>,
    used: u64,
}

/// The graphs of a device.
#[derive(Debug)]
pub(super) struct Graphs {
    stretch: Stretch,
    plain: u32,
    is_used: bool,
    /// The choices of the products of this stretch, in order, as a number.
    products: u64,
    kept: Vec<Executable>,
    launches: u64,
    instantiated: u64,
}

impl Graphs {
    pub(super) fn new(is_used: bool) -> Self {
        Self {
            stretch: Stretch::Outside,
            plain: 0,
            is_used,
            products: 0,
            kept: Vec::new(),
            launches: 0,
            instantiated: 0,
        }
    }

    /// Whether work is being recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.stretch == Stretch::Recorded
    }

    /// A product was asked for, whose choice has this number.
    pub(super) fn met(&mut self, number: u64) {
        // FNV-1a by words.
        self.products = (self.products ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Graphs launched, and how many of them had to be made.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.launches, self.instantiated)
    }

    pub(super) fn begin(&mut self, device: &mut Device) {
        if self.stretch != Stretch::Outside || device.is_faulty() {
            return;
        }
        self.stretch = Stretch::Plain;
        self.products = 0xcbf2_9ce4_8422_2325;
        if !self.is_used {
            return;
        }
        if self.plain < PLAIN {
            self.plain += 1;
            return;
        }
        // Relaxed, because cuBLASLt may load a kernel on the way.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is alive and records nothing.
        let status = unsafe { (device.table.begin_capture)(device.stream.0, mode) };
        if device.is_done("cuStreamBeginCapture", status) {
            self.stretch = Stretch::Recorded;
        }
    }

    /// Launches what was recorded so far; what follows in the stretch is carried out plainly. True if there was a record.
    pub(super) fn settle(&mut self, device: &mut Device) -> bool {
        if self.stretch != Stretch::Recorded {
            return false;
        }
        if let Some(graph) = self.recorded(device) {
            if !device.is_faulty() {
                self.launch(device, graph);
            }
            // SAFETY: executables do not need the graph they were made from.
            unsafe { (device.table.destroy_graph)(graph) };
        }
        true
    }

    /// Forgets what was recorded so far.
    fn give_up(&mut self, device: &mut Device) {
        if self.stretch == Stretch::Recorded
            && let Some(graph) = self.recorded(device)
        {
            // SAFETY: nobody else has it.
            unsafe { (device.table.destroy_graph)(graph) };
        }
    }

    /// Ends the record.
    fn recorded(&mut self, device: &mut Device) -> Option<CUgraph> {
        self.stretch = Stretch::Plain;
        let mut graph: CUgraph = std::ptr::null_mut();
        // SAFETY: the stream records since `begin`.
        let status = unsafe { (device.table.end_capture)(device.stream.0, &raw mut graph) };
        (device.is_done("cuStreamEndCapture", status) && !graph.is_null()).then_some(graph)
    }

    pub(super) fn end(&mut self) {
        self.stretch = Stretch::Outside;
    }

    fn launch(&mut self, device: &mut Device, graph: CUgraph) {
        let mut nodes = 0;
        // SAFETY: without a place for nodes, their number is written.
        let status =
            unsafe { (device.table.graph_nodes)(graph, std::ptr::null_mut(), &raw mut nodes) };
        if !device.is_done("cuGraphGetNodes", status) || nodes == 0 {
            return;
        }
        let Some(executable) = self.executable(device, graph, nodes) else {
            return;
        };
        // SAFETY: both are alive.
        let status = unsafe { (device.table.launch_graph)(executable.0, device.stream.0) };
        device.is_done("cuGraphLaunch", status);
    }

    /// An executable of this graph: one of the same shape, else a new one.
    fn executable(
        &mut self,
        device: &mut Device,
        graph: CUgraph,
        nodes: usize,
    ) -> Option<Handle<CUgraphExec>> {
        self.launches += 1;
        let products = self.products;
        let same = |kept: &&mut Executable| (kept.nodes, kept.products) == (nodes, products);
        for kept in self.kept.iter_mut().filter(same) {
            // Never read: what is in it may be newer than the type of it.
            let mut why = MaybeUninit::<CUgraphExecUpdateResultInfo>::zeroed();
            // SAFETY: both are alive; launches of before are not touched by it.
            let status = unsafe { (device.table.update)(kept.handle.0, graph, why.as_mut_ptr()) };
            if status == SUCCESS {
                kept.used = self.launches;
                return Some(kept.handle);
            }
            // Whatever stands against it, a new one can be made.
        }
        let mut handle = Handle::NULL;
        // SAFETY: writes one handle.
        let status = unsafe { (device.table.instantiate)(&raw mut handle.0, graph, 0) };
        if !device.is_done("cuGraphInstantiate", status) {
            return None;
        }
        self.instantiated += 1;
        if self.kept.len() >= MOST {
            let oldest = (0..self.kept.len()).min_by_key(|i| self.kept[*i].used)?;
            let gone = self.kept.swap_remove(oldest);
            // SAFETY: nobody launches it again; one that runs is freed when it is done.
            unsafe { (device.table.destroy_executable)(gone.handle.0) };
        }
        self.kept.push(Executable {
            nodes,
            products,
            handle,
            used: self.launches,
        });
        Some(handle)
    }

    /// Gives everything back. A stretch that did not come to its end, since something failed in it, is not carried out:
    /// half a step is worth nothing, and may wait for processes that are gone.
    pub(super) fn release(&mut self, device: &mut Device) {
        self.give_up(device);
        for gone in self.kept.drain(..) {
            // SAFETY: nobody launches it again.
            unsafe { (device.table.destroy_executable)(gone.handle.0) };
        }
    }
}
