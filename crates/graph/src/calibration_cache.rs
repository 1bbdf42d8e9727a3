//! TensorRT's INT8 calibration cache: a scale for each tensor, as text.
//!
//! The number behind a name is the IEEE-754 bit pattern of the scale in eight hexadecimal digits, not the scale itself:
//! scripts that strip leading zeros damage small scales. The header binds the file to a TensorRT version and to the
//! calibrator's algorithm; a consumer with another one ignores the file.

use serde::Serialize;

use crate::Error;

/// The content of a calibration cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationCache {
    /// TensorRT's version number as it stands in the header: `8602`, `101601`.
    pub version: u32,
    /// The calibrator: `EntropyCalibration2`, `MinMaxCalibration`.
    pub algorithm: String,
    /// The scales in the file's order.
    pub entries: Vec<CalibrationEntry>,
}

/// The scale of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationEntry {
    /// TensorRT's name of the tensor: for ONNX models mostly the value's name.
    pub name: String,
    /// The size of one integer step: largest magnitude / 127.
    pub scale: f32,
}

impl CalibrationCache {
    /// Reads the content of a cache file.
    ///
    /// # Errors
    /// [`Error::NotCalibrationCache`] with the first line that does not fit.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let bad = |line: usize, reason: &str| Error::NotCalibrationCache { line, reason: reason.to_owned() };
        let text = std::str::from_utf8(file).map_err(|error| {
            let read = String::from_utf8_lossy(&file[..error.valid_up_to()]);
            bad(read.matches('\n').count() + 1, "it is not UTF-8")
        })?;
        let mut lines = text.lines().enumerate();
        let header = lines.next().and_then(|(_, line)| header(line));
        let (version, algorithm) = header.ok_or_else(|| bad(1, "it is not `TRT-<version>-<algorithm>`"))?;
        let mut entries = Vec::new();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            entries.push(entry(line).map_err(|reason| bad(at + 1, reason))?);
        }
        Ok(Self { version, algorithm, entries })
    }

    /// TensorRT's version in its usual form: `8.6.2`, `10.16.1`.
    pub fn tensorrt_version(&self) -> String {
        let (major, minor, patch) = match self.version {
            number @ ..10_000 => (number / 1000, number / 100 % 10, number % 100),
            number => (number / 10_000, number / 100 % 100, number % 100),
        };
        format!("{major}.{minor}.{patch}")
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let header = format!("TRT-{}-{}\n", self.version, self.algorithm);
        let line = |entry: &CalibrationEntry| format!("{}: {:08x}\n", entry.name, entry.scale.to_bits());
        std::iter::once(header).chain(self.entries.iter().map(line)).collect()
    }
}

fn header(line: &str) -> Option<(u32, String)> {
    let (version, algorithm) = line.trim_end().strip_prefix("TRT-")?.split_once('-')?;
    let named = !algorithm.is_empty() && algorithm.chars().all(|c| c.is_ascii_alphanumeric());
    let version = version.parse().ok().filter(|_| version.bytes().all(|byte| byte.is_ascii_digit()))?;
    named.then(|| (version, algorithm.to_owned()))
}

/// Splits at the last colon: names of layers may hold colons.
fn entry(line: &str) -> Result<CalibrationEntry, &'static str> {
    let (name, digits) = line.trim_end().rsplit_once(": ").ok_or("it is not `<tensor>: <8 hex digits>`")?;
    if name.is_empty() {
        return Err("the tensor has no name");
    }
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the scale is not 8 hex digits");
    }
    let scale =
        u32::from_str_radix(digits, 16).map(f32::from_bits).map_err(|_| "the scale is not 8 hex digits")?;
    if !scale.is_finite() || scale.is_sign_negative() {
        return Err("the scale is no positive number");
    }
    Ok(CalibrationEntry { name: name.to_owned(), scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "TRT-101601-EntropyCalibration2\nimages: 3c010204\n(Unnamed Layer* 4) [a: b]_output: 00800000\n";

    #[test]
    fn scales_are_read_and_written_back() {
        let cache = CalibrationCache::read(FILE.as_bytes()).unwrap();
        assert_eq!(cache.algorithm, "EntropyCalibration2");
        assert_eq!(cache.entries[0].scale.to_bits(), (1.0_f32 / 127.0).to_bits());
        assert_eq!(cache.entries[1].name, "(Unnamed Layer* 4) [a: b]_output");
        assert_eq!(cache.to_text(), FILE);
        assert_eq!(CalibrationCache::read(FILE.replace('\n', "\r\n").as_bytes()).unwrap(), cache);
    }

    #[test]
    fn versions_are_told() {
        for (number, expected) in
            [(7103, "7.1.3"), (8602, "8.6.2"), (100_300, "10.3.0"), (101_601, "10.16.1")]
        {
            let cache = CalibrationCache { version: number, algorithm: "X".into(), entries: Vec::new() };
            assert_eq!(cache.tensorrt_version(), expected);
        }
    }

    #[test]
    fn the_damaged_line_is_named() {
        let cases: [(&[u8], usize); 9] = [
            (b"", 1),
            (b"TRT-+5-X\n", 1),
            (b"images: 3c010204\n", 1),
            (b"TRT-8602-\nimages: 3c010204\n", 1),
            (b"TRT-8602-X\nimages 3c010204\n", 2),
            (b"TRT-8602-X\nimages: c010204\n", 2),
            (b"TRT-8602-X\n\nimages: 7fc00000\n", 3),
            (b"TRT-8602-X\n: 3c010204\n", 2),
            (b"TRT-8602-X\na: 3c010204\n\xff: 3c010204\n", 3),
        ];
        for (file, expected) in cases {
            match CalibrationCache::read(file) {
                Err(Error::NotCalibrationCache { line, .. }) => assert_eq!(line, expected, "{file:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
