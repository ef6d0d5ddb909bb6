//! One device of the machine: its context, its one stream, and calls of the driver on them. Knows no kernels.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUevent, CUevent_flags, CUresult, CUstream,
    CUstream_flags,
};

use super::ffi::{DriverTable, Handle, SUCCESS, Status};
use crate::cuda::driver::DeviceFacts;
use crate::error::DeviceError;

const NO_GPU: &str = "NVIDIA's driver sees no GPU";

/// The driver, ready to be asked for devices.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) table: Arc<DriverTable>,
    /// The version of CUDA that the driver knows.
    pub(super) version: (u32, u32),
}

impl Machine {
    /// Wakes the driver.
    pub(super) fn new(table: DriverTable) -> Result<Self, DeviceError> {
        // SAFETY: the first call of a driver.
        let status = unsafe { (table.init)(0) };
        if status == CUresult::CUDA_ERROR_NO_DEVICE as Status {
            return Err(no_such(0, 0));
        }
        judge(&table, "cuInit", status)?;
        let mut version: c_int = 0;
        // SAFETY: writes one number.
        let status = unsafe { (table.version)(&raw mut version) };
        judge(&table, "cuDriverGetVersion", status)?;
        let version = u32::try_from(version).unwrap_or(0);
        Ok(Self {
            table: Arc::new(table),
            version: (version / 1000, version % 1000 / 10),
        })
    }

    /// How many devices there are.
    pub(super) fn count(&self) -> Result<u32, DeviceError> {
        let mut count: c_int = 0;
        // SAFETY: writes one number.
        let status = unsafe { (self.table.device_count)(&raw mut count) };
        judge(&self.table, "cuDeviceGetCount", status)?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    fn device(&self, index: u32) -> Result<CUdevice, DeviceError> {
        let mut device: CUdevice = 0;
        let ordinal = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: writes one number.
        let status = unsafe { (self.table.device)(&raw mut device, ordinal) };
        judge(&self.table, "cuDeviceGet", status)?;
        Ok(device)
    }

    /// What a device is.
    pub(super) fn facts(&self, index: u32) -> Result<DeviceFacts, DeviceError> {
        let device = self.device(index)?;
        let mut name: [c_char; 256] = [0; 256];
        let mut memory = 0;
        // SAFETY: the driver writes at most as many bytes as there is room for, and one number.
        unsafe {
            let status = (self.table.device_name)(name.as_mut_ptr(), 256, device);
            judge(&self.table, "cuDeviceGetName", status)?;
            let status = (self.table.device_memory)(&raw mut memory, device);
            judge(&self.table, "cuDeviceTotalMem", status)?;
        }
        name[255] = 0;
        // SAFETY: the last byte is zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        let attribute = |which: CUdevice_attribute| -> Result<u32, DeviceError> {
            let mut value: c_int = 0;
            // SAFETY: writes one number.
            let status = unsafe { (self.table.device_attribute)(&raw mut value, which, device) };
            judge(&self.table, "cuDeviceGetAttribute", status)?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        use CUdevice_attribute as Attribute;
        Ok(DeviceFacts {
            name: name.to_string_lossy().into_owned(),
            capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            memory: memory as u64,
            shared_per_block: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
        })
    }
}

/// A device beyond those there are.
pub(super) fn no_such(index: u32, count: u32) -> DeviceError {
    let reason = match count {
        0 => NO_GPU.to_owned(),
        1 => format!("there is no GPU {index}: the only one is 0"),
        _ => format!("there is no GPU {index}: they are 0 to {}", count - 1),
    };
    DeviceError::NoDevice { reason }
}

fn judge(table: &DriverTable, call: &str, status: Status) -> Result<(), DeviceError> {
    table
        .judge(call, status)
        .map_err(|reason| DeviceError::Failed {
            device: "the GPU".to_owned(),
            reason,
        })
}

/// A device that is in use: its primary context, one stream of work, and the first fault of it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) table: Arc<DriverTable>,
    pub(super) facts: DeviceFacts,
    pub(super) stream: Handle<CUstream>,
    number: CUdevice,
    context: Handle<CUcontext>,
    /// Each use of a device has its own, since contexts of before may have had the same handle.
    turn: u64,
    fault: Option<String>,
}

static TURNS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The device that this thread's calls go to, by its number in this process; 0 is none. Nobody else sets contexts here.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

impl Device {
    pub(super) fn open(machine: &Machine, index: u32) -> Result<Self, DeviceError> {
        let count = machine.count()?;
        if index >= count {
            return Err(no_such(index, count));
        }
        let number = machine.device(index)?;
        let mut device = Self {
            table: Arc::clone(&machine.table),
            facts: machine.facts(index)?,
            stream: Handle::NULL,
            number,
            context: Handle::NULL,
            turn: TURNS.fetch_add(1, Ordering::Relaxed),
            fault: None,
        };
        let mut context = Handle::NULL;
        // SAFETY: writes one handle; given back when the device is dropped.
        let status = unsafe { (device.table.retain_context)(&raw mut context.0, number) };
        device.result("cuDevicePrimaryCtxRetain", status)?;
        device.context = context;
        device.enter();
        let mut stream = Handle::NULL;
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes one handle, destroyed with the device.
        let status = unsafe { (device.table.create_stream)(&raw mut stream.0, flags) };
        device.result("cuStreamCreate", status)?;
        device.stream = stream;
        device.whole()?;
        Ok(device)
    }

    /// Makes this thread's calls go to this device.
    pub(super) fn enter(&mut self) {
        if CURRENT.get() == self.turn {
            return;
        }
        // SAFETY: the context is alive as long as the device.
        let status = unsafe { (self.table.set_context)(self.context.0) };
        if self.is_done("cuCtxSetCurrent", status) {
            CURRENT.set(self.turn);
        }
    }

    /// The same where a fault is told by the call that follows.
    pub(super) fn enter_quietly(&self) {
        // SAFETY: the context is alive as long as the device.
        if unsafe { (self.table.set_context)(self.context.0) } == SUCCESS {
            CURRENT.set(self.turn);
        }
    }

    /// Whether a call succeeded; its fault is kept if it is the first.
    pub(super) fn is_done(&mut self, call: &str, status: Status) -> bool {
        match self.table.judge(call, status) {
            Ok(()) => true,
            Err(reason) => {
                self.fail(reason);
                false
            }
        }
    }

    /// A call whose fault is told at once.
    pub(super) fn result(&self, call: &str, status: Status) -> Result<(), DeviceError> {
        let judged = self.table.judge(call, status);
        judged.map_err(|reason| self.failed(reason))
    }

    pub(super) fn failed(&self, reason: String) -> DeviceError {
        DeviceError::Failed {
            device: self.facts.name.clone(),
            reason,
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.fault.get_or_insert(reason);
    }

    /// Whether something failed: then nothing more is asked for.
    pub(super) fn is_faulty(&self) -> bool {
        self.fault.is_some()
    }

    /// Forgets the first fault.
    ///
    /// # Errors
    /// That fault.
    pub(super) fn whole(&mut self) -> Result<(), DeviceError> {
        match self.fault.take() {
            None => Ok(()),
            Some(reason) => Err(self.failed(reason)),
        }
    }

    /// Waits for the stream.
    pub(super) fn wait(&mut self) {
        // SAFETY: the stream is alive.
        let status = unsafe { (self.table.wait_for_stream)(self.stream.0) };
        self.is_done("cuStreamSynchronize", status);
    }

    pub(super) fn create_event(&mut self) -> Option<Handle<CUevent>> {
        self.event(CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// One that says when it happened.
    pub(super) fn create_timed_event(&mut self) -> Option<Handle<CUevent>> {
        self.event(CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn event(&mut self, flags: CUevent_flags) -> Option<Handle<CUevent>> {
        let mut event = Handle::NULL;
        // SAFETY: writes one handle.
        let status = unsafe { (self.table.create_event)(&raw mut event.0, flags as u32) };
        self.is_done("cuEventCreate", status).then_some(event)
    }

    /// Seconds between two timed events that have happened.
    pub(super) fn between(
        &self,
        first: Handle<CUevent>,
        second: Handle<CUevent>,
    ) -> Result<f64, DeviceError> {
        let Some(between) = self.table.between_events else {
            return Err(self.failed("the driver has no `cuEventElapsedTime`".to_owned()));
        };
        let mut milliseconds: f32 = 0.0;
        // SAFETY: writes one number; both events are alive.
        let status = unsafe { between(&raw mut milliseconds, first.0, second.0) };
        self.result("cuEventElapsedTime", status)?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    /// Has an event happen after what was asked for so far.
    pub(super) fn record(&mut self, event: Handle<CUevent>) {
        // SAFETY: both are alive.
        let status = unsafe { (self.table.record_event)(event.0, self.stream.0) };
        self.is_done("cuEventRecord", status);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.context.is_null() {
            return;
        }
        self.enter();
        // SAFETY: all work is done before the stream goes, and nobody else has the handles.
        unsafe {
            if !self.stream.is_null() {
                (self.table.wait_for_stream)(self.stream.0);
                (self.table.destroy_stream)(self.stream.0);
            }
            (self.table.set_context)(std::ptr::null_mut());
            (self.table.release_context)(self.number);
        }
        CURRENT.set(0);
    }
}
