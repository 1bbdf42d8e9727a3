//! Which layers feel the rounding most: each is rounded alone, on a few images.

use std::collections::BTreeSet;
use std::path::Path;

use deploy::Sensitivity;
use detect::{Detections, Image, Thresholds};
use serde_json::json;

use super::make::Ranges;
use super::moved::moved;
use super::{SENSITIVITY, Search};
use crate::network::Network;
use crate::package::write_model;
use crate::quantize::with_scales;
use crate::{Error, Quantizing};

/// Images that each layer is tried on.
const PROBED: usize = 4;
/// Detections below this score hardly count in a mAP.
const LEAST_SCORE: f32 = 0.05;

impl Search<'_, '_> {
    /// Every layer that can be rounded, the one that moves the detections most first.
    pub(super) fn sensitivity(&self, ranges: &Ranges) -> Result<Vec<Sensitivity>, Error> {
        let Self { subject, with, .. } = self;
        let probes = with.calibration.first(PROBED);
        let free: Vec<&String> =
            ranges.layers.iter().filter(|layer| !with.options.pinned.contains(*layer)).collect();
        let key = json!({
            "model": self.source, "detector": subject.detector, "ranges": ranges.cache, "layers": free,
            "images": probes, "backend": self.backend,
        });
        self.run.step(SENSITIVITY, &key, |context| {
            let cache = self.cache(ranges)?;
            let images: Vec<Image> = probes
                .images
                .iter()
                .map(super::super::images::ImageFile::decode)
                .collect::<Result<_, _>>()?;
            let exact = self.found(&subject.onnx, &images)?;
            let work = context.store().work();
            let mut layers = Vec::with_capacity(free.len());
            for (done, layer) in free.iter().enumerate() {
                context.progress("layers", done as u64, free.len() as u64);
                let pinned: BTreeSet<String> =
                    ranges.layers.iter().filter(|other| other != layer).cloned().collect();
                let options = Quantizing { pinned, ..with.options.clone() };
                let made = with_scales(subject, &cache, &options)?;
                let mut file = tempfile::Builder::new().suffix(".onnx").tempfile_in(&work);
                let file = file.as_mut().map_err(|source| Error::Io {
                    path: work.clone(),
                    source: std::io::Error::new(source.kind(), source.to_string()),
                })?;
                let path = file.path().to_owned();
                write_model(&made.model, file.as_file_mut(), &path)?;
                let found = self.found(&path, &images)?;
                layers.push(Sensitivity { layer: (*layer).clone(), moved: moved(&exact, &found) });
            }
            context.progress("layers", free.len() as u64, free.len() as u64);
            layers.sort_by(|a, b| b.moved.total_cmp(&a.moved));
            Ok(layers)
        })
    }

    fn found(&self, onnx: &Path, images: &[Image]) -> Result<Vec<Detections>, Error> {
        let detector = &self.subject.detector;
        let mut network = Network::load(onnx, detector, self.with.backend, None)?;
        let thresholds = Thresholds { confidence: LEAST_SCORE, ..Thresholds::for_evaluation(&detector.head) };
        let each = images.iter().map(|image| {
            Ok(network.detect(std::slice::from_ref(image), &thresholds)?.pop().unwrap_or_default())
        });
        each.collect()
    }
}
