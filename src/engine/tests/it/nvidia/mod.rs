//! The driver of NVIDIA's GPUs against libraries that do on the CPU what the documentation of NVIDIA's says, and the real
//! compiler where it is.

mod check;
mod collectives;
mod compile;
mod missing;
mod products;
mod work;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable};
use engine::cuda::driver::{Driver, Element, Grid, Kernel, Pointer, Source};
use engine::cuda::nvidia::libraries::Surroundings;
use engine::cuda::nvidia::{Nvidia, Options};

static SOURCE: Source = Source {
    name: "fake",
    text: "#include \"prelude.cuh\"\n",
};
static OTHER: Source = Source {
    name: "other",
    text: "#include \"prelude.cuh\"\n// another\n",
};
static BROKEN: Source = Source {
    name: "broken",
    text: "BROKEN",
};
static ADD: Kernel = Kernel {
    source: &SOURCE,
    name: "fake_add",
};
static ABSENT: Kernel = Kernel {
    source: &SOURCE,
    name: "absent",
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct AddArguments {
    at: Pointer,
    count: u32,
    amount: u32,
}

/// The libraries, with numbers of theirs that tests read and set. One test at a time has them.
struct Fake {
    folder: tempfile::TempDir,
    library: libloading::Library,
    _turn: MutexGuard<'static, ()>,
}

impl Fake {
    fn new() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let made = compile();
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12"] {
            // One file under three names is one library to the loader.
            std::os::unix::fs::symlink(&made, folder.path().join(name)).expect("a link");
        }
        // SAFETY: our own text, whose initialisation makes a few empty maps.
        let library = unsafe { libloading::Library::new(&made) }.expect("it loads");
        let fake = Self {
            folder,
            library,
            _turn: turn,
        };
        for (name, usual) in [
            ("init", 0),
            ("version", 12080),
            ("devices", 1),
            ("capability", 90),
            ("memory", 1 << 30),
            ("spoil", 0),
            ("no_way", 0),
            ("state", 0),
            ("asked", 0),
            ("recorded", 0),
            ("heuristics", 0),
            ("nccl_fault", 0),
        ] {
            fake.set(name, usual);
        }
        fake
    }

    fn get(&self, name: &str) -> i64 {
        let name = CString::new(name).expect("no zeros");
        // SAFETY: the function is ours.
        unsafe {
            let get = self
                .library
                .get::<unsafe extern "C" fn(*const i8) -> i64>(b"fake_get\0");
            get.expect("it is there")(name.as_ptr().cast())
        }
    }

    fn set(&self, name: &str, value: i64) {
        let name = CString::new(name).expect("no zeros");
        // SAFETY: the function is ours.
        unsafe {
            let set = self
                .library
                .get::<unsafe extern "C" fn(*const i8, i64)>(b"fake_set\0");
            set.expect("it is there")(name.as_ptr().cast(), value);
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            named: Some(self.folder.path().to_path_buf()),
            root: self.folder.path().join("root"),
            ..Surroundings::default()
        }
    }

    fn options(&self) -> Options {
        Options {
            libraries: self.surroundings(),
            cubins: None,
            graphs: true,
        }
    }

    /// One more of its libraries.
    fn put(&self, name: &str) {
        std::os::unix::fs::symlink(compile(), self.folder.path().join(name)).expect("a link");
    }

    fn open(&self) -> Nvidia {
        self.open_at(0)
    }

    fn open_at(&self, index: u32) -> Nvidia {
        let mut opened = Nvidia::open(index, &self.options()).expect("a device");
        opened.prepare(&[&SOURCE], Element::F32).expect("kernels");
        opened
    }

    /// Nothing is kept when nobody has a device.
    fn assert_all_is_given_back(&self) {
        for name in [
            "retained",
            "slabs",
            "events",
            "modules",
            "blas",
            "graphs",
            "executables",
            "communicators",
        ] {
            assert_eq!(self.get(name), 0, "{name}");
        }
    }
}

/// Compiles the libraries, unless a test did that before.
fn compile() -> PathBuf {
    let text = include_str!("fake.cpp");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nvidia");
    fs_err::create_dir_all(&folder).expect("a folder");
    let name = format!("fake_{:08x}", crc32fast::hash(text.as_bytes()));
    let library = folder.join(format!("{name}.so"));
    let lock = std::fs::File::create(folder.join(format!("{name}.lock"))).expect("a lock");
    lock.lock().expect("a lock");
    if library.is_file() {
        return library;
    }
    let (source, made) = (folder.join(format!("{name}.cpp")), folder.join("made.so"));
    fs_err::write(&source, text).expect("written");
    let output = Command::new("g++")
        .args([
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-shared",
            "-Wl,--build-id=sha1",
            "-Wall",
            "-Werror",
            "-o",
        ])
        .args([&made, &source])
        .output()
        .expect("`g++` starts: the test command installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    fs_err::rename(made, &library).expect("renamed");
    library
}

/// Adds a number to so many words.
fn add(device: &mut Nvidia, at: Pointer, count: u32, amount: u32) {
    let arguments = AddArguments { at, count, amount };
    let grid = Grid::row(1, 32);
    // SAFETY: tests ask for memory that is there, or for what the fake refuses.
    unsafe { device.launch(&ADD, Element::F32, grid, bytemuck::bytes_of(&arguments)) };
}

fn read(device: &mut Nvidia, at: Pointer, count: usize) -> Vec<u32> {
    let mut words = vec![7_u32; count];
    device.read(at, bytemuck::cast_slice_mut(&mut words));
    words
}

fn write(device: &mut Nvidia, at: Pointer, words: &[u32]) {
    let mut own = words.to_vec();
    device.write(at, bytemuck::cast_slice(&own));
    // The source may change at once.
    own.fill(0xdead_beef);
    std::hint::black_box(&own);
}
