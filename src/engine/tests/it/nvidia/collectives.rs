//! Sums over several devices, with NCCL and without.

use std::os::unix::net::UnixStream;

use engine::collective::{Collective as _, Processes};
use engine::cuda::driver::Driver as _;
use engine::error::DeviceError;

use super::Fake;

const SIZE: usize = 3;
const LEN: usize = 1001;

/// Two sums in a row on three devices; what each reads, or what was said.
fn sums(fake: &Fake) -> Vec<Result<Vec<f32>, DeviceError>> {
    fake.set("devices", SIZE as i64);
    let pairs = (1..SIZE).map(|_| UnixStream::pair().expect("sockets"));
    let (firsts, others): (Vec<_>, Vec<_>) = pairs.unzip();
    let mut all = vec![Processes::first(firsts).expect("sockets")];
    for (socket, rank) in others.into_iter().zip(1..) {
        all.push(Processes::other(rank, SIZE, socket).expect("a socket"));
    }
    let one = |mut group: Processes| {
        let rank = group.rank();
        let mut device = fake.open_at(rank as u32);
        let at = device.allocate(4 * LEN)?;
        let own: Vec<f32> = (0..LEN).map(|i| (i * (rank + 1)) as f32).collect();
        device.write(at, bytemuck::cast_slice(&own));
        for _ in 0..2 {
            if !device.sum_over(&mut group, at, LEN)? {
                return Ok(Vec::new());
            }
        }
        let mut sums = vec![0.0; LEN];
        device.read(at, bytemuck::cast_slice_mut(&mut sums));
        device.finish().map(|()| sums)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|group| scope.spawn(move || one(group)))
            .collect();
        let ends = threads.into_iter().map(|one| one.join().expect("no panic"));
        ends.collect()
    })
}

#[test]
fn sums_are_those_of_all_devices_where_there_is_a_library() {
    let fake = Fake::new();
    for found in sums(&fake) {
        assert!(found.expect("no fault").is_empty(), "there is none");
    }
    fake.put("libnccl.so.2");
    for found in sums(&fake) {
        let found = found.expect("no fault");
        for (i, value) in found.iter().enumerate() {
            assert_eq!(*value, (SIZE * 6 * i) as f32);
        }
    }
    fake.assert_all_is_given_back();
}

#[test]
fn a_library_that_does_not_work_is_said() {
    let fake = Fake::new();
    fake.put("libnccl.so.2");
    fake.set("nccl_fault", 5);
    for found in sums(&fake) {
        let text = found.expect_err("it refuses").to_string();
        assert!(
            text.contains("ncclCommInitRank: NCCL says 5: it is used wrongly"),
            "{text}"
        );
    }
    fake.assert_all_is_given_back();
}
