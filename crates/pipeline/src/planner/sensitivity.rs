//! Which layers feel the rounding most: each is rounded alone, on a few images.

use std::collections::BTreeSet;

use deploy::Sensitivity;
use serde_json::json;

use super::make::Ranges;
use super::{SENSITIVITY, Search};
use crate::moved::Probe;
use crate::quantize::with_scales;
use crate::{Error, Quantizing};

/// Images that each layer is tried on.
const PROBED: usize = 4;

impl Search<'_, '_> {
    /// Every layer that can be rounded, the one that moves the detections most first.
    pub(super) fn sensitivity(&self, ranges: &Ranges) -> Result<Vec<Sensitivity>, Error> {
        let Self { subject, with, .. } = self;
        let probed = with.calibration.first(PROBED);
        let free: Vec<&String> =
            ranges.layers.iter().filter(|layer| !with.options.pinned.contains(*layer)).collect();
        let key = json!({
            "model": self.source, "detector": subject.detector, "ranges": ranges.shared, "layers": free,
            "images": probed, "backend": self.backend,
        });
        self.run.step(SENSITIVITY, &key, |context| {
            let shared = self.shared(ranges)?;
            let probe = Probe::new(subject, &probed.images, with.backend, &context.store().work())?;
            let mut layers = Vec::with_capacity(free.len());
            for (done, layer) in free.iter().enumerate() {
                context.progress("layers", done as u64, free.len() as u64);
                let pinned: BTreeSet<String> =
                    ranges.layers.iter().filter(|other| other != layer).cloned().collect();
                let options = Quantizing { pinned, ..with.options.clone() };
                let rounded = with_scales(subject, &shared, &options)?.model;
                layers.push(Sensitivity {
                    layer: (*layer).clone(),
                    moved: probe.moved(&rounded, &subject.detector)?,
                });
            }
            context.progress("layers", free.len() as u64, free.len() as u64);
            layers.sort_by(|a, b| b.moved.total_cmp(&a.moved));
            Ok(layers)
        })
    }
}
