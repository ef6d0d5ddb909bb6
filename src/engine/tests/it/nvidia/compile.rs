//! Every kernel through NVRTC itself, where that is at hand: no GPU is needed for it.

use std::io::Write as _;

use engine::cuda::SOURCES;
use engine::cuda::driver::{Element, Source};
use engine::cuda::nvidia::compile::{Compiler, Target};
use engine::cuda::nvidia::cubins::Cubins;
use engine::cuda::nvidia::libraries::{Library, Surroundings};
use engine::error::DeviceError;

/// NVRTC, from where the program itself would take it; a test without it says that it was skipped, unless it was promised.
fn compiler() -> Option<Compiler> {
    let surroundings = Surroundings::of_process(None);
    let found = surroundings.find(Library::Compiler);
    let Some((_, path)) = found.first() else {
        assert!(
            surroundings.named.is_none(),
            "NVRTC is not in {:?}",
            surroundings.folders(Library::Compiler)
        );
        let mut errors = std::io::stderr();
        let _ = writeln!(errors, "skipped: there is no NVRTC (`./test` gets it)");
        return None;
    };
    Some(Compiler::open(path).expect("NVRTC loads"))
}

const ELEMENTS: [Element; 2] = [Element::F32, Element::Bf16];

#[test]
fn every_kernel_compiles() {
    let Some(compiler) = compiler() else { return };
    let newest = *compiler.architectures().last().expect("some");
    let mut targets: Vec<Target> = [80, 89, 90].map(Target::Exact).to_vec();
    targets.push(Target::Exact(newest));
    // What a device beyond all of them would get.
    targets.push(compiler.target((99, 0)).expect("PTX"));
    assert_eq!(targets.last(), Some(&Target::Portable(newest)));
    targets.dedup();
    let cases: Vec<(&Source, Element, Target)> = SOURCES
        .iter()
        .flat_map(|source| ELEMENTS.map(|element| (*source, element)))
        .flat_map(|(source, element)| targets.iter().map(move |target| (source, element, *target)))
        .collect();
    let cubins = Cubins::new(Some(folder()));
    let (major, minor) = compiler.version();
    let with_kernels = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some((source, element, target)) =
            cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let what = format!("{major}.{minor} {element:?} {target:?}");
            let key = [
                what.as_bytes(),
                engine::cuda::PRELUDE.as_bytes(),
                source.text.as_bytes(),
            ];
            let made = cubins.get(&key, || compiler.compile(source, *element, *target));
            let made = made.unwrap_or_else(|error| panic!("{target:?} {element:?}: {error}"));
            match target {
                Target::Exact(_) => assert!(made.starts_with(b"\x7fELF"), "{} {what}", source.name),
                Target::Portable(_) => {
                    let text = std::str::from_utf8(&made).expect("text");
                    assert!(text.contains(".target sm_") && text.ends_with('\0'));
                    // Some files have kernels for one type of elements alone.
                    if text.contains(".visible .entry") {
                        with_kernels.lock().expect("no panic").insert(source.name);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8)
        {
            scope.spawn(work);
        }
    });
    let with_kernels = with_kernels.into_inner().expect("no panic");
    assert!(
        SOURCES
            .iter()
            .all(|source| with_kernels.contains(source.name)),
        "{with_kernels:?}"
    );
}

/// What was compiled once is not compiled again by the next run of the tests.
fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cubins")
}

#[test]
fn a_broken_kernel_is_told_with_its_line() {
    let Some(compiler) = compiler() else { return };
    static BROKEN: Source = Source {
        name: "broken",
        text: "#include \"prelude.cuh\"\n\nstruct A { u32 n; };\nKERNEL(broken, A, 32) { u32 x = nowhere; }\n",
    };
    match compiler.compile(&BROKEN, Element::F32, Target::Exact(90)) {
        Err(DeviceError::Compile { source_name, log }) => {
            assert_eq!(source_name, "broken");
            assert!(
                log.contains("broken.cu(4): error") && log.contains("nowhere"),
                "{log}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_get_their_own_instructions_where_they_are_known() {
    let Some(compiler) = compiler() else { return };
    assert_eq!(compiler.target((9, 0)).expect("known"), Target::Exact(90));
    assert_eq!(compiler.target((8, 9)).expect("known"), Target::Exact(89));
    assert!(matches!(
        compiler.target((7, 5)),
        Err(DeviceError::TooOld { capability: (7, 5) })
    ));
    assert!(compiler.version() >= (12, 0));
}

/// Instructions stand in one file, whose functions have twins for the emulation.
#[test]
fn only_the_prelude_has_assembler() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_path_buf()];
    let (mut kernels, mut with) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let ending = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if ["cu", "cuh"].contains(&ending.as_str()) {
                kernels += 1;
                let text = fs_err::read_to_string(&path).expect("text");
                let code = text
                    .lines()
                    .map(|line| line.split("//").next().unwrap_or(""));
                let mut words =
                    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
                if words.any(|word| word.trim_matches('_') == "asm") {
                    with.push(path.strip_prefix(root).expect("below").to_path_buf());
                }
            }
        }
    }
    assert!(kernels > SOURCES.len(), "all kernels and the prelude");
    assert_eq!(with, [std::path::PathBuf::from("cuda/prelude.cuh")]);
}
