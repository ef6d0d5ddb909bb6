//! Sums over the GPUs of a group of processes by NCCL. Knows no ops and not who started the processes.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;

use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use super::device::Device;
use super::ffi::{CollectiveTable, Handle, SUCCESS, Status};
use super::libraries::Library;
use super::{first, unusable};
use crate::collective::Collective;
use crate::cuda::driver::Pointer;
use crate::error::DeviceError;

/// The library, with this process as one of a group.
#[derive(Debug)]
pub(super) struct Collectives {
    table: CollectiveTable,
    group: Handle<ncclComm_t>,
}

/// As NCCL numbers what it says.
fn words(status: Status) -> &'static str {
    match status {
        1 => "a call of CUDA failed in it",
        2 => "a call of the system failed in it",
        3 => "it failed inside",
        4 => "it takes an argument to be wrong",
        5 => "it is used wrongly, such as by two processes on one GPU",
        6 => "another process failed",
        _ => "it failed",
    }
}

fn result(device: &Device, call: &str, status: Status) -> Result<(), DeviceError> {
    match status {
        SUCCESS => Ok(()),
        status => {
            let words = words(status);
            let reason =
                format!("{call}: NCCL says {status}: {words}; `NCCL_DEBUG=WARN` has it say more");
            Err(device.failed(reason))
        }
    }
}

impl Collectives {
    /// Joins the group on the device that is entered; nothing where the first process has no library. All processes of
    /// the group do this together.
    ///
    /// # Errors
    /// When the library cannot be used, or another process is gone.
    pub(super) fn join(
        files: &[PathBuf],
        device: &mut Device,
        group: &mut dyn Collective,
    ) -> Result<Option<Self>, DeviceError> {
        let open = || {
            first(Library::Collectives, files, |path| {
                CollectiveTable::open(path).map_err(|reason| unusable(path, reason))
            })
        };
        // Whether the first has a library, then its word for the group: small numbers are exact in f32.
        let mut told = [0.0_f32; 129];
        let mut own = None;
        if group.rank() == 0 && !files.is_empty() {
            let table = open()?;
            let mut id = ncclUniqueId { internal: [0; 128] };
            // SAFETY: writes the word.
            let status = unsafe { (table.make_id)(&raw mut id) };
            result(device, "ncclGetUniqueId", status)?;
            told[0] = 1.0;
            for (number, byte) in told[1..].iter_mut().zip(id.internal) {
                *number = f32::from(byte.cast_unsigned());
            }
            own = Some(table);
        }
        group.sum(&mut told)?;
        if told[0] == 0.0 {
            return Ok(None);
        }
        let table = match own {
            Some(table) => table,
            None => open()?,
        };
        let mut id = ncclUniqueId { internal: [0; 128] };
        for (byte, number) in id.internal.iter_mut().zip(&told[1..]) {
            *byte = (*number as u8).cast_signed();
        }
        let number = |n: usize| c_int::try_from(n).expect("few processes");
        let (size, rank) = (number(group.size()), number(group.rank()));
        let mut joined = Handle::NULL;
        // SAFETY: writes one handle, for the device whose context is current.
        let status = unsafe { (table.join)(&raw mut joined.0, size, id, rank) };
        result(device, "ncclCommInitRank", status)?;
        Ok(Some(Self {
            table,
            group: joined,
        }))
    }

    /// Numbers become their sums over the group, in the order of the device's work.
    ///
    /// # Safety
    /// `len` numbers are at `at` in memory of the device that was joined with, which is entered.
    pub(super) unsafe fn sum(
        &self,
        device: &mut Device,
        at: Pointer,
        len: usize,
    ) -> Result<(), DeviceError> {
        if len == 0 || device.is_faulty() {
            return Ok(());
        }
        // SAFETY: the caller's promise; numbers may be summed in place.
        let status = unsafe {
            let (kind, how) = (ncclDataType_t::ncclFloat32, ncclRedOp_t::ncclSum);
            let (from, to) = (at.0 as *const c_void, at.0 as *mut c_void);
            let stream = device.stream.0.cast();
            (self.table.sum)(from, to, len, kind, how, self.group.0, stream)
        };
        result(device, "ncclAllReduce", status)
    }

    /// Leaves the group without a word to the others, who may be gone; what is under way is given up.
    pub(super) fn release(&mut self) {
        // SAFETY: joined, and not used any more.
        unsafe { (self.table.leave)(self.group.0) };
    }
}
