//! Signals to this process: as messages for a runner, as a flag for a stage. The one door to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Hearing signals; ends when dropped.
#[derive(Debug)]
pub(crate) struct Listening(signal_hook::iterator::Handle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Tells of each request to stop, from a thread of its own, until `tell` wants no more.
pub(crate) fn listen(mut tell: impl FnMut(i32) -> bool + Send + 'static) -> io::Result<Listening> {
    // `nohup` has us ignore a hang-up, and means it. SIGINT is heard in any case: a shell without job control has
    // each background job ignore it, and people still stop such a run with `kill -INT`.
    let heard = [SIGINT, SIGTERM, SIGHUP, SIGUSR1]
        .into_iter()
        .filter(|signal| *signal != SIGHUP || !is_ignored(*signal));
    let mut signals = signal_hook::iterator::Signals::new(heard)?;
    let listening = Listening(signals.handle());
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if !tell(signal) {
                    return;
                }
            }
        })?;
    Ok(listening)
}

/// A flag that rises when this process is asked to stop (SIGTERM or SIGINT), for work that then keeps what it has. From
/// here on it is the caller's duty to look at it: the signals themselves end nothing any more.
///
/// # Errors
/// When the system refuses a handler.
pub fn asked_to_stop() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

/// Whether this process was started with a signal ignored, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
