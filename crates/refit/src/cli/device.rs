//! The devices that computations run on.

use super::error::CliError;
use burn::tensor::Device;
use std::{fmt, str::FromStr};

/// A device of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceName {
    /// The processor, with hand-written kernels.
    Cpu,
    /// An NVIDIA GPU by its number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
    /// A discrete GPU by its number, or the best GPU there is, through the graphics interface of the system.
    #[cfg(feature = "wgpu")]
    Wgpu(Option<usize>),
}

/// Most GPUs of one kind.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const MOST: usize = 16;

impl DeviceName {
    /// The engine's device.
    pub(super) fn open(self) -> Device {
        match self {
            Self::Cpu => Device::flex(),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => Device::cuda(number),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(number) => Device::wgpu(number.map_or_else(
                burn::tensor::DeviceKind::default,
                burn::tensor::DeviceKind::DiscreteGpu,
            )),
        }
    }

    /// Computes something small, so that a device that is not there is told of at once.
    ///
    /// # Errors
    /// When the device does not answer.
    #[cfg_attr(
        not(any(feature = "cuda", feature = "wgpu")),
        expect(
            clippy::unnecessary_wraps,
            clippy::unused_self,
            reason = "the processor is always there"
        )
    )]
    pub(super) fn check(self) -> Result<(), CliError> {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if self != Self::Cpu {
            let ask = move || {
                let ones = burn::tensor::Tensor::<1>::ones([2], &self.open());
                ones.sum().into_data().try_to_vec::<f32>().ok()
            };
            // The engine's way of saying that there is no such device is a panic with a message for its developers.
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| ()));
            let answer = std::panic::catch_unwind(ask);
            std::panic::set_hook(hook);
            if !matches!(answer.as_ref().map(Option::as_deref), Ok(Some([sum])) if (sum - 2.0).abs() < 1e-6)
            {
                let words = format!("--device {self} does not answer");
                let hint = "see whether its driver is there, or leave --device out to compute on the processor";
                return Err(CliError::plain(super::error::Exit::Failed, words).hint(hint));
            }
        }
        Ok(())
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(None) => f.write_str("wgpu"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(Some(number)) => write!(f, "wgpu:{number}"),
        }
    }
}

/// `cpu`, and in builds that have them `cuda`, `cuda:1`, `wgpu`, `wgpu:1`.
impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (text, None),
        };
        match (kind, number) {
            ("cpu", None) => Ok(Self::Cpu),
            #[cfg(feature = "cuda")]
            ("cuda", number) => numbered(number.unwrap_or("0")).map(Self::Cuda),
            #[cfg(feature = "wgpu")]
            ("wgpu", number) => number.map(numbered).transpose().map(Self::Wgpu),
            #[allow(unreachable_patterns, reason = "the features add arms of these names")]
            ("cuda" | "wgpu", _) => Err(format!(
                "this build does not compute on `{kind}`; build it with `--features {kind}`"
            )),
            _ => Err("expected `cpu`, `cuda:N` or `wgpu:N`".into()),
        }
    }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn numbered(number: &str) -> Result<usize, String> {
    let found = number.parse().ok().filter(|&n| n < MOST);
    found.ok_or_else(|| format!("expected a number below {MOST} after the colon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_they_are_parsed() {
        assert_eq!("cpu".parse(), Ok(DeviceName::Cpu));
        assert_eq!(DeviceName::Cpu.to_string(), "cpu");
        assert!("cpu:0".parse::<DeviceName>().is_err());
        assert!(
            "tpu"
                .parse::<DeviceName>()
                .unwrap_err()
                .contains("`cuda:N`")
        );
        #[cfg(not(feature = "cuda"))]
        assert!(
            "cuda:0"
                .parse::<DeviceName>()
                .unwrap_err()
                .contains("--features cuda")
        );
        #[cfg(feature = "cuda")]
        assert!(
            "cuda".parse() == Ok(DeviceName::Cuda(0)) && "cuda:16".parse::<DeviceName>().is_err()
        );
    }
}
