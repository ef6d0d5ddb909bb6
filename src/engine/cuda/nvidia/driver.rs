//! A GPU of NVIDIA's as a [`Driver`]: memory, kernels, products, recorded stretches. Knows no ops.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_void};
use std::path::PathBuf;

use cudarc::driver::sys::{
    CUdeviceptr, CUevent, CUfunction, CUfunction_attribute, CUmodule, CUresult,
};

use super::collectives::Collectives;
use super::compile::{Compiler, Target};
use super::cubins::Cubins;
use super::device::Device;
use super::ffi::{Handle, SUCCESS, Status};
use super::graphs::Graphs;
use super::libraries::Library;
use super::products::{Products, WORKSPACE};
use super::staging::{Reading, Staging};
use super::{Options, first, open};
use crate::collective::Collective;
use crate::cuda::PRELUDE;
use crate::cuda::driver::{
    DeviceFacts, Driver, Element, Grid, Kernel, Moments, Pointer, Product, Source,
};
use crate::error::DeviceError;

/// A GPU that is in use.
#[derive(Debug)]
pub struct Nvidia {
    device: Device,
    compiler: Compiler,
    target: Target,
    cubins: Cubins,
    modules: BTreeMap<(&'static str, Element), Handle<CUmodule>>,
    /// By the address of the kernel's description, of which there is one each.
    functions: BTreeMap<(usize, Element), Function>,
    products: Option<Products>,
    /// Files of the library for sums over GPUs.
    collective_files: Vec<PathBuf>,
    collectives: Option<Collectives>,
    staging: Staging,
    reading: Reading,
    graphs: Graphs,
    marks: Marks,
    allocated: BTreeSet<CUdeviceptr>,
}

/// Events that say when they happened: those that were marked, in order, and those that may be marked again.
#[derive(Debug, Default)]
struct Marks {
    made: Vec<Handle<CUevent>>,
    spare: Vec<Handle<CUevent>>,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    handle: Handle<CUfunction>,
    /// Bytes of its arguments, where the driver says so.
    arguments: Option<usize>,
    /// Shared memory it may ask for at a launch.
    shared: u32,
}

/// What a device did, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Files of kernels compiled, not found in the cache.
    pub compiled: u32,
    /// Shapes of products.
    pub shapes: usize,
    /// Graphs launched.
    pub launches: u64,
    /// Graphs that had to be made.
    pub instantiated: u64,
}

impl Nvidia {
    /// Takes a device, by its index among those that `CUDA_VISIBLE_DEVICES` leaves.
    ///
    /// # Errors
    /// What is missing: a library, a driver that is new enough, the device, memory.
    pub fn open(index: u32, options: &Options) -> Result<Self, DeviceError> {
        let (device, found) = open(options, index)?;
        let mut made = Self {
            device,
            compiler: found.compiler,
            target: found.target,
            cubins: Cubins::new(options.cubins.clone()),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            products: None,
            collective_files: (options.libraries.find(Library::Collectives).into_iter())
                .map(|(_, path)| path)
                .collect(),
            collectives: None,
            staging: Staging::default(),
            reading: Reading::default(),
            graphs: Graphs::new(options.graphs),
            marks: Marks::default(),
            allocated: BTreeSet::new(),
        };
        let workspace = made.allocate(WORKSPACE)?;
        let opened = first(Library::Products, &found.products, |path| {
            Products::open(path, workspace)
        });
        made.products = Some(opened?);
        Ok(made)
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        let (launches, instantiated) = self.graphs.counts();
        Counts {
            compiled: self.cubins.compiled(),
            shapes: self.products.as_ref().map_or(0, Products::shapes),
            launches,
            instantiated,
        }
    }

    /// What a file of kernels is compiled to, from the cache where it is there.
    fn image(&self, source: &Source, element: Element) -> Result<Vec<u8>, DeviceError> {
        let options = Compiler::options(element, self.target).join(" ");
        let (major, minor) = self.compiler.version();
        let version = format!("NVRTC {major}.{minor}, {}", self.compiler.build());
        let key = [
            version.as_bytes(),
            options.as_bytes(),
            PRELUDE.as_bytes(),
            source.text.as_bytes(),
        ];
        let compile = || self.compiler.compile(source, element, self.target);
        self.cubins.get(&key, compile)
    }

    /// Launches what is recorded, so that what follows may wait.
    fn settle(&mut self) {
        if self.graphs.settle(&mut self.device) {
            self.staging.launched(&mut self.device);
        }
    }

    fn function(&mut self, kernel: &'static Kernel, element: Element) -> Option<Function> {
        let key = (std::ptr::from_ref(kernel).addr(), element);
        if let Some(found) = self.functions.get(&key) {
            return Some(*found);
        }
        let Some(module) = self.modules.get(&(kernel.source.name, element)) else {
            let name = kernel.source.name;
            self.device
                .fail(format!("the kernels of `{name}` were not prepared"));
            return None;
        };
        let suffix = match element {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        };
        let name = CString::new(format!("{}_{suffix}", kernel.name)).expect("names have no zeros");
        let table = &self.device.table;
        let (mut handle, mut offset, mut size) = (Handle::NULL, 0, 0);
        // SAFETY: writes one handle; the module is loaded as long as the device is in use.
        let status = unsafe { (table.function)(&raw mut handle.0, module.0, name.as_ptr()) };
        if !self.device.is_done("cuModuleGetFunction", status) {
            return None;
        }
        let table = &self.device.table;
        // SAFETY: writes two numbers; a kernel that takes nothing says so by its status.
        let arguments = table.parameter.and_then(|parameter| unsafe {
            let status = parameter(handle.0, 0, &raw mut offset, &raw mut size);
            (status == SUCCESS).then_some(size)
        });
        let function = Function {
            handle,
            arguments,
            shared: 0,
        };
        self.functions.insert(key, function);
        Some(function)
    }
}

impl Driver for Nvidia {
    fn facts(&self) -> &DeviceFacts {
        &self.device.facts
    }

    fn free_bytes(&self) -> Result<u64, DeviceError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers; the context is set for the moment, on whatever thread this is.
        let status = unsafe {
            self.device.enter_quietly();
            (self.device.table.memory_info)(&raw mut free, &raw mut total)
        };
        self.device.result("cuMemGetInfo", status)?;
        Ok(free as u64)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Pointer, DeviceError> {
        self.device.enter();
        self.settle();
        let mut at: CUdeviceptr = 0;
        // SAFETY: writes one address.
        let status = unsafe { (self.device.table.allocate)(&raw mut at, bytes.max(1)) };
        if status == CUresult::CUDA_ERROR_OUT_OF_MEMORY as Status {
            return Err(DeviceError::OutOfMemory {
                device: self.device.facts.name.clone(),
                needed_bytes: bytes as u64,
                free_bytes: self.free_bytes().unwrap_or(0),
            });
        }
        self.device.result("cuMemAlloc", status)?;
        self.allocated.insert(at);
        self.zero(Pointer(at), bytes);
        Ok(Pointer(at))
    }

    fn release(&mut self, at: Pointer) {
        self.device.enter();
        self.settle();
        self.device.wait();
        assert!(self.allocated.remove(&at.0), "what was allocated");
        // SAFETY: allocated here, and no work uses it any more.
        let status = unsafe { (self.device.table.free)(at.0) };
        self.device.is_done("cuMemFree", status);
    }

    fn write(&mut self, to: Pointer, bytes: &[u8]) {
        self.device.enter();
        let recording = self.graphs.is_recording();
        self.staging.write(&mut self.device, to.0, bytes, recording);
    }

    fn read(&mut self, from: Pointer, bytes: &mut [u8]) {
        self.device.enter();
        self.settle();
        self.reading.read(&mut self.device, from.0, bytes);
    }

    fn zero(&mut self, at: Pointer, bytes: usize) {
        self.device.enter();
        if bytes == 0 || self.device.is_faulty() {
            return;
        }
        // SAFETY: memory of this device, as the caller says.
        let status = unsafe { (self.device.table.fill)(at.0, 0, bytes, self.device.stream.0) };
        self.device.is_done("cuMemsetD8Async", status);
    }

    fn copy(&mut self, to: Pointer, from: Pointer, bytes: usize) {
        self.device.enter();
        if bytes == 0 || self.device.is_faulty() {
            return;
        }
        // SAFETY: memory of this device, as the caller says.
        let status =
            unsafe { (self.device.table.copy_inside)(to.0, from.0, bytes, self.device.stream.0) };
        self.device.is_done("cuMemcpyDtoDAsync", status);
    }

    fn prepare(
        &mut self,
        sources: &[&'static Source],
        element: Element,
    ) -> Result<(), DeviceError> {
        let is_loaded = |source: &Source| self.modules.contains_key(&(source.name, element));
        let wanted: Vec<&'static Source> = sources
            .iter()
            .copied()
            .filter(|source| !is_loaded(source))
            .collect();
        let this = &*self;
        let images: Vec<Result<Vec<u8>, DeviceError>> = std::thread::scope(|scope| {
            let image = |source: &'static Source| move || this.image(source, element);
            let threads: Vec<_> = wanted
                .iter()
                .map(|source| scope.spawn(image(source)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|fault| std::panic::resume_unwind(fault))
            };
            threads.into_iter().map(join).collect()
        });
        self.device.enter();
        for (source, image) in wanted.into_iter().zip(images) {
            let image = image?;
            let mut module = Handle::NULL;
            // SAFETY: the image is a whole cubin, or PTX that ends in zero, and stays during the call.
            let status = unsafe {
                (self.device.table.load_module)(
                    &raw mut module.0,
                    image.as_ptr().cast(),
                    0,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
            };
            let call = format!("cuModuleLoadData of `{}`", source.name);
            self.device.result(&call, status)?;
            self.modules.insert((source.name, element), module);
        }
        Ok(())
    }

    unsafe fn launch(
        &mut self,
        kernel: &'static Kernel,
        element: Element,
        grid: Grid,
        arguments: &[u8],
    ) {
        self.device.enter();
        if self.device.is_faulty() {
            return;
        }
        let Some(mut function) = self.function(kernel, element) else {
            return;
        };
        if let Some(expected) = function.arguments {
            let name = kernel.name;
            assert_eq!(
                expected,
                arguments.len(),
                "arguments of `{name}` are those of the kernel"
            );
        }
        if grid.shared > function.shared {
            let shared = i32::try_from(grid.shared).unwrap_or(i32::MAX);
            let which = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is loaded.
            let status = unsafe {
                (self.device.table.set_function_attribute)(function.handle.0, which, shared)
            };
            let call = format!(
                "cuFuncSetAttribute of `{}`, {shared} bytes of shared memory",
                kernel.name
            );
            if !self.device.is_done(&call, status) {
                return;
            }
            function.shared = grid.shared;
            let key = (std::ptr::from_ref(kernel).addr(), element);
            self.functions.insert(key, function);
        }
        let [x, y, z] = grid.blocks;
        let mut parameters: [*mut c_void; 1] = [arguments.as_ptr().cast_mut().cast()];
        // SAFETY: the arguments are what the kernel takes, says the caller; the driver copies them during the call.
        let status = unsafe {
            (self.device.table.launch)(
                function.handle.0,
                x,
                y,
                z,
                grid.threads,
                1,
                1,
                grid.shared,
                self.device.stream.0,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        if status != SUCCESS {
            self.device
                .is_done(&format!("cuLaunchKernel of `{}`", kernel.name), status);
        }
    }

    unsafe fn product(&mut self, product: &Product) {
        self.device.enter();
        if self.device.is_faulty() {
            return;
        }
        let products = self
            .products
            .as_mut()
            .expect("there since the device was opened");
        // SAFETY: the caller's promise.
        let number = unsafe { products.product(&mut self.device, product) };
        self.graphs.met(number);
    }

    fn sum_over(
        &mut self,
        group: &mut dyn Collective,
        at: Pointer,
        len: usize,
    ) -> Result<bool, DeviceError> {
        self.device.enter();
        self.settle();
        let collectives = match &self.collectives {
            Some(collectives) => collectives,
            None => {
                let files = &self.collective_files;
                let Some(joined) = Collectives::join(files, &mut self.device, group)? else {
                    return Ok(false);
                };
                self.collectives.insert(joined)
            }
        };
        // SAFETY: memory of this device, as the caller says.
        unsafe { collectives.sum(&mut self.device, at, len) }?;
        Ok(true)
    }

    fn begin_step(&mut self) {
        self.device.enter();
        self.graphs.begin(&mut self.device);
    }

    fn end_step(&mut self) {
        self.device.enter();
        self.settle();
        self.graphs.end();
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        self.device.enter();
        self.settle();
        self.device.wait();
        self.device.whole()
    }
}

impl Moments for Nvidia {
    fn mark(&mut self) {
        self.device.enter();
        if self.device.is_faulty() {
            return;
        }
        self.settle();
        let spare = self.marks.spare.pop();
        if let Some(event) = spare.or_else(|| self.device.create_timed_event()) {
            self.device.record(event);
            self.marks.made.push(event);
        }
    }

    fn intervals(&mut self) -> Result<Vec<f64>, DeviceError> {
        self.finish()?;
        let made = std::mem::take(&mut self.marks.made);
        let pairs = made.windows(2);
        let intervals = pairs.map(|pair| self.device.between(pair[0], pair[1]));
        let intervals = intervals.collect();
        self.marks.spare.extend(made);
        intervals
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        self.device.enter();
        // Before anything is waited for: others may be gone, and a sum may wait for them.
        if let Some(mut collectives) = self.collectives.take() {
            collectives.release();
        }
        self.graphs.release(&mut self.device);
        self.device.wait();
        self.staging.release(&mut self.device);
        self.reading.release(&mut self.device);
        if let Some(mut products) = self.products.take() {
            products.release();
        }
        // SAFETY: all work is done, and nobody else has these.
        unsafe {
            for event in self.marks.made.iter().chain(&self.marks.spare) {
                (self.device.table.destroy_event)(event.0);
            }
            for module in self.modules.values() {
                (self.device.table.unload_module)(module.0);
            }
            for at in &self.allocated {
                (self.device.table.free)(*at);
            }
        }
    }
}
