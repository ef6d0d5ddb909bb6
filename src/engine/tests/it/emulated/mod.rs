//! An accelerator on the CPU: the kernels' own sources through a C++ compiler, threads of a block as coroutines in shuffled
//! order. What CUDA promises is checked on the way: barriers that all reach, writes that stay inside, sizes of arguments.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::cuda::driver::{
    DeviceFacts, Driver, Element, Grid, Kernel, Matrix, Pointer, Product, Source,
};
use engine::error::DeviceError;

/// Bytes before and after each allocation, which nobody may write.
const GUARD: usize = 4096;
const GUARD_BYTE: u8 = 0xab;

/// The launch as `emulation.h` has it.
#[repr(C)]
struct Launch {
    blocks: [u32; 3],
    threads: u32,
    shared: u32,
    seed: u32,
}

type Entry = unsafe extern "C" fn(*const Launch, *const c_void, usize) -> *const c_char;

struct Allocation {
    words: Vec<u128>,
    start: usize,
    len: usize,
}

impl Allocation {
    fn new(len: usize) -> Self {
        let words = vec![0_u128; (len + 2 * GUARD + 256) / 16 + 1];
        let base = words.as_ptr() as usize;
        let start = (base + GUARD).next_multiple_of(256) - base;
        let mut made = Self { words, start, len };
        let (start, end) = (made.start, made.start + len);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut made.words);
        bytes[..start].fill(GUARD_BYTE);
        bytes[end..].fill(GUARD_BYTE);
        made
    }

    fn address(&self) -> u64 {
        self.words.as_ptr() as u64 + self.start as u64
    }

    fn is_whole(&self) -> bool {
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        let mut outside = bytes[..self.start]
            .iter()
            .chain(&bytes[self.start + self.len..]);
        outside.all(|byte| *byte == GUARD_BYTE)
    }
}

/// The device.
pub(crate) struct Emulated {
    facts: DeviceFacts,
    libraries: BTreeMap<(&'static str, Element), libloading::Library>,
    memory: BTreeMap<u64, Allocation>,
    seed: u32,
    fault: Option<String>,
    /// Work that was asked for, by name: so that tests see what a step is made of.
    pub(crate) launched: Vec<&'static str>,
}

impl std::fmt::Debug for Emulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulated").finish_non_exhaustive()
    }
}

impl Emulated {
    /// A device whose threads, warps and blocks take turns as `seed` says.
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            facts: DeviceFacts {
                name: "emulation".to_owned(),
                capability: (8, 0),
                multiprocessors: 2,
                memory: 8 << 30,
                shared_per_block: 160 << 10,
            },
            libraries: BTreeMap::new(),
            memory: BTreeMap::new(),
            seed,
            fault: None,
            launched: Vec::new(),
        }
    }

    /// The same with so many bytes of shared memory for a block.
    pub(crate) fn with_shared(mut self, bytes: u32) -> Self {
        self.facts.shared_per_block = bytes;
        self
    }

    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// # Safety
    /// The bytes lie in one allocation.
    unsafe fn bytes(&mut self, at: Pointer, len: usize) -> &mut [u8] {
        let inside = self.memory.values().any(|one| {
            one.address() <= at.0 && at.0 + len as u64 <= one.address() + one.len as u64
        });
        assert!(inside || len == 0, "copies stay inside");
        if len == 0 {
            return &mut [];
        }
        // SAFETY: inside an allocation that lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(at.0 as *mut u8, len) }
    }
}

/// Compiles a source, unless that was done before by some test.
fn compile(source: &Source, element: Element) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    fs_err::create_dir_all(&folder).expect("a folder");
    let emulation = include_str!("emulation.h");
    let text = [source.text, engine::cuda::PRELUDE, emulation].concat();
    let digest = crc32fast::hash(text.as_bytes());
    let suffix = match element {
        Element::F32 => "f32",
        Element::Bf16 => "bf16",
    };
    let name = format!("{}_{suffix}_{digest:08x}_{}", source.name, text.len());
    let library = folder.join(format!("{name}.so"));
    let lock = std::fs::File::create(folder.join(format!("{name}.lock"))).expect("a lock");
    lock.lock().expect("a lock");
    if library.is_file() {
        return library;
    }
    let own = folder.join(&name);
    fs_err::create_dir_all(&own).expect("a folder");
    let write = |name: &str, text: &str| fs_err::write(own.join(name), text).expect("written");
    write("prelude.cuh", engine::cuda::PRELUDE);
    write("emulation.h", emulation);
    write("kernel.cu", source.text);
    let made = own.join("made.so");
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-O1", "-fPIC", "-shared", "-U_FORTIFY_SOURCE"]);
    command.args([
        "-Wall",
        "-Werror",
        "-Wno-unused-function",
        "-Wno-unknown-pragmas",
    ]);
    // Products and sums are fused only where a kernel says so.
    command.args(["-ffp-contract=off", "-march=native", "-DEMULATED"]);
    if element == Element::Bf16 {
        command.arg("-DACT_BF16");
    }
    command
        .args(["-x", "c++", "kernel.cu", "-o", "made.so"])
        .current_dir(&own);
    let output = command
        .output()
        .expect("`g++` starts: the test command installs it");
    assert!(
        output.status.success(),
        "{} compiles for the emulation:\n{}",
        source.name,
        String::from_utf8_lossy(&output.stderr)
    );
    fs_err::rename(made, &library).expect("renamed");
    library
}

impl Driver for Emulated {
    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn free_bytes(&self) -> Result<u64, DeviceError> {
        let used: usize = self.memory.values().map(|one| one.len).sum();
        Ok(self.facts.memory.saturating_sub(used as u64))
    }

    fn allocate(&mut self, bytes: usize) -> Result<Pointer, DeviceError> {
        let free_bytes = self.free_bytes()?;
        if bytes as u64 > free_bytes {
            return Err(DeviceError::OutOfMemory {
                device: self.facts.name.clone(),
                needed_bytes: bytes as u64,
                free_bytes,
            });
        }
        let made = Allocation::new(bytes);
        let at = made.address();
        self.memory.insert(at, made);
        Ok(Pointer(at))
    }

    fn release(&mut self, at: Pointer) {
        let gone = self.memory.remove(&at.0).expect("what was allocated");
        if !gone.is_whole() {
            self.fail("something wrote beside an allocation".to_owned());
        }
    }

    fn write(&mut self, to: Pointer, bytes: &[u8]) {
        // SAFETY: `bytes` looks whether it lies inside.
        unsafe { self.bytes(to, bytes.len()) }.copy_from_slice(bytes);
    }

    fn read(&mut self, from: Pointer, bytes: &mut [u8]) {
        // SAFETY: as above.
        bytes.copy_from_slice(unsafe { self.bytes(from, bytes.len()) });
    }

    fn zero(&mut self, at: Pointer, bytes: usize) {
        // SAFETY: as above.
        unsafe { self.bytes(at, bytes) }.fill(0);
    }

    fn copy(&mut self, to: Pointer, from: Pointer, bytes: usize) {
        let mut kept = vec![0; bytes];
        self.read(from, &mut kept);
        self.write(to, &kept);
    }

    fn prepare(
        &mut self,
        sources: &[&'static Source],
        element: Element,
    ) -> Result<(), DeviceError> {
        for source in sources {
            let path = compile(source, element);
            // SAFETY: the library is the kernels' own text, whose initialisation does nothing.
            let library = unsafe { libloading::Library::new(path) }.expect("a library loads");
            self.libraries.insert((source.name, element), library);
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
        let suffix = match element {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        };
        assert!(grid.threads.is_multiple_of(32) && grid.threads <= 1024);
        if grid.shared > self.facts.shared_per_block {
            let (name, asked) = (kernel.name, grid.shared);
            return self.fail(format!(
                "{name}: a block has no {asked} bytes of shared memory"
            ));
        }
        let name = format!("{}_{suffix}\0", kernel.name);
        let library = &self.libraries[&(kernel.source.name, element)];
        // SAFETY: the macro `KERNEL_NAMED` gives every kernel this signature.
        let entry = unsafe { library.get::<Entry>(name.as_bytes()) }.expect("the kernel is there");
        self.seed = self.seed.wrapping_mul(747_796_405).wrapping_add(1);
        let launch = Launch {
            blocks: grid.blocks,
            threads: grid.threads,
            shared: grid.shared,
            seed: self.seed,
        };
        // SAFETY: the entry looks at the size of the arguments; their pointers are the caller's promise.
        let fault = unsafe {
            entry(
                &raw const launch,
                arguments.as_ptr().cast(),
                arguments.len(),
            )
        };
        if !fault.is_null() {
            // SAFETY: a literal of the library.
            let words = unsafe { CStr::from_ptr(fault) }
                .to_string_lossy()
                .into_owned();
            self.fail(format!("{}: {words}", kernel.name));
        }
        self.launched.push(kernel.name);
    }

    unsafe fn product(&mut self, product: &Product) {
        let Product {
            a,
            b,
            c,
            rows,
            columns,
            inner,
            adds,
            bias,
        } = *product;
        assert_eq!(a.element, b.element);
        assert!(c.element == a.element || c.element == Element::F32);
        assert!(!c.transposed);
        // SAFETY: the matrices lie in memory of this device, says the caller.
        let (left, right) = unsafe { (whole(a, rows, inner), whole(b, inner, columns)) };
        let bias = bias.map(|at| {
            let row = Matrix {
                at,
                stride: columns,
                ..c
            };
            // SAFETY: as above.
            unsafe { whole(row, 1, columns) }
        });
        for i in 0..rows {
            let mut sums = vec![0.0_f32; columns];
            for (k, x) in left[i * inner..(i + 1) * inner].iter().enumerate() {
                let row = &right[k * columns..(k + 1) * columns];
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(*y, *sum);
                }
            }
            for (j, sum) in sums.iter().enumerate() {
                let at = c.at.offset((i * c.stride + j) * c.element.size());
                let mut value = sum + bias.as_ref().map_or(0.0, |bias| bias[j]);
                if adds {
                    // SAFETY: as above.
                    value += unsafe { load(at, c.element) };
                }
                match c.element {
                    Element::F32 => self.write(at, &value.to_ne_bytes()),
                    Element::Bf16 => self.write(at, &round(value).to_ne_bytes()),
                }
            }
        }
        self.launched.push("product");
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        if !self.memory.values().all(Allocation::is_whole) {
            self.fail("something wrote beside an allocation".to_owned());
        }
        match self.fault.take() {
            None => Ok(()),
            Some(reason) => Err(DeviceError::Failed {
                device: self.facts.name.clone(),
                reason,
            }),
        }
    }
}

/// # Safety
/// The address is one of the device's.
unsafe fn load(at: Pointer, element: Element) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match element {
            Element::F32 => (at.0 as *const f32).read(),
            Element::Bf16 => f32::from_bits(u32::from((at.0 as *const u16).read()) << 16),
        }
    }
}

/// A matrix as f32 numbers, transposed where it is to be.
///
/// # Safety
/// It lies in memory of the device.
unsafe fn whole(matrix: Matrix, rows: usize, columns: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(rows * columns);
    for i in 0..rows {
        for j in 0..columns {
            let place = match matrix.transposed {
                false => i * matrix.stride + j,
                true => j * matrix.stride + i,
            };
            let at = matrix.at.offset(place * matrix.element.size());
            // SAFETY: the caller's promise.
            values.push(unsafe { load(at, matrix.element) });
        }
    }
    values
}

fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
