//! How fast a counter grows and when it will be done, without jumping about. Knows nothing of what is counted.

use std::collections::VecDeque;

use super::format::to_float;

/// The rate is taken over so many seconds.
const WINDOW_SECONDS: f64 = 20.0;
/// Readings closer than this replace each other.
const SPACING_SECONDS: f64 = 0.1;
/// The estimate follows new evidence with this time constant.
const SMOOTHING_SECONDS: f64 = 10.0;
/// A rate from less than this says nothing.
const FIRST_RATE_SECONDS: f64 = 1.0;
const FIRST_ESTIMATE_SECONDS: f64 = 3.0;

/// The pace of one counter.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    readings: VecDeque<(f64, u64)>,
    rate: Option<f64>,
    finish: Option<f64>,
    refreshed: Option<f64>,
}

impl Pace {
    /// Takes a reading; one that goes back starts over.
    pub fn add(&mut self, now: f64, done: u64) {
        let has_window = self.readings.len() > 1;
        match self.readings.back_mut() {
            Some((_, last)) if done < *last => {
                *self = Self::default();
                self.readings.push_back((now, done));
            }
            Some((time, last)) if has_window && now - *time < SPACING_SECONDS => {
                *last = done;
            }
            _ => self.readings.push_back((now, done)),
        }
        while self
            .readings
            .get(1)
            .is_some_and(|(time, _)| *time <= now - WINDOW_SECONDS)
        {
            self.readings.pop_front();
        }
    }

    /// Computes anew what is shown, once a second at most.
    pub fn refresh(&mut self, now: f64, total: Option<u64>) {
        if self.refreshed.is_some_and(|last| now - last < 1.0) {
            return;
        }
        let since = self.refreshed.map_or(0.0, |last| now - last);
        self.refreshed = Some(now);
        let (Some(&(first_time, first)), Some(&(last_time, last))) =
            (self.readings.front(), self.readings.back())
        else {
            return;
        };
        // A counter that stands still for longer than its readings are apart has stalled, and its rate sinks.
        let gaps = to_float(self.readings.len().saturating_sub(1) as u64).max(1.0);
        let usual_gap = ((last_time - first_time) / gaps).max(1.0);
        let end = if now - last_time > 2.0 * usual_gap {
            now
        } else {
            last_time
        };
        let seconds = end - first_time;
        if seconds < FIRST_RATE_SECONDS {
            return;
        }
        let rate = to_float(last - first) / seconds;
        self.rate = Some(rate);
        let Some(total) = total.filter(|total| *total >= last) else {
            self.finish = None;
            return;
        };
        if seconds < FIRST_ESTIMATE_SECONDS || rate <= 0.0 {
            return;
        }
        let estimate = end + to_float(total - last) / rate;
        self.finish = Some(match self.finish {
            Some(old) if (estimate - old).abs() < 0.5 * (old - now).max(10.0) => {
                old + (estimate - old) * (1.0 - (-since / SMOOTHING_SECONDS).exp())
            }
            _ => estimate,
        });
    }

    /// Units a second over the window.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Seconds left, in steps that do not flicker: 5 s above a minute.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        let left = (self.finish? - now).max(0.0);
        Some(if left >= 60.0 {
            (left / 5.0).round() * 5.0
        } else {
            left.round()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `rate(t)` units a second for `seconds`, ten readings a second.
    fn fed(seconds: u32, total: u64, rate: impl Fn(f64) -> f64) -> (Pace, Vec<f64>) {
        let (mut pace, mut done, mut shown) = (Pace::default(), 0.0, Vec::new());
        for tick in 0..seconds * 10 {
            let now = f64::from(tick) / 10.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small and positive"
            )]
            pace.add(now, done as u64);
            pace.refresh(now, Some(total));
            if tick % 10 == 0 {
                shown.extend(pace.seconds_left(now).map(|left| left + now));
            }
            done += rate(now) / 10.0;
        }
        (pace, shown)
    }

    #[test]
    fn a_steady_counter_has_a_steady_end() {
        let (pace, ends) = fed(60, 100_000, |_| 100.0);
        assert!((pace.rate().expect("known") - 100.0).abs() < 1.0);
        assert!(
            ends.iter().all(|end| (end - 1000.0).abs() <= 10.0),
            "{ends:?}"
        );
    }

    #[test]
    fn a_jittery_counter_does_not_jump() {
        let (_, ends) = fed(120, 100_000, |now| {
            if (now * 10.0).round() % 7.0 < 3.5 {
                40.0
            } else {
                160.0
            }
        });
        let late = &ends[20..];
        let jumps = late.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(jumps.fold(0.0, f64::max) < 60.0, "{late:?}");
    }

    #[test]
    fn a_counter_that_changes_pace_is_followed_and_one_that_stalls_sinks() {
        let (pace, _) = fed(90, 100_000, |now| if now < 45.0 { 100.0 } else { 10.0 });
        assert!((pace.rate().expect("known") - 10.0).abs() < 1.0);
        let (mut pace, _) = fed(30, 100_000, |_| 100.0);
        pace.refresh(300.0, Some(100_000));
        assert!(pace.rate().expect("known") < 10.0);
    }

    #[test]
    fn early_backward_and_endless_counters() {
        let mut pace = Pace::default();
        pace.add(0.0, 0);
        pace.add(0.5, 50);
        pace.refresh(0.5, Some(100));
        assert_eq!(pace.rate(), None);
        assert_eq!(pace.seconds_left(0.5), None);
        pace.add(1.0, 10);
        assert_eq!(pace.readings.len(), 1);
        let (pace, _) = fed(1000, 1_000_000, |_| 5.0);
        assert!(pace.readings.len() <= 202, "bounded memory");
    }
}
