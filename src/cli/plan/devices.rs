//! How fast devices train, by name: what their makers state, and what of it is taken to be reached. Measures this
//! machine alone; knows no stages.

use std::time::Duration;

use clap::ValueEnum;

use engine::backend::Precision;

use crate::kinds::speed::products_per_second;

/// A device that `plan --on` counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// NVIDIA H200 (SXM), one.
    H200,
    /// NVIDIA H100 (SXM), one.
    H100,
    /// NVIDIA A100, one.
    A100,
    /// The eight cores of a TPU v3-8, as the paper used them.
    #[value(name = "tpu-v3-8")]
    TpuV38,
}

/// Share of a GPU's stated speed that training is taken to reach: what the best programs for such networks reach on an
/// H100. Spec H.2, H.3.
const OF_GPU: f64 = 0.4;
/// Share of its products alone that a training step reaches on a processor, about (`docs/speed.md`).
const OF_PROCESSOR: f64 = 0.7;
/// Operations a second of the paper's training on a TPU v3-8: 8.765e19 in ten days. Spec H.1, H.3.
const OF_PAPER: f64 = 8.765e19 / (10.0 * 86_400.0);
/// How long this machine is measured.
const TIMED: Duration = Duration::from_millis(150);

/// Speed in one precision, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Speed {
    /// Operations a second.
    pub(super) flop_per_second: f64,
    /// Whether padding is computed.
    pub(super) computes_padding: bool,
    /// What it rests on, a lower-case fragment.
    pub(super) because: String,
}

impl Device {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Operations a second that its maker states for dense products in bf16 and, without tensor cores, in f32; `None`
    /// where the paper's time counts.
    fn stated(self) -> Option<(f64, f64)> {
        match self {
            Self::H200 | Self::H100 => Some((989e12, 67e12)),
            Self::A100 => Some((312e12, 19.5e12)),
            Self::TpuV38 => None,
        }
    }

    /// How fast it trains.
    pub(super) fn speed(self, precision: Precision) -> Speed {
        let name = self.name();
        let Some((bf16, f32)) = self.stated() else {
            return Speed {
                flop_per_second: OF_PAPER,
                computes_padding: true,
                because: format!(
                    "`{name}`: {} TFLOP/s, which the paper's ten days come to, padding computed",
                    tera(OF_PAPER)
                ),
            };
        };
        let stated = match precision {
            Precision::Bf16 => bf16,
            Precision::F32 => f32,
        };
        Speed {
            flop_per_second: OF_GPU * stated,
            computes_padding: false,
            because: format!(
                "`{name}`: {} % of {} TFLOP/s in {}, assumed and not measured",
                100.0 * OF_GPU,
                tera(stated),
                precision.name()
            ),
        }
    }
}

fn tera(flop_per_second: f64) -> String {
    format!("{:.3}", flop_per_second / 1e12)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .chars()
        .take(5)
        .collect()
}

/// How fast this machine trains, by a product that is measured now.
///
/// # Errors
/// When there are no threads or no memory to be had.
pub(super) fn this_machine(precision: Precision) -> Result<Speed, String> {
    let threads = flow::store::record::this_machine().cores.max(1);
    let products = products_per_second(precision, threads as usize, TIMED)?;
    Ok(Speed {
        flop_per_second: OF_PROCESSOR * products,
        computes_padding: false,
        because: format!(
            "this machine: {} % (assumed) of {:.0} GFLOP/s in {}, measured now for products alone",
            100.0 * OF_PROCESSOR,
            products / 1e9,
            precision.name()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: f64 = 8.765e19;

    #[test]
    fn the_papers_training_takes_what_the_specification_says() {
        // Spec H.2: 61.5 h at 40 % of an H200; H.3: ten days on a TPU v3-8.
        let hours = |device: Device| {
            let speed = device.speed(Precision::Bf16);
            PAPER / speed.flop_per_second / 3600.0
        };
        assert!((hours(Device::H200) - 61.5).abs() < 0.1);
        assert!((hours(Device::TpuV38) - 240.0).abs() < 1e-6);
        assert!(Device::TpuV38.speed(Precision::F32).computes_padding);
    }

    #[test]
    fn assumptions_are_said() {
        assert_eq!(
            Device::H200.speed(Precision::Bf16).because,
            "`h200`: 40 % of 989 TFLOP/s in bf16, assumed and not measured"
        );
        assert_eq!(
            Device::A100.speed(Precision::F32).because,
            "`a100`: 40 % of 19.5 TFLOP/s in f32, assumed and not measured"
        );
        assert_eq!(
            Device::TpuV38.speed(Precision::Bf16).because,
            "`tpu-v3-8`: 101.4 TFLOP/s, which the paper's ten days come to, padding computed"
        );
        let here = this_machine(Precision::F32).expect("threads");
        assert!(here.flop_per_second > 0.0);
        assert!(here.because.starts_with("this machine: 70 % (assumed) of "));
    }
}
