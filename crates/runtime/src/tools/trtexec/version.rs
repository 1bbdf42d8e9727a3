//! Versions of TensorRT, and which of its two generations one belongs to.

use serde::{Deserialize, Serialize};

/// A version of TensorRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

/// How a TensorRT is told which numbers to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Up to 10: by flags and a calibration cache.
    Flags,
    /// From 11 on: by the types in the graph; the flags are unknown options.
    Graph,
}

impl Version {
    /// The first one whose `trtexec` takes every option that is used here.
    pub const OLDEST: Self = Self { major: 8, minor: 6, patch: 0 };

    /// From `NV_TENSORRT_VERSION`, which stands in every log and every calibration cache: up to 9 with one digit for the
    /// minor version (8601), from 10 on with two (101601).
    pub fn from_number(number: u32) -> Self {
        match number {
            ..10_000 => Self { major: number / 1000, minor: number / 100 % 10, patch: number % 100 },
            _ => Self { major: number / 10_000, minor: number / 100 % 100, patch: number % 100 },
        }
    }

    /// `NV_TENSORRT_VERSION`.
    pub fn number(self) -> u32 {
        let Self { major, minor, patch } = self;
        if major < 10 { major * 1000 + minor * 100 + patch } else { major * 10_000 + minor * 100 + patch }
    }

    /// How it is told which numbers to compute with.
    pub fn generation(self) -> Generation {
        if self.major < 11 { Generation::Flags } else { Generation::Graph }
    }

    /// Whether graphs may have inputs and outputs of `int64`; before, they were made `int32`.
    pub fn has_int64(self) -> bool {
        self.major >= 10
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_forms() {
        let cases = [
            (8601, "8.6.1", Generation::Flags),
            (8602, "8.6.2", Generation::Flags),
            (9300, "9.3.0", Generation::Flags),
            (100_000, "10.0.0", Generation::Flags),
            (101_601, "10.16.1", Generation::Flags),
            (110_100, "11.1.0", Generation::Graph),
        ];
        for (number, text, generation) in cases {
            let version = Version::from_number(number);
            assert_eq!(
                (version.to_string().as_str(), version.generation(), version.number()),
                (text, generation, number)
            );
        }
        assert!(Version::from_number(8503) < Version::OLDEST && Version::OLDEST < Version::from_number(8601));
    }
}
