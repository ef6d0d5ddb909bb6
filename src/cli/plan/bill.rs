//! Times of what was never timed, by the speed of a device, and what a plan comes to. Knows no kinds.

use std::collections::BTreeMap;

use engine::backend::Precision;
use flow::diagnostic::Failure;
use flow::plan::{PlanRow, PlanState, SecondsBy};

use super::devices::{Device, Speed, this_machine};
use crate::cli::doctor::unusable;
use crate::console::format;

/// Assumptions that people are told of.
const MOST_ASSUMED: usize = 8;

/// Expects times of stages whose operations are counted: on a named device of all of them, on this one of those without
/// a past time. `processes` tells of which stages the speed of a device tells anything, and by how many processes they are
/// carried out, each of which has a named device of its own. Returns what the times rest on.
///
/// # Errors
/// When this machine cannot be computed on.
pub(super) fn expect_times(
    rows: &mut [PlanRow],
    on: Option<Device>,
    processes: impl Fn(usize) -> Option<u32>,
) -> Result<Vec<String>, Failure> {
    let mut speeds: BTreeMap<&'static str, Speed> = BTreeMap::new();
    for (index, row) in rows.iter_mut().enumerate() {
        let Some(flop) = row.flop else {
            continue;
        };
        if on.is_none() && row.seconds.is_some() {
            continue;
        }
        let Some(processes) = processes(index) else {
            continue;
        };
        let precision = match row.precision {
            Some("bf16") => Precision::Bf16,
            _ => Precision::F32,
        };
        let speed = match speeds.get(precision.name()) {
            Some(speed) => speed,
            None => {
                let speed = match on {
                    Some(device) => device.speed(precision),
                    None => this_machine(precision).map_err(|error| unusable(&error))?,
                };
                speeds.entry(precision.name()).or_insert(speed)
            }
        };
        let computed = row.padded_flop.filter(|_| speed.computes_padding);
        // Processes on this machine share its speed.
        let devices = on.map_or(1.0, |_| f64::from(processes));
        row.seconds = Some(computed.unwrap_or(flop) / (devices * speed.flop_per_second));
        row.seconds_by = Some(SecondsBy::Speed);
        row.assumed.push(speed.because.clone());
    }
    let mut because: Vec<String> = speeds.into_values().map(|speed| speed.because).collect();
    because.dedup();
    Ok(because)
}

/// `8.77e19`.
pub(super) fn operations(flop: f64) -> String {
    format!("{flop:.2e}")
}

/// What the rows of a state come to; `None` where nothing of it is known.
pub(super) fn total(rows: &[PlanRow], state: PlanState) -> Option<String> {
    let rows: Vec<&PlanRow> = rows.iter().filter(|row| row.state == state).collect();
    let sum = |value: fn(&PlanRow) -> Option<f64>| {
        let known: Vec<f64> = rows.iter().filter_map(|row| value(row)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>())
    };
    let mut words = Vec::new();
    if let Some(flop) = sum(|row| row.flop) {
        words.push(format!("{} FLOP", operations(flop)));
    }
    if let Some(tokens) = sum(|row| row.tokens) {
        words.push(format!("{tokens:.2e} tokens"));
    }
    if let Some(seconds) = sum(|row| row.seconds) {
        let by = |by: SecondsBy| rows.iter().any(|row| row.seconds_by == Some(by));
        let by = match (by(SecondsBy::Past), by(SecondsBy::Speed)) {
            (true, true) => "by past times and by speed",
            (false, true) => "by speed",
            _ => "by past times",
        };
        words.push(format!("about {} {by}", format::duration(seconds)));
    }
    if let Some(bytes) = sum(|row| row.bytes.map(|bytes| bytes as f64)) {
        words.push(format!("{} of results", format::bytes(bytes as u64)));
    }
    if let Some(scratch) = rows.iter().filter_map(|row| row.scratch_bytes).max() {
        let scratch = format::bytes(scratch);
        words.push(format!("up to {scratch} more while a stage is at work"));
    }
    if words.is_empty() {
        return None;
    }
    let untimed = rows.iter().filter(|row| row.seconds.is_none()).count();
    if untimed > 0 {
        words.push(format!(
            "{} of unknown time",
            format::counted(untimed, "stage")
        ));
    }
    let name = match state {
        PlanState::WillRun => "will run",
        PlanState::MayRun => "may run",
        PlanState::Cached => "cached",
    };
    Some(format!("{name}: {}", words.join(", ")))
}

/// What was assumed of what is not known yet, each once; nothing of speeds, which have a line of their own.
pub(super) fn assumed(rows: &[PlanRow], speeds: &[String]) -> Option<String> {
    let mut words: Vec<&str> = Vec::new();
    for word in rows.iter().flat_map(|row| &row.assumed) {
        if !words.contains(&word.as_str()) && !speeds.contains(word) {
            words.push(word);
        }
    }
    if words.is_empty() {
        return None;
    }
    let more = match words.len().saturating_sub(MOST_ASSUMED) {
        0 => String::new(),
        more => format!("; and {more} more, which `--json` has"),
    };
    words.truncate(MOST_ASSUMED);
    Some(format!("assumed: {}{more}", words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: PlanState, flop: Option<f64>, seconds: Option<f64>) -> PlanRow {
        PlanRow {
            stage: "stage".to_owned(),
            state,
            because: String::new(),
            seconds,
            seconds_by: seconds.map(|_| SecondsBy::Past),
            flop,
            padded_flop: flop.map(|flop| 2.0 * flop),
            tokens: None,
            precision: Some("bf16"),
            bytes: None,
            scratch_bytes: None,
            device_bytes: None,
            assumed: vec!["a guess".to_owned()],
            offer: None,
            forbidden: Vec::new(),
            absent: Vec::new(),
            by_choice: None,
        }
    }

    #[test]
    fn named_devices_stand_in_for_past_times_and_add_padding_where_they_compute_it() {
        let rows = || {
            vec![
                row(PlanState::WillRun, Some(989e12), Some(7.0)),
                row(PlanState::MayRun, None, Some(3.0)),
                row(PlanState::MayRun, Some(989e12), None),
            ]
        };
        let mut counted = rows();
        let speeds = expect_times(&mut counted, Some(Device::H200), |index| {
            (index != 2).then_some(1)
        });
        assert_eq!(speeds.expect("named").len(), 1);
        let seconds: Vec<_> = counted.iter().map(|row| row.seconds).collect();
        assert_eq!(seconds, [Some(2.5), Some(3.0), None]);
        let will = total(&counted, PlanState::WillRun).expect("known");
        assert_eq!(will, "will run: 9.89e14 FLOP, about 2.5 s by speed");
        let may = total(&counted, PlanState::MayRun).expect("known");
        let expected = "may run: 9.89e14 FLOP, about 3 s by past times, 1 stage of unknown time";
        assert_eq!(may, expected);
        assert_eq!(total(&counted, PlanState::Cached), None);
        let mut shared = rows();
        expect_times(&mut shared, Some(Device::H200), |_| Some(4)).expect("named");
        assert_eq!(shared[0].seconds, Some(2.5 / 4.0));
        let mut padded = rows();
        expect_times(&mut padded, Some(Device::TpuV38), |_| Some(1)).expect("named");
        let expected = 2.0 * 989e12 / (8.765e19 / 864_000.0);
        let found = padded[0].seconds.expect("counted");
        assert!((found - expected).abs() < 1e-9);
    }

    #[test]
    fn this_machine_is_measured_only_for_what_was_never_timed() {
        let mut timed = vec![row(PlanState::WillRun, Some(1e9), Some(7.0))];
        assert!(
            expect_times(&mut timed, None, |_| Some(1))
                .expect("nothing to measure")
                .is_empty()
        );
        assert_eq!(timed[0].seconds, Some(7.0));
        let mut new = vec![row(PlanState::WillRun, Some(1e9), None)];
        let speeds = expect_times(&mut new, None, |_| Some(1)).expect("threads");
        assert_eq!(new[0].seconds_by, Some(SecondsBy::Speed));
        assert_eq!(new[0].assumed, ["a guess".to_owned(), speeds[0].clone()]);
        assert_eq!(assumed(&new, &speeds).as_deref(), Some("assumed: a guess"));
    }

    #[test]
    fn few_assumptions_are_told_and_the_rest_counted() {
        let mut many = row(PlanState::WillRun, None, None);
        many.assumed = (0..11).map(|i| format!("guess {i}")).collect();
        let told = assumed(&[many], &[]).expect("some");
        assert!(
            told.ends_with("guess 7; and 3 more, which `--json` has"),
            "{told}"
        );
    }
}
