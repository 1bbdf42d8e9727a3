//! The header of a TensorRT plan ("engine"): which TensorRT made it.
//!
//! A plan only runs with the TensorRT version and the GPU that it was built for. The first 28 bytes name the version;
//! the GPU is written nowhere that can be read without TensorRT. Ultralytics puts a length and JSON in front of the plan,
//! which TensorRT's own tools stumble over. Layout: `samples/common/sampleEngines.cpp` of the TensorRT repository (9.x on)
//! and NVIDIA's description for 8.6.

use serde::Serialize;

use crate::Error;

/// `ftrt`, little-endian.
const MAGIC: [u8; 4] = *b"ftrt";
/// Bytes of the header up to and including the version.
const HEADER: usize = 28;
/// Where the version's four bytes begin.
const VERSION_AT: usize = 24;
/// No metadata of Ultralytics comes near this size.
const LARGEST_PREFIX: usize = 16 << 20;

/// What a plan says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
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
    /// Reads the header of `file`, the content of an `.engine` or `.plan` file; only its beginning is touched.
    ///
    /// # Errors
    /// [`Error::NotPlan`] when neither the file nor what follows an Ultralytics prefix begins like a plan.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let (ultralytics, offset) = if file.starts_with(&MAGIC) { (None, 0) } else { prefix(file)? };
        let plan = &file[offset..];
        if !plan.starts_with(&MAGIC) {
            return Err(Error::NotPlan { reason: "it does not begin with `ftrt`".into() });
        }
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
        Ok(Self {
            version: PlanVersion { major, minor, patch, build },
            serialization,
            ultralytics,
            offset,
            bytes: plan.len(),
        })
    }
}

/// Ultralytics' metadata and the offset behind them: a length (`int32`, little-endian) and as many bytes of JSON.
fn prefix(file: &[u8]) -> Result<(Option<serde_json::Value>, usize), Error> {
    let unlike = || Error::NotPlan { reason: "it does not begin with `ftrt`".into() };
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
