//! A full disk, and one that cannot be written. Needs root for a small file system of its own; skips visibly without.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::space::{Ran, Space, skip};

/// A file system of a given size, gone with the test.
struct Mount(PathBuf);

impl Mount {
    fn new(options: &str) -> Option<(tempfile::TempDir, Self)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = fs_err::canonicalize(folder.path())
            .expect("there")
            .join("disk");
        fs_err::create_dir(&path).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            skip("no small file system can be mounted here (that takes root)");
            return None;
        }
        Some((folder, Self(path)))
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0);
        assert!(mount.status().expect("mount").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn project(cache: &Path) -> (Space, Vec<String>) {
    let space = Space::with(
        "stages:
  small:
    kind: command
    with: { script: 'head -c 100000 /dev/zero > out' }
    outputs: { out: out }
  fills:
    kind: command
    needs: { small: small, big: ./big }
    with: { script: 'cat small big > out' }
    outputs: { out: out }
  after:
    kind: command
    needs: { in: fills }
    with: { script: 'wc -c < in > out' }
    outputs: { out: out }
",
    );
    space.write("big", vec![7; 3 << 20]);
    let arguments = ["run", "p.yaml", "--json", "--cache"].map(str::to_owned);
    let mut arguments = arguments.to_vec();
    arguments.push(cache.display().to_string());
    (space, arguments)
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_recorded() {
    // Full while inputs are copied, and full while the stage writes.
    for size in ["size=2m", "size=5m"] {
        let Some((_folder, disk)) = Mount::new(size) else {
            return;
        };
        let (space, arguments) = project(&disk.0);
        let ran = space.call(&arguments).exits(3).says("free some space");
        assert!(
            ran.stderr.contains("No space left") || ran.stderr.contains("full"),
            "{}",
            ran.stderr
        );
        disk.remount("size=40m");
        let ran = space.call(&arguments).exits(0);
        assert_eq!(ran.counts(), [3, 2, 1, 0, 0], "{size}: {}", ran.stderr);
        let cache = disk.0.display().to_string();
        space
            .call(&["get", "p.yaml", "after", "--to", "got", "--cache", &cache])
            .exits(0);
        assert_eq!(
            space.read("got/out").trim(),
            (100_000 + (3 << 20)).to_string()
        );
        assert_eq!(
            crate::space::names_in(&disk.0.join("tmp")),
            [""; 0],
            "{size}"
        );
    }
}

#[test]
fn a_disk_without_room_for_another_file_is_told_too() {
    let Some((_folder, disk)) = Mount::new("size=40m,nr_inodes=24") else {
        return;
    };
    let (space, arguments) = project(&disk.0);
    space.call(&arguments).exits(3);
    disk.remount("nr_inodes=4000");
    let ran = space.call(&arguments).exits(0);
    assert_eq!(ran.counts()[3..], [0, 0]);
}

#[test]
fn a_cache_that_cannot_be_written_is_an_environment_fault() {
    let Some((_folder, disk)) = Mount::new("size=40m") else {
        return;
    };
    let (space, arguments) = project(&disk.0);
    space.call(&arguments).exits(0);
    disk.remount("ro");
    let ran: Ran = space.call(&arguments).exits(3);
    ran.says("cannot be used").says("--cache");
    let never = space.path("big/cache").display().to_string();
    space
        .call(&["run", "p.yaml", "--cache", &never])
        .exits(3)
        .says("cannot be used");
}
