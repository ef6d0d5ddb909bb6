//! The time, from outside, so that tests decide it. Knows nothing of who asks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// Tells the time to the views.
pub trait Clock {
    /// Seconds since some fixed moment; never goes back.
    fn seconds(&self) -> f64;

    /// The calendar time, for log lines.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks, or the moment that is told of when a run is followed from its files.
#[derive(Clone, Debug)]
pub struct MachineClock {
    origin: Instant,
    told: Rc<Cell<Option<SystemTime>>>,
}

impl MachineClock {
    /// Stands at a moment of the past until told otherwise; all clones do.
    pub fn tell(&self, moment: Option<SystemTime>) {
        self.told.set(moment);
    }
}

impl Default for MachineClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            told: Rc::default(),
        }
    }
}

impl Clock for MachineClock {
    fn seconds(&self) -> f64 {
        let ago = self.told.get().map_or(0.0, |moment| {
            // Another machine's clock may be ahead of ours.
            let ago = flow::clock::now().duration_since(moment);
            ago.map_or(0.0, |ago| ago.as_secs_f64())
        });
        self.origin.elapsed().as_secs_f64() - ago
    }

    fn wall(&self) -> SystemTime {
        self.told.get().unwrap_or_else(flow::clock::now)
    }
}

impl<C: Clock + ?Sized> Clock for Rc<C> {
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
