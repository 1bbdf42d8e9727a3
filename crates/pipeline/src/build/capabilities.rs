//! What an engine of TensorRT for RTX is for.

use std::fmt;
use std::str::FromStr;

use graph::ComputeCapability;
use runtime::{Gpu, Machine};

use crate::Error;

/// The compute capabilities of one engine, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities(Vec<ComputeCapability>);

impl Capabilities {
    /// All of them.
    pub fn all(&self) -> &[ComputeCapability] {
        &self.0
    }

    /// As a part of a file's name: `sm86`, `sm86_sm120`.
    pub(super) fn label(&self) -> String {
        let each: Vec<String> =
            self.0.iter().map(|capability| format!("sm{}", capability.number())).collect();
        each.join("_")
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let each: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        format!("compute capability {}", each.join(", "))
    }

    /// That of this machine's first graphics processor.
    ///
    /// # Errors
    /// [`Error::Options`] when there is none, or none that engines can be built for.
    pub(super) fn of_this_machine() -> Result<Self, Error> {
        Self::of_gpu(Machine::detect().gpus.first())
    }

    fn of_gpu(gpu: Option<&Gpu>) -> Result<Self, Error> {
        let say = |what: String| {
            Error::Options(format!(
                "{what}: say what the engine is for, such as `--compute-capability 8.6,8.9`"
            ))
        };
        let gpu = gpu.ok_or_else(|| say("there is no GPU here".into()))?;
        let own = gpu.compute_capability.as_deref().unwrap_or_default();
        own.parse().map_err(|reason| {
            say(format!("no engine can be built for the {} of this machine ({reason})", gpu.name))
        })
    }
}

impl FromStr for Capabilities {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = text.split('+').map(str::parse).collect::<Result<Vec<ComputeCapability>, _>>()?;
        all.sort_unstable();
        all.dedup();
        match all.iter().find(|capability| !ComputeCapability::RTX.contains(capability)) {
            Some(other) => {
                let known: Vec<String> = ComputeCapability::RTX.iter().map(ToString::to_string).collect();
                Err(format!("TensorRT for RTX builds for {}, not for {other}", known.join(", ")))
            }
            None => Ok(Self(all)),
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&each.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_may_be_for_several() {
        for (text, label) in [("8.6", "sm86"), ("12.0+8.6+8.6", "sm86_sm120")] {
            assert_eq!(text.parse::<Capabilities>().unwrap().label(), label);
        }
        for text in ["", "9.0", "8.6+", "86", "8.6,8.9"] {
            assert!(text.parse::<Capabilities>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_gpu_of_the_right_kind_it_has_to_be_said() {
        let gpu = |own: Option<&str>| Gpu {
            name: "H200".into(),
            memory_mib: None,
            driver: String::new(),
            compute_capability: own.map(str::to_owned),
        };
        assert_eq!(Capabilities::of_gpu(Some(&gpu(Some("8.9")))).unwrap().to_string(), "8.9");
        for own in [None, Some(gpu(Some("9.0"))), Some(gpu(None))] {
            let error = Capabilities::of_gpu(own.as_ref()).unwrap_err().to_string();
            assert!(error.contains("--compute-capability"), "{error}");
        }
    }
}
