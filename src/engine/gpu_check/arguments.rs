//! The command line.

use std::path::PathBuf;

use engine::cuda::nvidia::Options;
use engine::cuda::nvidia::libraries::Surroundings;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
gpu-check --out report.json [--cuda-libs DIR] [--kernels DIR] [--device 0]
          [--only PART]... [--minutes 6] [--small] [--threads N]

  --out FILE        the report, written after each part
  --cuda-libs DIR   where NVRTC and cuBLASLt are, as in `pipeline run`
  --kernels DIR     where compiled kernels are kept (a folder beside the report)
  --device N        which GPU
  --only PART       facts, ops, ops/NAME, gradients, bits, throughput, kernels, sanitizer
  --minutes N       time for throughput (6)
  --small           no sizes of base models
  --threads N       threads of the CPU that is compared with";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) help: bool,
    pub(crate) out: PathBuf,
    pub(crate) libraries: Option<PathBuf>,
    pub(crate) kernels: Option<PathBuf>,
    pub(crate) device: u32,
    pub(crate) only: Vec<String>,
    pub(crate) minutes: f64,
    pub(crate) small: bool,
    pub(crate) threads: usize,
    /// Set by the program itself: this process is a part of another's.
    pub(crate) part: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut made = Self {
            help: false,
            out: PathBuf::new(),
            libraries: None,
            kernels: None,
            device: 0,
            only: Vec::new(),
            minutes: 6.0,
            small: false,
            threads,
            part: None,
        };
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().filter(|value| !value.is_empty());
                value.ok_or_else(|| format!("`{word}` needs a value"))
            };
            match word.as_str() {
                "--out" => made.out = value()?.into(),
                "--cuda-libs" => made.libraries = Some(value()?.into()),
                "--kernels" => made.kernels = Some(value()?.into()),
                "--device" => made.device = number(&value()?)?,
                "--only" => made.only.push(value()?),
                "--minutes" => made.minutes = number(&value()?)?,
                "--threads" => made.threads = number(&value()?)?,
                "--part" => made.part = Some(value()?),
                "--small" => made.small = true,
                "--help" | "-h" => made.help = true,
                other => return Err(format!("`{other}` is no option")),
            }
        }
        if !made.help && made.out.as_os_str().is_empty() {
            return Err("`--out` is missing".to_owned());
        }
        if made.minutes.is_nan() || made.minutes <= 0.0 {
            return Err("`--minutes` is more than 0".to_owned());
        }
        Ok(made)
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings::of_process(self.libraries.clone())
    }

    pub(crate) fn kernels(&self) -> PathBuf {
        let beside = || self.out.with_file_name("gpu-check-kernels");
        self.kernels.clone().unwrap_or_else(beside)
    }

    pub(crate) fn options(&self, graphs: bool) -> Options {
        Options {
            libraries: self.surroundings(),
            cubins: Some(self.kernels()),
            graphs,
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}
