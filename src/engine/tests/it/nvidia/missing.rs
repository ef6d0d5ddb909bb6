//! What is said where something is missing.

use std::path::Path;
use std::process::Command;

use engine::cuda::driver::{Driver, Element};
use engine::cuda::nvidia::libraries::Surroundings;
use engine::cuda::nvidia::{Nvidia, Options, check, survey};
use engine::error::DeviceError;

use super::{BROKEN, Fake, OTHER, SOURCE, read, write};

fn open(fake: &Fake, index: u32) -> Result<Nvidia, DeviceError> {
    Nvidia::open(index, &fake.options())
}

#[test]
fn each_missing_library_is_named_with_where_it_was_looked_for() {
    let fake = Fake::new();
    let whole = ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12"];
    for (file, title, install) in [
        ("libcuda.so.1", "NVIDIA's driver", "--gpus all"),
        (
            "libnvrtc.so.12",
            "NVRTC",
            "pip install 'nvidia-cuda-nvrtc-cu12==12.8.93'",
        ),
        (
            "libcublasLt.so.12",
            "cuBLASLt",
            "pip install 'nvidia-cublas-cu12==12.8.4.1'",
        ),
    ] {
        // The loader remembers what it opened by its path: each case has a folder of its own.
        let case = |content: Option<&str>| {
            let folder = tempfile::tempdir().expect("a folder");
            for name in whole.iter().filter(|name| **name != file) {
                let made = fs_err::canonicalize(fake.folder.path().join(name)).expect("there");
                std::os::unix::fs::symlink(made, folder.path().join(name)).expect("a link");
            }
            if let Some(content) = content {
                fs_err::write(folder.path().join(file), content).expect("written");
            }
            let surroundings = Surroundings {
                named: Some(folder.path().to_path_buf()),
                root: folder.path().join("root"),
                ..Surroundings::default()
            };
            let options = Options {
                libraries: surroundings,
                ..fake.options()
            };
            (Nvidia::open(0, &options).expect_err("refused"), folder)
        };
        let (error, folder) = case(None);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{title} is not on this machine")),
            "{text}"
        );
        assert!(text.contains(file), "{text}");
        let DeviceError::LibraryMissing {
            looked_in,
            install: how,
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert!(
            looked_in.contains(&folder.path().to_path_buf()),
            "{looked_in:?}"
        );
        assert!(how.contains(install), "{how}");
        // A file that is no library is said with its path.
        let (error, folder) = case(Some("no library"));
        match error {
            DeviceError::LibraryUnusable { path, .. } => assert_eq!(path, folder.path().join(file)),
            other => panic!("{other:?}"),
        }
    }
    fake.assert_all_is_given_back();
}

/// A shared library with nothing in it.
fn empty_library(path: &Path) {
    let source = path.with_extension("cpp");
    fs_err::write(&source, "").expect("written");
    let made = Command::new("g++")
        .args(["-shared", "-o"])
        .arg(path)
        .arg(&source)
        .status();
    assert!(made.expect("`g++` starts").success());
    fs_err::remove_file(source).expect("it was there");
}

#[test]
fn the_first_file_that_can_be_used_is_taken() {
    for file in ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12"] {
        let fake = Fake::new();
        let (named, folder) = (fake.folder.path(), tempfile::tempdir().expect("a folder"));
        let good = named.join(file);
        let moved = named.join("lib").join(file);
        fs_err::create_dir(named.join("lib")).expect("made");
        fs_err::rename(&good, &moved).expect("moved");
        // Neither of these has what it takes; one does not even load.
        fs_err::create_dir(named.join("lib64")).expect("made");
        empty_library(&named.join("lib64").join(file));
        fs_err::write(&good, "no library").expect("written");
        let mut device = fake.open();
        let at = device.allocate(64).expect("room");
        write(&mut device, at, &[3]);
        assert_eq!(read(&mut device, at, 1), [3]);
        drop(device);
        let seen = survey(&fake.surroundings());
        assert_eq!(seen.missing, None);
        let paths: Vec<_> = seen
            .libraries
            .into_iter()
            .filter_map(|seen| seen.path)
            .collect();
        assert!(paths.len() == 3 && paths.contains(&moved), "{paths:?}");
        // Without it each is named with what is wrong; another folder than that which was named is not looked into.
        fs_err::rename(&moved, folder.path().join(file)).expect("moved");
        let mut options = fake.options();
        if file != "libcuda.so.1" {
            let other = ("LD_LIBRARY_PATH", folder.path().into());
            options.libraries.variables.push(other);
        }
        let error = Nvidia::open(0, &options).expect_err("refused");
        assert!(matches!(error, DeviceError::NoneUsable { .. }), "{error:?}");
        let text = error.to_string();
        let words = [
            "none of 2 files of ".to_owned(),
            format!("`{}` cannot be used: ", good.display()),
            format!(
                "; `{}` cannot be used: it has no `",
                named.join("lib64").join(file).display()
            ),
        ];
        assert!(words.iter().all(|words| text.contains(words)), "{text}");
        let missing = survey(&options.libraries).missing;
        assert_eq!(missing, Some(text));
        // Unnamed it is found.
        options.libraries.named = None;
        options.libraries.variables = vec![("LD_LIBRARY_PATH", {
            let all = [named.to_path_buf(), folder.path().to_path_buf()];
            std::env::join_paths(all).expect("plain names")
        })];
        drop(Nvidia::open(0, &options).expect("a device"));
        fake.assert_all_is_given_back();
    }
}

#[test]
fn the_driver_may_be_too_old_and_devices_too() {
    let fake = Fake::new();
    let says = |result: Result<Nvidia, DeviceError>| result.expect_err("refused").to_string();
    fake.set("version", 11080);
    let text = says(open(&fake, 0));
    let library = fake.folder.path().join("libnvrtc.so.12");
    let words = format!(
        "knows CUDA 11.8 and is too old for `{}`, which needs 12.0",
        library.display()
    );
    assert!(text.contains(&words), "{text}");
    // A minor version makes no difference where instructions are compiled, ...
    fake.set("version", 12000);
    drop(open(&fake, 0).expect("a device"));
    // ... but where the driver is to compile them: of a device that NVRTC does not know.
    fake.set("capability", 120);
    let text = says(open(&fake, 0));
    assert!(
        text.contains("knows CUDA 12.0") && text.contains("needs 12.8"),
        "{text}"
    );
    fake.set("version", 13000);
    let mut device = open(&fake, 0).expect("a device");
    device.prepare(&[&SOURCE], Element::F32).expect("PTX");
    drop(device);
    fake.set("capability", 75);
    assert!(says(open(&fake, 0)).contains("7.5, and 8.0 is the least"));
    fake.set("capability", 80);
    assert_eq!(says(open(&fake, 1)), "there is no GPU 1: the only one is 0");
    fake.set("devices", 4);
    assert_eq!(says(open(&fake, 4)), "there is no GPU 4: they are 0 to 3");
    drop(open(&fake, 3).expect("a device"));
    fake.set("devices", 0);
    assert_eq!(says(open(&fake, 0)), "NVIDIA's driver sees no GPU");
    fake.set("init", 100);
    assert_eq!(says(open(&fake, 0)), "NVIDIA's driver sees no GPU");
    fake.set("init", 803);
    assert!(says(open(&fake, 0)).contains("cuInit: error 803"));
    fake.assert_all_is_given_back();
}

#[test]
fn a_survey_says_what_is_there_and_what_is_not() {
    let fake = Fake::new();
    let surroundings = fake.surroundings();
    let seen = survey(&surroundings);
    assert_eq!(seen.missing, None);
    assert_eq!(seen.devices.len(), 1);
    assert_eq!(check(&surroundings, 0).expect("a device"), seen.devices[0]);
    let versions: Vec<_> = seen
        .libraries
        .iter()
        .map(|seen| seen.version.as_deref())
        .collect();
    assert_eq!(versions, [Some("12.8"), Some("12.8"), None]);
    assert!(seen.libraries.iter().all(|seen| seen.path.is_some()));
    fs_err::remove_file(fake.folder.path().join("libnvrtc.so.12")).expect("it was there");
    let seen = survey(&surroundings);
    assert!(
        seen.missing
            .expect("told")
            .starts_with("NVRTC is not on this machine")
    );
    assert!(seen.libraries[0].path.is_some() && seen.libraries[1].path.is_none());
    assert!(!seen.libraries[1].looked_in.is_empty());
    assert_eq!(seen.devices.len(), 1, "devices are listed all the same");
    let nothing = Surroundings {
        named: Some(fake.folder.path().join("nothing")),
        root: fake.folder.path().join("root"),
        ..Surroundings::default()
    };
    let seen = survey(&nothing);
    assert!(
        seen.missing
            .expect("told")
            .starts_with("NVIDIA's driver is not on this machine")
    );
    assert!(seen.devices.is_empty());
    assert_eq!(fake.get("retained"), 0, "a survey takes no device");
}

#[test]
fn kernels_are_compiled_once_for_what_they_are_made_of() {
    let fake = Fake::new();
    let cubins = tempfile::tempdir().expect("a folder");
    let options = Options {
        cubins: Some(cubins.path().to_path_buf()),
        ..fake.options()
    };
    let compiled = || {
        let mut device = Nvidia::open(0, &options).expect("a device");
        for element in [Element::F32, Element::Bf16, Element::F32] {
            device
                .prepare(&[&SOURCE, &OTHER], element)
                .expect("kernels");
        }
        assert_eq!(fake.get("modules"), 4);
        device.counts().compiled
    };
    assert_eq!((compiled(), compiled()), (4, 0));
    fake.set("capability", 80);
    assert_eq!(
        (compiled(), compiled()),
        (4, 0),
        "another architecture is another entry"
    );
    for entry in fs_err::read_dir(cubins.path()).expect("there").take(3) {
        let path = entry.expect("an entry").path();
        let bytes = fs_err::read(&path).expect("there");
        fs_err::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    }
    let again = compiled();
    fake.set("capability", 90);
    assert_eq!(
        (again + compiled(), compiled()),
        (3, 0),
        "damaged entries are made again"
    );
    // The same build at another place and time is the same compiler, ...
    let library = fake.folder.path().join("libnvrtc.so.12");
    let bytes = fs_err::read(&library).expect("there");
    let replace = |bytes: &[u8]| {
        // A file of its own: what is loaded stays as it is.
        fs_err::remove_file(&library).expect("it was there");
        fs_err::write(&library, bytes).expect("written");
    };
    replace(&bytes);
    let file = fs_err::OpenOptions::new().append(true).open(&library);
    let file = file.expect("there");
    let changed = file.metadata().expect("told").modified().expect("told");
    file.set_modified(changed - std::time::Duration::from_secs(5))
        .expect("set");
    assert_eq!(compiled(), 0, "the same bytes in another file");
    // ... and another build of the same version is another one, by its build id alone.
    let mark = b"\x14\0\0\0\x03\0\0\0GNU\0";
    let at = bytes.windows(mark.len()).position(|bytes| bytes == mark);
    let at = at.expect("a build id") + mark.len();
    let mut other = bytes.clone();
    other[at] ^= 1;
    replace(&other);
    assert_eq!((compiled(), compiled()), (4, 0), "another build id");
    replace(&bytes);
    assert_eq!(compiled(), 0, "the first build again");
    let builtins = |name: &str, text: &str| {
        let path = fake
            .folder
            .path()
            .join(format!("libnvrtc-builtins.so.{name}"));
        fs_err::write(path, text).expect("written");
    };
    builtins("12.8", "");
    assert_eq!((compiled(), compiled()), (4, 0), "and what lies beside it");
    builtins("12.8.93", "");
    assert_eq!(compiled(), 0, "the same under another name");
    builtins("12.8", "other");
    assert_eq!((compiled(), compiled()), (4, 0), "what lies beside changed");
    let mut device = Nvidia::open(0, &options).expect("a device");
    let error = device
        .prepare(&[&SOURCE, &BROKEN], Element::F32)
        .expect_err("broken");
    let expected = "the kernels of `broken` are not compiled:\nbroken.cu(1): error: it is broken";
    assert_eq!(error.to_string(), expected);
    drop(device);
    fake.assert_all_is_given_back();
}
