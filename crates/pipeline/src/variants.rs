//! The precisions of one model: the graph as it was exported, what is made of it, and what is shown of each.

use std::path::PathBuf;

use deploy::{Accuracy, Calibration, Check, MapChange, Precision, paths};
use serde_json::json;

use crate::convert;
use crate::job::Job;
use crate::package::map_check;
use crate::run::{Run, StepContext};
use crate::steps::evaluate::{Evaluation, Scored, Scoring};
use crate::steps::export::Origin;
use crate::steps::measure::{Measured, measure};
use crate::steps::optimize::halve;
use crate::steps::quantize::{Quantization, quantize};
use crate::steps::verify::{Subject as Compared, carried, verify};
use crate::steps::{EVALUATE, MEASURE, OPTIMIZE, QUANTIZE, VERIFY};
use crate::store::Blob;
use crate::{Error, Subject};

/// Ranges for fp16 are taken from this many images: only the largest magnitudes matter.
const WATCHED_FOR_HALF: usize = 16;

/// A model in one precision.
pub(crate) struct Variant {
    pub(crate) precision: Precision,
    /// Its path in the package.
    pub(crate) path: String,
    pub(crate) model: Blob,
    /// Where the blob lies.
    pub(crate) onnx: PathBuf,
    pub(crate) opset: i64,
    /// The number format that it is said to compute in; a file of someone else's says nothing.
    claims: Option<Precision>,
    /// What INT8 was calibrated with.
    pub(crate) int8: Option<Quantization>,
}

impl Variant {
    /// The precision that its path in the package stands for: the first one is the exported graph, whatever it computes in.
    pub(crate) fn place((at, variant): (usize, &Self)) -> Precision {
        if at == 0 { Precision::Fp32 } else { variant.precision }
    }

    pub(crate) fn calibration(&self) -> Option<Calibration> {
        self.int8.as_ref().map(|int8| int8.about.calibration())
    }
}

/// What was shown of the variants.
pub(crate) struct Proof {
    pub(crate) checks: Vec<Check>,
    /// One entry a variant, or none without annotations.
    pub(crate) scored: Vec<(String, Scored)>,
}

impl Proof {
    /// The scores of the exported graph.
    pub(crate) fn evaluation(&self) -> Option<&Evaluation> {
        self.scored.first().map(|(_, scored)| &scored.evaluation)
    }

    pub(crate) fn accuracy(&self) -> Vec<Accuracy> {
        let accuracy = |(path, scored): &(String, Scored)| {
            let change = scored.change.map(|change| MapChange {
                map: change.map,
                low: change.low,
                high: change.high,
                samples: change.samples as u64,
            });
            Accuracy { change, ..convert::accuracy(path, &scored.evaluation) }
        };
        self.scored.iter().map(accuracy).collect()
    }
}

impl Job<'_> {
    /// The exported graph first, then what was asked for besides it.
    pub(crate) fn variants(&self, run: &Run<'_>) -> Result<Vec<Variant>, Error> {
        let exported = self.exported;
        let mut variants = vec![Variant {
            precision: exported.precision,
            path: paths::model(self.name, Precision::Fp32),
            model: exported.model.clone(),
            onnx: run.store.path(&exported.model),
            opset: exported.opset,
            claims: (exported.origin == Origin::Checkpoint).then_some(exported.precision),
            int8: None,
        }];
        for precision in &self.request.precisions {
            match precision {
                Precision::Fp32 => {}
                Precision::Fp16 => variants.push(self.fp16(run)?),
                Precision::Int8 => variants.push(self.int8(run)?),
            }
        }
        Ok(variants)
    }

    fn subject(&self, run: &Run<'_>) -> Subject {
        Subject {
            name: self.name.to_string(),
            onnx: run.store.path(&self.exported.model),
            detector: self.exported.detector.clone(),
        }
    }

    fn fp16(&self, run: &Run<'_>) -> Result<Variant, Error> {
        let images = self.data.calibration.as_ref().unwrap_or(&self.data.images).first(WATCHED_FOR_HALF);
        let key = json!({
            "model": self.exported.model, "detector": self.exported.detector, "images": images,
            "backend": self.backend()?,
        });
        let made = run.step(OPTIMIZE, &key, |context| {
            halve(&self.subject(run), &images, &self.request.backend, context)
        })?;
        Ok(Variant {
            precision: Precision::Fp16,
            path: paths::model(self.name, Precision::Fp16),
            onnx: run.store.path(&made.model),
            model: made.model,
            opset: made.opset,
            claims: Some(Precision::Fp16),
            int8: None,
        })
    }

    fn int8(&self, run: &Run<'_>) -> Result<Variant, Error> {
        let (Some(calibrating), Some(images)) = (&self.request.calibration, &self.data.calibration) else {
            return Err(Error::Options("int8 needs images to calibrate with: `--calibrate DIR`".into()));
        };
        let subject = self.subject(run);
        let key = json!({
            "model": self.exported.model, "detector": self.exported.detector, "images": images,
            "options": calibrating.options.key(), "backend": self.backend()?,
        });
        let made = run.step(QUANTIZE, &key, |context| {
            quantize(&subject, images, &calibrating.options, &self.request.backend, context)
        })?;
        Ok(Variant {
            precision: Precision::Int8,
            path: paths::model(self.name, Precision::Int8),
            model: made.model.clone(),
            onnx: run.store.path(&made.model),
            opset: made.opset,
            claims: Some(Precision::Int8),
            int8: Some(made),
        })
    }

    /// Compares each variant with the source-exact graph and, with annotations, scores it.
    pub(crate) fn prove(&self, variants: &[Variant], run: &Run<'_>) -> Result<Proof, Error> {
        let mut proof = Proof { checks: Vec::new(), scored: Vec::new() };
        for (at, variant) in variants.iter().enumerate() {
            // What was exported is held to fp32's bounds whatever its weights are stored in: nothing was rounded here.
            let bounds = self.request.bounds.of(if at == 0 { Precision::Fp32 } else { variant.precision });
            let key = json!({
                "model": variant.model, "exact": self.exported.exact, "detector": self.exported.detector,
                "images": self.verified(&bounds), "bounds": bounds, "max_batch": self.max_batch,
                "backend": self.backend()?, "claims": variant.claims,
            });
            let checks = run.step(VERIFY.of(variant.precision, at), &key, |context| {
                self.compare(variant, &bounds, context)
            })?;
            proof.checks.extend(checks);
            let reference = proof.scored.first().map(|(_, scored)| scored.found.clone());
            let Some(scored) = self.score(at, variant, reference.as_ref(), run)? else { continue };
            if let Some(change) = scored.change {
                proof.checks.push(map_check(&variant.path, "fp32", &change, &bounds));
            }
            proof.scored.push((variant.path.clone(), scored));
        }
        Ok(proof)
    }

    fn compare(
        &self,
        variant: &Variant,
        bounds: &crate::Bounds,
        context: &StepContext<'_, '_>,
    ) -> Result<Vec<Check>, Error> {
        if self.data.images.built_in {
            context.warn("no `--images` given: verified on two built-in scenes, which show little of what this detector knows");
        }
        let subject = Compared {
            exact: &self.exact,
            source: &self.exported.detector,
            delivered: &variant.onnx,
            detector: &carried(&variant.onnx)?,
            name: &variant.path,
            backend: &self.request.backend,
            max_batch: self.max_batch,
            claims: variant.claims,
        };
        verify(&subject, &self.verified(bounds), bounds, &|done, total| context.progress("runs", done, total))
    }

    fn score(
        &self,
        at: usize,
        variant: &Variant,
        reference: Option<&Blob>,
        run: &Run<'_>,
    ) -> Result<Option<Scored>, Error> {
        let Some(annotations) = &self.data.annotations else { return Ok(None) };
        let detector = &self.exported.detector;
        let key = json!({
            "model": variant.model, "detector": detector, "annotations": annotations.sha256,
            "images": self.data.images, "backend": self.backend()?, "reference": reference,
        });
        let scoring =
            Scoring { detector, backend: &self.request.backend, annotations, images: &self.data.images };
        let scored = run.step(EVALUATE.of(variant.precision, at), &key, |context| {
            scoring.score(&variant.onnx, reference, context)
        })?;
        Ok(Some(scored))
    }

    /// Times each variant.
    pub(crate) fn measure(&self, variants: &[Variant], run: &Run<'_>) -> Result<Vec<Measured>, Error> {
        let mut batches = vec![1, self.max_batch];
        batches.dedup();
        let load = crate::Load { batches, ..self.request.load.clone() };
        let (backend, images) = (&self.request.backend, self.sampled());
        let measured = variants.iter().enumerate().map(|(at, variant)| {
            let key = json!({
                "model": variant.model, "detector": self.exported.detector, "images": images,
                "load": load, "backend": self.backend()?, "machine": self.machine,
            });
            let step = MEASURE.of(variant.precision, at);
            run.step_unless(self.request.remeasure, step, &key, |context| {
                let progress = |done, total| context.progress("trials", done, total);
                let (onnx, detector) = (&variant.onnx, &self.exported.detector);
                let figures = measure(onnx, detector, backend, &load, &images, &progress)?;
                Ok(Measured { at: crate::job::now(), machine: self.machine.clone(), figures })
            })
        });
        measured.collect()
    }
}
