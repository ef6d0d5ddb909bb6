//! Several processes of this program that carry one stage out together: which of them this is, its device, and what it is
//! told by the first. Knows no model and no steps.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::collective::{Collective, Processes, Seat};
use engine::error::DeviceError;
use flow::kind::{StageContext, StageError};

use super::members::{END, Watch, end_with, start};
use super::train_error;
use crate::kinds::device;

/// One's place among the processes of a stage.
#[derive(Debug)]
pub(in crate::kinds) struct Group {
    seat: Seat,
    device: String,
    processes: Shared,
    watch: Option<Watch>,
}

impl Group {
    /// The group of a stage that several processes carry out: started by the first of them, joined by others.
    ///
    /// # Errors
    /// When a device is missing, or a process cannot be started.
    pub(in crate::kinds) fn gather(
        stage: &StageContext,
        precision: Precision,
    ) -> Result<Option<Self>, StageError> {
        let Some(together) = &stage.together else {
            return Ok(None);
        };
        let seat = Seat {
            rank: together.rank as usize,
            size: together.size as usize,
        };
        let (device, processes, watch) = match seat.rank {
            0 => {
                let mut devices = device::one_each(stage, precision, together.size)?;
                let (sockets, watch) = start(together, &devices)?;
                let processes = Processes::first(sockets).map_err(device_error)?;
                (devices.swap_remove(0), processes, Some(watch))
            }
            rank => {
                let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
                end_with(socket.try_clone()?)?;
                let processes = Processes::other(rank, seat.size, UnixStream::from(socket));
                let device = stage.device.clone().unwrap_or_else(|| "auto".to_owned());
                (device, processes.map_err(device_error)?, None)
            }
        };
        Ok(Some(Self {
            seat,
            device,
            processes: Shared(Arc::new(Mutex::new(processes))),
            watch,
        }))
    }

    /// Which of them this is.
    pub(in crate::kinds) fn seat(&self) -> Seat {
        self.seat
    }

    /// The device of this one.
    pub(in crate::kinds) fn device(&self) -> &str {
        &self.device
    }

    /// What a trainer adds up by.
    pub(in crate::kinds) fn collective(&self) -> Box<dyn Collective> {
        Box::new(self.processes.clone())
    }

    /// A number that the first knows, or knows not to be; what others say is not asked.
    ///
    /// # Errors
    /// When another process is gone.
    pub(in crate::kinds) fn tell(
        &mut self,
        number: Option<u64>,
    ) -> Result<Option<u64>, StageError> {
        // Pieces that f32 holds exactly.
        let mut pieces = [0.0_f32; 5];
        if let (0, Some(number)) = (self.seat.rank, number) {
            pieces[0] = 1.0;
            for (piece, at) in pieces[1..].iter_mut().zip([0, 16, 32, 48]) {
                *piece = (number >> at & 0xffff) as f32;
            }
        }
        let told = self.processes.sum(&mut pieces);
        told.map_err(|error| self.explain(device_error(error)))?;
        let known = pieces[1..].iter().rev();
        let number = known.fold(0, |number, piece| number << 16 | *piece as u64);
        Ok((pieces[0] > 0.0).then_some(number))
    }

    /// What went wrong with another process, where that is why this one failed.
    pub(in crate::kinds) fn explain(&self, error: StageError) -> StageError {
        let (Some(watch), true) = (&self.watch, error.diagnostic.code == DEVICE) else {
            return error;
        };
        let since = Instant::now();
        while since.elapsed() < END {
            if let Some(lost) = watch.lost() {
                return lost;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        error
    }
}

/// The code of faults of a device, those of a group among them.
const DEVICE: &str = "engine::device";

fn device_error(error: DeviceError) -> StageError {
    train_error(error.into())
}

/// One connection for a trainer and for its owner.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Processes>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Processes> {
        self.0.lock().expect("nobody panics while it is held")
    }
}

impl Collective for Shared {
    fn rank(&self) -> usize {
        self.lock().rank()
    }

    fn size(&self) -> usize {
        self.lock().size()
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DeviceError> {
        self.lock().sum(values)
    }
}

#[cfg(test)]
mod tests {
    use flow::exec::job::ExecResult;

    use super::super::members::tests::others;
    use super::*;

    fn explained(script: &str, error: StageError) -> StageError {
        let folder = tempfile::tempdir().expect("temp");
        let socket = UnixStream::pair().expect("sockets").0;
        let group = Group {
            seat: Seat { rank: 0, size: 2 },
            device: "cpu".to_owned(),
            processes: Shared(Arc::new(Mutex::new(
                Processes::first(vec![socket]).expect("a socket"),
            ))),
            watch: Some(others(script, folder.path().join("result"))),
        };
        group.explain(error)
    }

    #[test]
    fn what_another_process_says_is_what_the_stage_says() {
        let gone = || StageError::new(DEVICE, "the group of processes failed");
        let own = StageError::new("engine::no_library", "there is no NVRTC").environment();
        let said = serde_json::to_string(&ExecResult::Err(own)).expect("errors serialise");
        let error = explained(&format!("printf '%s' '{said}'; exit 1"), gone());
        let text = &error.diagnostic.message;
        assert_eq!(text, "process 2 of 2: there is no NVRTC");
        assert_eq!(error.diagnostic.code, "engine::no_library");
        let error = explained("kill -9 $$", gone());
        let text = &error.diagnostic.message;
        assert_eq!(text, "process 2 of 2 was killed by SIGKILL");
        assert!(error.may_pass && error.diagnostic.help.is_some());
        let error = explained("echo nonsense; exit 3", gone());
        let text = &error.diagnostic.message;
        assert!(text.starts_with("process 2 of 2 ended without a result"));
        // What is the first's own stays so, whatever became of others.
        let other = StageError::new("engine::not_finite", "the loss is not finite");
        let error = explained("exit 3", other);
        assert_eq!(error.diagnostic.code, "engine::not_finite");
    }
}
