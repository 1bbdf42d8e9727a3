//! From what was seen to one scale a value.

use std::collections::BTreeMap;

use super::{Histogram, LARGEST_CODE, Method, Placement};
use crate::{CalibrationCache, CalibrationEntry, Error};

/// The scale of each rounded value: the size of one step, by the value's name.
pub type Scales = BTreeMap<String, f32>;

/// The scales of everything that `placement` rounds. Values of one group are looked at together and get one scale.
///
/// # Errors
/// [`Error::Invalid`] for a value that no histogram watched, or that was not always a finite number.
pub fn scales(
    placement: &Placement,
    seen: &BTreeMap<String, Histogram>,
    method: Method,
) -> Result<Scales, Error> {
    let mut groups: BTreeMap<usize, Histogram> = BTreeMap::new();
    for (value, group) in &placement.values {
        let histogram =
            seen.get(value).ok_or_else(|| Error::Invalid(format!("the range of `{value}` is not known")))?;
        if histogram.not_finite() > 0 {
            let reason = "is infinite or NaN on the calibration images, so it has no range";
            return Err(Error::Invalid(format!("`{value}` {reason}")));
        }
        groups.entry(*group).or_default().merge(histogram);
    }
    let steps: BTreeMap<usize, f32> =
        groups.iter().map(|(group, histogram)| (*group, step(method.range(histogram)))).collect();
    Ok(placement.values.iter().map(|(value, group)| (value.clone(), steps[group])).collect())
}

impl CalibrationCache {
    /// The calibrator that `trtexec` and DeepStream ask a cache for, whatever method chose the scales.
    pub const ENTROPY: &str = "EntropyCalibration2";

    /// A cache for a TensorRT version in the header's form (`8602`, `101601`): one scale a value that was watched, without
    /// groups, as TensorRT joins values itself.
    pub fn of(version: u32, seen: &BTreeMap<String, Histogram>, method: Method) -> Self {
        let entry = |(name, histogram): (&String, &Histogram)| CalibrationEntry {
            name: name.clone(),
            scale: step(method.range(histogram)),
        };
        Self { version, algorithm: Self::ENTROPY.into(), entries: seen.iter().map(entry).collect() }
    }
}

/// The step of a range; a value that was always 0 gets one that keeps it so.
pub(super) fn step(range: f32) -> f32 {
    if range > 0.0 { (range / LARGEST_CODE).max(f32::MIN_POSITIVE) } else { 1.0 }
}
