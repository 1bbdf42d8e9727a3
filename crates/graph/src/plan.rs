//! The header of a TensorRT plan ("engine"): which TensorRT made it.
//!
//! A plan only runs with the TensorRT version and the GPU that it was built for. The first 28 bytes name the version;
//! of TensorRT, the GPU is written nowhere that can be read without it. The 64 bytes of TensorRT for RTX hold the size of the
//! plan (at 16) and a bit for each compute capability that it is for (at 32), as engines of version 1.7.1 show. Ultralytics puts a length and JSON in front of the plan,
//! which TensorRT's own tools stumble over. Layout: `samples/common/sampleEngines.cpp` of the TensorRT repository (9.x on)
//! and NVIDIA's description for 8.6.

use serde::Serialize;

use crate::{ComputeCapability, Error};

/// How a plan of TensorRT begins.
const MAGIC: [u8; 4] = *b"ftrt";
/// How a plan of TensorRT for RTX begins, and how the second half of its header does.
const RTX_MAGIC: [u8; 4] = *b"vtrt";
/// Bytes of its header.
const RTX_HEADER: usize = 64;
/// Bytes of the header up to and including the version.
const HEADER: usize = 28;
/// Where the version's four bytes begin.
const VERSION_AT: usize = 24;
/// No metadata of Ultralytics comes near this size.
const LARGEST_PREFIX: usize = 16 << 20;

/// What a plan says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Which `TensorRT` it belongs to: neither reads the other's.
    pub builder: PlanKind,
    /// The TensorRT that built it.
    pub version: PlanVersion,
    /// The version of the serialization format.
    pub serialization: u32,
    /// Ultralytics' metadata, when the file begins with them.
    pub ultralytics: Option<serde_json::Value>,
    /// Where the plan itself begins in the file: what lies before has to be cut off for TensorRT's own tools.
    pub offset: usize,
    /// The plan's size in bytes.
    pub bytes: usize,
    /// What it is for, where its header says so: only with TensorRT for RTX.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compute_capabilities: Vec<ComputeCapability>,
}

/// Who makes plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// TensorRT.
    TensorRt,
    /// TensorRT for RTX.
    TensorRtRtx,
}

impl std::fmt::Display for PlanKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TensorRt => "TensorRT",
            Self::TensorRtRtx => "TensorRT for RTX",
        })
    }
}

/// A version of TensorRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlanVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Patch.
    pub patch: u8,
    /// Build, as far as one byte holds it.
    pub build: u8,
}

impl std::fmt::Display for PlanVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.patch, self.build)
    }
}

impl Plan {
    /// Whether a file begins like a plan.
    pub fn begins(file: &[u8]) -> bool {
        file.starts_with(&MAGIC) || file.starts_with(&RTX_MAGIC)
    }

    /// Reads the header of `file`, the content of an `.engine` or `.plan` file; only its beginning is touched.
    ///
    /// # Errors
    /// [`Error::NotPlan`] when neither the file nor what follows an Ultralytics prefix begins like a plan.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let known = |bytes: &[u8]| [MAGIC, RTX_MAGIC].into_iter().find(|magic| bytes.starts_with(magic));
        let (ultralytics, offset) = if known(file).is_some() { (None, 0) } else { prefix(file)? };
        let plan = &file[offset..];
        let Some(magic) = known(plan) else { return Err(unlike()) };
        let Some(header) = plan.first_chunk::<HEADER>() else {
            return Err(Error::NotPlan { reason: format!("{} bytes hold no header", plan.len()) });
        };
        let serialization = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if serialization != 0 {
            return Err(Error::NotPlan {
                reason: format!("serialization version {serialization} is not known"),
            });
        }
        let [major, minor, patch, build] =
            [header[VERSION_AT], header[VERSION_AT + 1], header[VERSION_AT + 2], header[VERSION_AT + 3]];
        let is_rtx = magic == RTX_MAGIC;
        Ok(Self {
            builder: if is_rtx { PlanKind::TensorRtRtx } else { PlanKind::TensorRt },
            version: PlanVersion { major, minor, patch, build },
            serialization,
            ultralytics,
            offset,
            bytes: plan.len(),
            compute_capabilities: if is_rtx { capabilities(plan)? } else { Vec::new() },
        })
    }
}

/// What a plan of TensorRT for RTX is for. A header of another form than the known one says nothing.
fn capabilities(plan: &[u8]) -> Result<Vec<ComputeCapability>, Error> {
    let Some(header) = plan.first_chunk::<RTX_HEADER>() else {
        return Err(Error::NotPlan { reason: format!("{} bytes hold no header", plan.len()) });
    };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[28..32] != RTX_MAGIC {
        return Ok(Vec::new());
    }
    let size = u64::from(number(20)) << 32 | u64::from(number(16));
    if size != plan.len() as u64 {
        return Err(Error::NotPlan { reason: format!("it is {} bytes and says {size}", plan.len()) });
    }
    let has = |bit: usize| number(32) >> bit & 1 == 1;
    let known = ComputeCapability::RTX.into_iter().enumerate();
    Ok(known.filter(|(bit, _)| has(*bit)).map(|(_, capability)| capability).collect())
}

fn unlike() -> Error {
    Error::NotPlan { reason: "it begins neither with `ftrt` nor with `vtrt`".into() }
}

/// Ultralytics' metadata and the offset behind them: a length (`int32`, little-endian) and as many bytes of JSON.
fn prefix(file: &[u8]) -> Result<(Option<serde_json::Value>, usize), Error> {
    let length = file.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes)).ok_or_else(unlike)?;
    let length =
        usize::try_from(length).ok().filter(|length| *length <= LARGEST_PREFIX).ok_or_else(unlike)?;
    let json = file.get(4..4 + length).filter(|json| json.starts_with(b"{")).ok_or_else(unlike)?;
    let metadata = serde_json::from_slice(json)
        .map_err(|error| Error::NotPlan { reason: format!("the metadata in front are no JSON: {error}") })?;
    Ok((Some(metadata), 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Vec<u8> {
        let mut bytes = b"ftrt".to_vec();
        bytes.extend([0; 20]);
        bytes.extend([10, 16, 1, 11]);
        bytes.extend([0xab; 100]);
        bytes
    }

    fn with_prefix(json: &str) -> Vec<u8> {
        let mut bytes = (json.len() as i32).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend(plan());
        bytes
    }

    #[test]
    fn the_version_is_read() {
        let facts = Plan::read(&plan()).unwrap();
        assert_eq!(facts.version.to_string(), "10.16.1.11");
        assert_eq!((facts.offset, facts.bytes, facts.ultralytics), (0, 128, None));
        assert_eq!((facts.builder, facts.compute_capabilities), (PlanKind::TensorRt, vec![]));
    }

    /// The header of an engine that TensorRT for RTX 1.7.1 built for 8.6 and 12.1.
    fn rtx_plan() -> Vec<u8> {
        let mut bytes = b"vtrt\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        bytes.extend(128_u64.to_le_bytes());
        bytes.extend([1, 7, 1, 116]);
        bytes.extend(b"vtrt");
        bytes.extend(0b10_0100_u32.to_le_bytes());
        bytes.resize(128, 0);
        bytes
    }

    #[test]
    fn a_plan_for_rtx_says_what_it_is_for() {
        let facts = Plan::read(&rtx_plan()).unwrap();
        assert_eq!((facts.builder, facts.version.to_string()), (PlanKind::TensorRtRtx, "1.7.1.116".into()));
        let capabilities: Vec<String> = facts.compute_capabilities.iter().map(ToString::to_string).collect();
        assert_eq!(capabilities, ["8.6", "12.1"]);
        let mut other = rtx_plan();
        other[28] = 0;
        assert!(Plan::read(&other).unwrap().compute_capabilities.is_empty());
        for cut in [127, 63, 30] {
            assert!(matches!(Plan::read(&rtx_plan()[..cut]), Err(Error::NotPlan { .. })), "{cut}");
        }
    }

    #[test]
    fn an_ultralytics_prefix_is_told() {
        let json = r#"{"names": {"0": "person"}, "stride": 32}"#;
        let facts = Plan::read(&with_prefix(json)).unwrap();
        assert_eq!(facts.version.major, 10);
        assert_eq!((facts.offset, facts.bytes), (4 + json.len(), 128));
        assert_eq!(facts.ultralytics.unwrap()["stride"], 32);
    }

    #[test]
    fn other_bytes_are_refused() {
        let mut other_format = plan();
        other_format[4] = 1;
        let cases: [(&str, Vec<u8>); 7] = [
            ("empty", Vec::new()),
            ("cut", plan()[..20].to_vec()),
            ("format", other_format),
            ("text", b"hello, this is no plan at all".to_vec()),
            ("negative length", [&[0xff; 4][..], &plan()].concat()),
            ("no JSON", with_prefix("{oops")),
            ("nothing behind", with_prefix("{}")[..6].to_vec()),
        ];
        for (what, bytes) in cases {
            assert!(matches!(Plan::read(&bytes), Err(Error::NotPlan { .. })), "{what}");
        }
    }
}
