//! The time, from outside, so that tests decide it. Knows nothing of who asks.

use std::time::{Instant, SystemTime};

/// Tells the time to the views.
pub trait Clock {
    /// Seconds since some fixed moment; never goes back.
    fn seconds(&self) -> f64;

    /// The calendar time, for log lines.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock(Instant);

impl Default for MachineClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MachineClock {
    fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn wall(&self) -> SystemTime {
        flow::clock::now()
    }
}

impl<C: Clock + ?Sized> Clock for std::rc::Rc<C> {
    fn seconds(&self) -> f64 {
        (**self).seconds()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct HandClock(std::cell::Cell<f64>);

#[cfg(test)]
impl HandClock {
    pub(crate) fn advance(&self, seconds: f64) {
        self.0.set(self.0.get() + seconds);
    }
}

#[cfg(test)]
impl Clock for HandClock {
    fn seconds(&self) -> f64 {
        self.0.get()
    }

    fn wall(&self) -> SystemTime {
        // 2026-11-21T01:19:00Z
        SystemTime::UNIX_EPOCH
            + std::time::Duration::from_secs(1_795_223_940)
            + std::time::Duration::from_secs_f64(self.0.get())
    }
}
