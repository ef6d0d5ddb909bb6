//! Copies, kernels, recorded stretches, and faults of them.

use engine::cuda::driver::{Driver, Element, Grid, Moments, Pointer};
use engine::error::DeviceError;

use super::{ABSENT, ADD, AddArguments, Fake, add, read, write};

/// Words of a bit more than one slab.
const SLAB: usize = 8 << 18;

#[test]
fn work_is_done_in_order_and_sources_may_change_at_once() {
    let fake = Fake::new();
    let mut device = fake.open();
    assert_eq!(device.facts().name, "Fake GPU");
    assert_eq!(device.facts().capability, (9, 0));
    let before = device.free_bytes().expect("told");
    let count = 7 * SLAB + 1001;
    let at = device.allocate(4 * count).expect("room");
    assert_eq!(
        device.free_bytes().expect("told"),
        before - 4 * count as u64
    );
    assert!(
        read(&mut device, at, 100).iter().all(|word| *word == 0),
        "new memory is zero"
    );
    let words: Vec<u32> = (0..count as u32).collect();
    write(&mut device, at, &words);
    for i in 0..1000 {
        write(&mut device, at.offset(4 * i), &[i as u32 + 5]);
    }
    add(&mut device, at, 2000, 3);
    let other = device.allocate(4 * count).expect("room");
    device.copy(other, at, 4 * count);
    device.zero(at, 4 * count);
    let found = read(&mut device, other, count);
    for (i, word) in found.iter().enumerate() {
        let expected = match i {
            0..1000 => i as u32 + 8,
            1000..2000 => i as u32 + 3,
            _ => i as u32,
        };
        assert_eq!(*word, expected, "word {i}");
    }
    assert!(read(&mut device, at, count).iter().all(|word| *word == 0));
    // Four slabs to write and two to read, however much goes through them.
    assert_eq!(fake.get("slabs"), 6);
    device.release(at);
    assert_eq!(
        device.free_bytes().expect("told"),
        before - 4 * count as u64
    );
    device.finish().expect("no fault");
    drop(device);
    fake.assert_all_is_given_back();
}

#[test]
fn steps_are_recorded_and_replayed_with_what_they_were_given() {
    let fake = Fake::new();
    let mut device = fake.open();
    let at = device.allocate(4 * 4 * SLAB).expect("room");
    let mut expected = vec![0_u32; 16];
    let asked = |fake: &Fake| (fake.get("asked"), fake.get("recorded"));
    for step in 0..20_u32 {
        let before = asked(&fake);
        device.begin_step();
        // Two shapes take turns.
        for i in 0..3 + step % 2 {
            let amount = 1 + step * 10 + i;
            add(&mut device, at, 16, amount);
            expected.iter_mut().for_each(|word| *word += amount);
        }
        let place = step as usize % 16;
        write(&mut device, at.offset(4 * place), &[step]);
        expected[place] = step;
        device.end_step();
        let after = asked(&fake);
        let recorded = after.1 - before.1;
        assert_eq!(
            recorded,
            if step == 0 { 0 } else { after.0 - before.0 },
            "step {step}"
        );
    }
    assert_eq!(read(&mut device, at, 16), expected);
    let counts = device.counts();
    assert_eq!((counts.launches, counts.instantiated), (19, 2));

    // More than all slabs in one stretch, twice before anybody waits.
    let words: Vec<u32> = (0..6 * SLAB as u32 / 2).collect();
    for round in 0..2 {
        device.begin_step();
        write(&mut device, at, &words);
        write(&mut device, at, &words[..words.len() / 2]);
        add(&mut device, at, words.len() as u32, round);
        device.end_step();
    }
    let found = read(&mut device, at, words.len());
    assert!(
        found
            .iter()
            .zip(&words)
            .all(|(found, word)| *found == word + 1)
    );

    // Whoever reads gets what was asked for before; the rest of the stretch is carried out plainly.
    device.begin_step();
    write(&mut device, at, &[100; 4]);
    add(&mut device, at, 4, 1);
    assert_eq!(read(&mut device, at, 4), [101; 4]);
    let before = fake.get("recorded");
    add(&mut device, at, 4, 1);
    write(&mut device, at, &[1]);
    assert_eq!(fake.get("recorded"), before);
    device.end_step();
    assert_eq!(read(&mut device, at, 4), [1, 102, 102, 102]);
    // Allocating and finishing inside of one as well.
    device.begin_step();
    add(&mut device, at, 4, 1);
    let other = device.allocate(64).expect("room");
    add(&mut device, other, 4, 9);
    device.finish().expect("no fault");
    device.end_step();
    assert_eq!(read(&mut device, other, 5), [9, 9, 9, 9, 0]);
    // An empty stretch is nothing.
    device.begin_step();
    device.end_step();
    device.finish().expect("no fault");
    drop(device);
    fake.assert_all_is_given_back();
}

#[test]
fn many_shapes_of_steps_take_turns() {
    let fake = Fake::new();
    let mut device = fake.open();
    let at = device.allocate(256).expect("room");
    let mut sum = 0;
    for step in 0..400_u32 {
        device.begin_step();
        for _ in 0..=step % 80 {
            add(&mut device, at, 1, 1);
            sum += 1;
        }
        device.end_step();
    }
    assert!(fake.get("executables") <= 64);
    assert_eq!(read(&mut device, at, 1), [sum]);
    drop(device);
    // Without graphs nothing is recorded.
    let mut options = fake.options();
    options.graphs = false;
    fake.set("recorded", 0);
    let mut device = engine::cuda::nvidia::Nvidia::open(0, &options).expect("a device");
    device
        .prepare(&[&super::SOURCE], Element::F32)
        .expect("kernels");
    let at = device.allocate(256).expect("room");
    for _ in 0..3 {
        device.begin_step();
        add(&mut device, at, 1, 1);
        device.end_step();
    }
    assert_eq!(
        (read(&mut device, at, 1), fake.get("recorded")),
        (vec![3], 0)
    );
    drop(device);
    fake.assert_all_is_given_back();
}

#[test]
fn a_device_may_be_used_on_any_thread() {
    let fake = Fake::new();
    let mut device = fake.open();
    let at = device.allocate(256).expect("room");
    let entered = fake.get("entered");
    for _ in 0..10 {
        add(&mut device, at, 1, 1);
    }
    assert_eq!(
        fake.get("entered"),
        entered,
        "a context is set once a thread"
    );
    let found = std::thread::scope(|scope| {
        let elsewhere = scope.spawn(|| {
            add(&mut device, at, 1, 5);
            read(&mut device, at, 1)
        });
        elsewhere.join().expect("no panic")
    });
    assert_eq!(found, [15]);
    device.finish().expect("no fault");
}

#[test]
fn half_a_stretch_is_not_carried_out_when_its_device_goes() {
    let fake = Fake::new();
    // However it goes: a step that fails leaves the stretch open, and so does a panic.
    for panics in [false, true] {
        let mut device = fake.open();
        let at = device.allocate(64).expect("room");
        device.begin_step();
        device.end_step();
        device.finish().expect("no fault");
        let executed = fake.get("executed");
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            device.begin_step();
            write(&mut device, at, &[3]);
            add(&mut device, at, 1, 1);
            assert!(!panics, "in the middle of a step");
        }));
        assert_eq!(gone.is_err(), panics);
        assert_eq!(fake.get("executed"), executed, "nothing more is done");
        fake.assert_all_is_given_back();
    }
}

/// The fault that `finish` tells.
fn fault(device: &mut impl Driver) -> String {
    device.finish().expect_err("a fault").to_string()
}

#[test]
fn faults_are_kept_until_they_are_asked_for() {
    let fake = Fake::new();
    let mut device = fake.open();
    let at = device.allocate(64).expect("room");
    write(&mut device, at, &[3]);
    add(&mut device, at, 100, 1);
    add(&mut device, at, 1, 1);
    assert_eq!(read(&mut device, at, 1), [0], "zero after a fault");
    let expected = "Fake GPU failed: cuLaunchKernel of `fake_add`: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access \
                    was encountered)";
    assert_eq!(fault(&mut device), expected);
    assert_eq!(
        read(&mut device, at, 1),
        [3],
        "and nothing was asked for after it"
    );
    // A kernel that is not there, or whose source was not prepared.
    let arguments = AddArguments {
        at,
        count: 1,
        amount: 1,
    };
    let bytes = bytemuck::bytes_of(&arguments);
    for (kernel, element, words) in [
        (&ABSENT, Element::F32, "cuModuleGetFunction: error 500"),
        (
            &ADD,
            Element::Bf16,
            "the kernels of `fake` were not prepared",
        ),
    ] {
        // SAFETY: refused before anything is done.
        unsafe { device.launch(kernel, element, Grid::row(1, 32), bytes) };
        assert!(fault(&mut device).contains(words));
    }
    // Shared memory is asked for where it is more than before, and refused where there is not so much.
    for (shared, is_there) in [(100_000, true), (99_000, true), (300_000, false)] {
        let grid = Grid {
            shared,
            ..Grid::row(1, 32)
        };
        // SAFETY: as above.
        unsafe { device.launch(&ADD, Element::F32, grid, bytes) };
        assert_eq!(device.finish().is_ok(), is_there, "{shared}");
        assert_eq!(fake.get("shared"), 100_000);
    }
    // Memory that is not there.
    match device.allocate(2 << 30) {
        Err(DeviceError::OutOfMemory {
            needed_bytes,
            free_bytes,
            ..
        }) => {
            assert_eq!(needed_bytes, 2 << 30);
            assert!(free_bytes > 0 && free_bytes < 1 << 30);
        }
        other => panic!("{other:?}"),
    }
    device.finish().expect("which is told once");
    // A record that the driver gives up is a fault, and the device goes on after it.
    device.begin_step();
    device.end_step();
    fake.set("spoil", 1);
    device.begin_step();
    write(&mut device, at, &[9]);
    device.end_step();
    assert!(fault(&mut device).contains("cuStreamEndCapture"));
    fake.set("spoil", 0);
    device.begin_step();
    write(&mut device, at, &[10]);
    device.end_step();
    assert_eq!(read(&mut device, at, 1), [10]);
    drop(device);
    fake.assert_all_is_given_back();
}

#[test]
#[should_panic(expected = "arguments of `fake_add` are those of the kernel")]
fn arguments_of_another_size_are_refused() {
    let fake = Fake::new();
    let mut device = fake.open();
    let at = Pointer(0);
    // SAFETY: refused.
    unsafe {
        device.launch(
            &ADD,
            Element::F32,
            Grid::row(1, 32),
            bytemuck::bytes_of(&at),
        );
    };
}

#[test]
fn moments_are_marked_in_order_and_again() {
    let fake = Fake::new();
    let mut device = fake.open();
    assert!(device.intervals().expect("no fault").is_empty());
    for _ in 0..2 {
        for _ in 0..3 {
            device.mark();
        }
        assert_eq!(device.intervals().expect("no fault"), [5e-4, 5e-4]);
    }
    // Those of before are used again.
    assert_eq!(fake.get("events"), 3);
}
