//! From what was seen to one scale a value.

use std::collections::{BTreeMap, BTreeSet};

use super::{Histogram, LARGEST_CODE, Method, Placement, PlacementOptions};
use crate::{CalibrationCache, CalibrationEntry, Error, Model};

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

    /// Adds values that lie between 0 and 1 and were not watched.
    pub fn add_shares(&mut self, values: impl IntoIterator<Item = String>) {
        let known: BTreeSet<String> = self.entries.iter().map(|entry| entry.name.clone()).collect();
        let fresh = values.into_iter().filter(|value| !known.contains(value));
        self.entries.extend(fresh.map(|name| CalibrationEntry { name, scale: step(1.0) }));
        self.entries.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// What of a calibration cache a graph takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CacheUse {
    /// Entries that name a value which is rounded.
    pub used: usize,
    /// Entries that name a value of the graph which is not rounded.
    pub not_needed: usize,
    /// Entries that name no value of the graph.
    pub unknown: Vec<String>,
}

/// What is rounded with the scales of a calibration cache: layers whose input has none stay in floating point. Values of
/// one group get the largest of their scales.
///
/// # Errors
/// [`Error::Invalid`] when no entry names a value of the graph: the cache belongs to another one.
pub fn scales_of_cache(
    model: &Model,
    cache: &CalibrationCache,
    options: &PlacementOptions,
) -> Result<(Placement, Scales, CacheUse), Error> {
    let entries: BTreeMap<&str, f32> =
        cache.entries.iter().map(|entry| (entry.name.as_str(), entry.scale)).collect();
    let made = model.graph.nodes.iter().flat_map(|node| &node.outputs);
    let values: BTreeSet<&str> =
        made.chain(model.graph.inputs.iter().map(|input| &input.name)).map(String::as_str).collect();
    let known: BTreeSet<String> =
        entries.keys().filter(|name| values.contains(*name)).map(|name| (*name).to_owned()).collect();
    if known.is_empty() {
        let reason = format!(
            "none of the {} entries of the calibration cache names a value of this graph",
            entries.len()
        );
        return Err(Error::Invalid(reason));
    }
    let options = PlacementOptions { ranged: Some(known.clone()), ..options.clone() };
    let placement = Placement::new(model, &options);
    let mut groups: BTreeMap<usize, f32> = BTreeMap::new();
    for (value, group) in &placement.values {
        let scale = entries.get(value.as_str()).copied().unwrap_or(0.0);
        let largest = groups.entry(*group).or_insert(0.0);
        *largest = largest.max(scale);
    }
    // A value that was always 0 has a scale of 0 in some caches.
    let scale = |group: &usize| if groups[group] > 0.0 { groups[group] } else { step(0.0) };
    let scales: Scales =
        placement.values.iter().map(|(value, group)| (value.clone(), scale(group))).collect();
    let used = scales.keys().filter(|value| entries.contains_key(value.as_str())).count();
    let unknown = entries.keys().filter(|name| !values.contains(*name)).map(|name| (*name).to_owned());
    let usage = CacheUse { used, not_needed: known.len() - used, unknown: unknown.collect() };
    Ok((placement, scales, usage))
}

/// The step of a range; a value that was always 0 gets one that keeps it so.
pub(super) fn step(range: f32) -> f32 {
    if range > 0.0 { (range / LARGEST_CODE).max(f32::MIN_POSITIVE) } else { 1.0 }
}
