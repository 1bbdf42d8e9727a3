//! From what was seen to one scale a value.

use std::collections::BTreeMap;

use super::{Histogram, LARGEST_CODE, Method, Placement};
use crate::CalibrationCache;

/// The scale of each rounded value: the size of one step, by the value's name.
pub type Scales = BTreeMap<String, f32>;

/// The scales of everything that `placement` rounds. Values of one group are looked at together and get one scale; a
/// value that no histogram watched gets none.
pub fn scales(placement: &Placement, seen: &BTreeMap<String, Histogram>, method: Method) -> Scales {
    let mut groups: BTreeMap<usize, Histogram> = BTreeMap::new();
    for (value, group) in &placement.values {
        if let Some(histogram) = seen.get(value) {
            groups.entry(*group).or_default().merge(histogram);
        }
    }
    let steps: BTreeMap<usize, f32> =
        groups.iter().map(|(group, histogram)| (*group, step(method.range(histogram)))).collect();
    let of = |(value, group): (&String, &usize)| {
        seen.contains_key(value).then(|| Some((value.clone(), *steps.get(group)?))).flatten()
    };
    placement.values.iter().filter_map(of).collect()
}

impl CalibrationCache {
    /// The calibrator that `trtexec` and DeepStream ask a cache for, whatever method chose the scales.
    pub const ENTROPY: &str = "EntropyCalibration2";

    /// A cache for a TensorRT version in the header's form (`8602`, `101601`): one scale a value that was watched, without
    /// groups, as TensorRT joins values itself.
    pub fn of(version: u32, seen: &BTreeMap<String, Histogram>, method: Method) -> Self {
        let entry = |(name, histogram): (&String, &Histogram)| crate::CalibrationEntry {
            name: name.clone(),
            scale: step(method.range(histogram)),
        };
        Self { version, algorithm: Self::ENTROPY.into(), entries: seen.iter().map(entry).collect() }
    }

    /// The scales by name.
    pub fn scales(&self) -> Scales {
        self.entries.iter().map(|entry| (entry.name.clone(), entry.scale)).collect()
    }
}

/// The step of a range; a value that was always 0 gets one that keeps it so.
pub(super) fn step(range: f32) -> f32 {
    if range > 0.0 { (range / LARGEST_CODE).max(f32::MIN_POSITIVE) } else { 1.0 }
}
