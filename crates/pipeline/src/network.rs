//! A loaded graph with its description: images in, detections out.

use std::path::Path;

use detect::{Detections, Detector, Geometry, Image, Preprocessed, Thresholds, preprocess};
use graph::Tensor;
use runtime::{LoadOptions, OnnxSource, Session};

use crate::Error;

/// Named output tensors of one run.
pub(crate) type Outputs = Vec<(String, Tensor)>;

/// A detector ready to run on one backend.
pub(crate) struct Network<'d> {
    detector: &'d Detector,
    session: Box<dyn Session>,
}

impl<'d> Network<'d> {
    /// Loads an ONNX file on a backend, by name.
    pub(crate) fn load(
        onnx: &Path,
        detector: &'d Detector,
        backend: &str,
        threads: Option<usize>,
    ) -> Result<Self, Error> {
        let session = runtime::backend(backend)?.load(OnnxSource::File(onnx), &LoadOptions { threads })?;
        Ok(Self { detector, session })
    }

    /// A graph that is loaded already.
    pub(crate) fn of(session: Box<dyn Session>, detector: &'d Detector) -> Self {
        Self { detector, session }
    }

    /// The graph's inputs for a batch of images.
    pub(crate) fn inputs(&self, images: &[Image]) -> Result<Preprocessed, Error> {
        Ok(preprocess(&self.detector.input, images)?)
    }

    /// Output tensors of a preprocessed batch.
    pub(crate) fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Outputs, runtime::Error> {
        let inputs: Vec<(&str, &Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.session.run(&inputs)
    }

    /// Detections of each row of a run's outputs.
    pub(crate) fn decode(
        &self,
        outputs: &Outputs,
        geometries: &[Geometry],
        thresholds: &Thresholds,
    ) -> Result<Vec<Detections>, Error> {
        Ok(self.detector.decode(outputs, geometries, thresholds)?)
    }

    /// Detections of each image, run as one batch.
    pub(crate) fn detect(
        &mut self,
        images: &[Image],
        thresholds: &Thresholds,
    ) -> Result<Vec<Detections>, Error> {
        let prepared = self.inputs(images)?;
        let outputs = self.run(&prepared.inputs)?;
        self.decode(&outputs, &prepared.geometries, thresholds)
    }
}

/// The first dimension of tensors put one after the other: the batch of several single images.
pub(crate) fn stacked(rows: &[&[(String, Tensor)]]) -> Result<Outputs, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    (0..first.len())
        .map(|at| {
            let tensors: Vec<&Tensor> =
                rows.iter().filter_map(|row| row.get(at)).map(|(_, tensor)| tensor).collect();
            Ok((first[at].0.clone(), Tensor::stack(&tensors)?))
        })
        .collect()
}

/// One row of batched tensors, as a batch of one.
pub(crate) fn row(outputs: &Outputs, at: usize) -> Result<Outputs, Error> {
    outputs.iter().map(|(name, tensor)| Ok((name.clone(), tensor.row(at)?))).collect()
}
