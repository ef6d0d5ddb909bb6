//! Page-locked memory through which copies go, so that they do not wait. Knows no kernels.
//!
//! What is written is put into a slab and copied from there when the device comes to it; a slab is used again after an event
//! that follows its last copy. Copies that are recorded into a graph happen when that is launched, so the slabs they read
//! wait for it.

use std::ffi::c_void;

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUresult};

use super::device::Device;
use super::ffi::{Handle, Status};

/// Bytes of a slab.
pub(super) const SLAB: usize = 8 << 20;
/// Slabs that there are before one is waited for.
const USUAL: usize = 4;
/// Where pieces of a slab begin.
const STEP: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody reads it.
    Free,
    /// Being filled.
    Open,
    /// Full; read by copies that were asked for before its event.
    Read,
    /// Full; read by copies of a graph that is not launched yet.
    Recorded,
}

#[derive(Debug)]
struct Slab {
    at: Handle<*mut c_void>,
    event: Handle<CUevent>,
    state: State,
}

/// The slabs.
#[derive(Debug, Default)]
pub(super) struct Staging {
    slabs: Vec<Slab>,
    /// The one being filled, and how far.
    open: Option<(usize, usize)>,
    /// In order of their events.
    read: std::collections::VecDeque<usize>,
}

impl Staging {
    /// Copies to the device through slabs; `recording` when a graph is being recorded.
    pub(super) fn write(
        &mut self,
        device: &mut Device,
        to: CUdeviceptr,
        bytes: &[u8],
        recording: bool,
    ) {
        let mut done = 0;
        while done < bytes.len() && !device.is_faulty() {
            let Some((slab, used)) = self.room(device, recording) else {
                return;
            };
            let len = (bytes.len() - done).min(SLAB - used);
            let from = self.slabs[slab].at.0.wrapping_byte_add(used);
            // SAFETY: the slab has so many bytes from there on that nobody reads, and the device's memory is the caller's.
            let status = unsafe {
                std::ptr::copy_nonoverlapping(bytes[done..].as_ptr(), from.cast(), len);
                let to = to + done as u64;
                (device.table.copy_to_device)(to, from, len, device.stream.0)
            };
            device.is_done("cuMemcpyHtoDAsync", status);
            self.open = Some((slab, (used + len).next_multiple_of(STEP)));
            done += len;
        }
    }

    /// A slab with room, and where that begins.
    fn room(&mut self, device: &mut Device, recording: bool) -> Option<(usize, usize)> {
        if let Some((slab, used)) = self.open {
            if used < SLAB {
                return self.open;
            }
            self.close(device, slab, recording);
        }
        let slab = self.free(device, recording)?;
        self.slabs[slab].state = State::Open;
        self.open = Some((slab, 0));
        self.open
    }

    fn close(&mut self, device: &mut Device, slab: usize, recording: bool) {
        self.open = None;
        if recording {
            self.slabs[slab].state = State::Recorded;
        } else {
            self.reads(device, slab);
        }
    }

    fn reads(&mut self, device: &mut Device, slab: usize) {
        device.record(self.slabs[slab].event);
        self.slabs[slab].state = State::Read;
        self.read.push_back(slab);
    }

    fn free(&mut self, device: &mut Device, recording: bool) -> Option<usize> {
        while let Some(&oldest) = self.read.front() {
            // SAFETY: the event is alive.
            let status = unsafe { (device.table.query_event)(self.slabs[oldest].event.0) };
            if status == CUresult::CUDA_ERROR_NOT_READY as Status {
                break;
            }
            if !device.is_done("cuEventQuery", status) {
                return None;
            }
            self.slabs[oldest].state = State::Free;
            self.read.pop_front();
        }
        let free = self.slabs.iter().position(|slab| slab.state == State::Free);
        if free.is_some() {
            return free;
        }
        // What is recorded into a graph is not read before it is launched, however long one waits.
        if self.slabs.len() >= USUAL
            && !recording
            && let Some(oldest) = self.read.pop_front()
        {
            // SAFETY: the event is alive.
            let status = unsafe { (device.table.wait_for_event)(self.slabs[oldest].event.0) };
            return device
                .is_done("cuEventSynchronize", status)
                .then_some(oldest);
        }
        let event = device.create_event()?;
        let at = allocate(device, SLAB)?;
        self.slabs.push(Slab {
            at,
            event,
            state: State::Free,
        });
        Some(self.slabs.len() - 1)
    }

    /// The graph that copies were recorded into is launched, or lost.
    pub(super) fn launched(&mut self, device: &mut Device) {
        for slab in 0..self.slabs.len() {
            if self.slabs[slab].state == State::Recorded {
                self.reads(device, slab);
            }
        }
    }

    /// Gives everything back, after all work is done.
    pub(super) fn release(&mut self, device: &mut Device) {
        for slab in self.slabs.drain(..) {
            // SAFETY: nobody reads them any more.
            unsafe {
                (device.table.free_host)(slab.at.0);
                (device.table.destroy_event)(slab.event.0);
            }
        }
        self.open = None;
        self.read.clear();
    }
}

/// Two slabs through which the device is read, one filled while the other is emptied.
#[derive(Debug, Default)]
pub(super) struct Reading {
    slabs: Option<[(Handle<*mut c_void>, Handle<CUevent>); 2]>,
}

impl Reading {
    /// Copies from the device, after all that was asked for. Zeros after a fault.
    pub(super) fn read(&mut self, device: &mut Device, from: CUdeviceptr, bytes: &mut [u8]) {
        if self.fill(device, from, bytes).is_none() || device.is_faulty() {
            bytes.fill(0);
        }
    }

    fn fill(&mut self, device: &mut Device, from: CUdeviceptr, bytes: &mut [u8]) -> Option<()> {
        if device.is_faulty() {
            return None;
        }
        if self.slabs.is_none() {
            let mut slab = || Some((allocate(device, SLAB)?, device.create_event()?));
            self.slabs = Some([slab()?, slab()?]);
        }
        let slabs = self.slabs?;
        let len = bytes.len();
        let pieces = len.div_ceil(SLAB);
        let size = |piece: usize| SLAB.min(len - piece * SLAB);
        let ask = |device: &mut Device, piece: usize| -> Option<()> {
            let (at, event) = slabs[piece % 2];
            let from = from + (piece * SLAB) as u64;
            // SAFETY: the slab has room, and what was in it is copied out already.
            let status =
                unsafe { (device.table.copy_to_host)(at.0, from, size(piece), device.stream.0) };
            device.is_done("cuMemcpyDtoHAsync", status).then_some(())?;
            device.record(event);
            Some(())
        };
        if pieces > 0 {
            ask(device, 0)?;
        }
        for piece in 0..pieces {
            if piece + 1 < pieces {
                ask(device, piece + 1)?;
            }
            let (at, event) = slabs[piece % 2];
            // SAFETY: the event is alive; after it the slab has the bytes, and nobody writes it until the next is asked for.
            unsafe {
                let status = (device.table.wait_for_event)(event.0);
                device.is_done("cuEventSynchronize", status).then_some(())?;
                let to = bytes[piece * SLAB..].as_mut_ptr();
                std::ptr::copy_nonoverlapping(at.0.cast(), to, size(piece));
            }
        }
        Some(())
    }

    /// Gives the slabs back.
    pub(super) fn release(&mut self, device: &mut Device) {
        for (at, event) in self.slabs.take().into_iter().flatten() {
            // SAFETY: nobody uses them any more.
            unsafe {
                (device.table.free_host)(at.0);
                (device.table.destroy_event)(event.0);
            }
        }
    }
}

fn allocate(device: &mut Device, bytes: usize) -> Option<Handle<*mut c_void>> {
    let mut at = Handle::NULL;
    // SAFETY: writes one address.
    let status = unsafe { (device.table.allocate_host)(&raw mut at.0, bytes, 0) };
    device.is_done("cuMemHostAlloc", status).then_some(at)
}
