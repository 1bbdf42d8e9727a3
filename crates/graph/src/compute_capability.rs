//! Generations of NVIDIA's graphics processors, by the number that CUDA gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A compute capability: 8.6 is Ampere, 8.9 Ada, 12.0 Blackwell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u8,
    /// Behind it.
    pub minor: u8,
}

impl ComputeCapability {
    /// Those that TensorRT for RTX 1.7 builds for, in the order of the bits in an engine's header.
    pub const RTX: [Self; 6] = [
        Self::new(7, 5),
        Self::new(8, 0),
        Self::new(8, 6),
        Self::new(8, 9),
        Self::new(12, 0),
        Self::new(12, 1),
    ];

    /// `major.minor`.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// The number without a point, as compilers write it: 86, 120.
    pub fn number(self) -> u32 {
        u32::from(self.major) * 10 + u32::from(self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.trim().split_once('.');
        let numbers = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match numbers {
            Some((major, minor)) if minor < 10 => Ok(Self { major, minor }),
            _ => Err(format!("`{text}` is no compute capability: write it with a point, such as 8.6")),
        }
    }
}

impl TryFrom<String> for ComputeCapability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ComputeCapability> for String {
    fn from(capability: ComputeCapability) -> Self {
        capability.to_string()
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_written_with_a_point() {
        for (text, number) in [("8.6", Some(86)), ("12.0", Some(120)), (" 7.5", Some(75))] {
            let read: Option<ComputeCapability> = text.parse().ok();
            assert_eq!(read.map(ComputeCapability::number), number, "{text}");
        }
        for text in ["", "86", "8.", ".6", "8.66", "a.b", "8.6.1", "-8.6", "300.0"] {
            assert!(text.parse::<ComputeCapability>().is_err(), "{text}");
        }
        assert_eq!(serde_json::to_string(&ComputeCapability::RTX[2]).unwrap(), "\"8.6\"");
    }
}
