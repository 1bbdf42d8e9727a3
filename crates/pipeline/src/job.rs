//! One import after its graph is there: what each later step works on, and the key that its record is found by.
//!
//! A key holds everything that the step's output depends on, as digests and options; nothing else.

use std::path::PathBuf;
use std::time::SystemTime;

use deploy::report::Command;
use deploy::{Artefact, Check, Manifest, Measurements, PackageName, Precision, StepTime, Tool, paths};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::convert;
use crate::images::{Annotations, ImageSet};
use crate::request::{Data, Request};
use crate::run::{Run, StepContext, Taken};
use crate::steps::acquire::Acquired;
use crate::steps::deliver::{Delivered, Delivery, deliver};
use crate::steps::evaluate::{Evaluation, evaluate};
use crate::steps::export::Exported;
use crate::steps::measure::{Figures, measure};
use crate::steps::report::Facts;
use crate::steps::verify::{Subject, verify};
use crate::steps::{MEASURE, REPORT};

/// Everything that the steps after the export share.
pub(crate) struct Job<'a> {
    name: &'a PackageName,
    request: &'a Request,
    acquired: &'a Acquired,
    exported: &'a Exported,
    data: &'a Data,
    /// The largest batch that the graph takes and the request wants.
    max_batch: usize,
    model: PathBuf,
    exact: PathBuf,
    machine: runtime::Machine,
}

/// Figures and when they were taken.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub(crate) struct Measured {
    at: String,
    machine: runtime::Machine,
    figures: Figures,
}

impl<'a> Job<'a> {
    pub(crate) fn new(
        name: &'a PackageName,
        request: &'a Request,
        data: &'a Data,
        acquired: &'a Acquired,
        exported: &'a Exported,
        run: &Run<'_>,
    ) -> Result<Self, Error> {
        Ok(Self {
            name,
            request,
            acquired,
            exported,
            data,
            max_batch: batch_limit(exported, request.load.max_batch)?,
            model: run.store.path(&exported.model),
            exact: run.store.path(&exported.exact),
            machine: runtime::Machine::detect(),
        })
    }

    fn backend(&self) -> Result<Value, Error> {
        let probe = runtime::backend(&self.request.backend)?.probe()?;
        Ok(json!({"name": self.request.backend, "version": probe.version}))
    }

    pub(crate) fn verify_key(&self) -> Result<Value, Error> {
        Ok(json!({
            "model": self.exported.model, "exact": self.exported.exact, "detector": self.exported.detector,
            "images": self.verified(), "bounds": self.request.bounds, "max_batch": self.max_batch,
            "backend": self.backend()?,
        }))
    }

    pub(crate) fn verify(&self, context: &StepContext<'_, '_>) -> Result<Vec<Check>, Error> {
        if self.data.images.built_in {
            context.warn("no `--images` given: verified on two built-in scenes, which show little of what this detector knows");
        }
        let name = self.model_path();
        let subject = Subject {
            exact: &self.exact,
            delivered: &self.model,
            name: &name,
            detector: &self.exported.detector,
            backend: &self.request.backend,
            max_batch: self.max_batch,
        };
        verify(&subject, &self.verified(), &self.request.bounds, &|done, total| {
            context.progress("runs", done, total);
        })
    }

    pub(crate) fn evaluate_key(&self, annotations: &Annotations) -> Result<Value, Error> {
        Ok(json!({
            "model": self.exported.model, "detector": self.exported.detector, "annotations": annotations.sha256,
            "images": self.data.images, "backend": self.backend()?,
        }))
    }

    pub(crate) fn evaluate(
        &self,
        annotations: &Annotations,
        context: &StepContext<'_, '_>,
    ) -> Result<Evaluation, Error> {
        let (model, detector) = (&self.model, &self.exported.detector);
        let progress = |done, total| context.progress("images", done, total);
        let found =
            evaluate(model, detector, &self.request.backend, annotations, &self.data.images, &progress)?;
        if !found.renamed.is_empty() {
            context.warn(format!("categories were paired by their order: {}", found.renamed.join(", ")));
        }
        Ok(found)
    }

    pub(crate) fn deliver_key(&self) -> Result<Value, Error> {
        Ok(json!({
            "name": self.name, "model": self.exported.model, "detector": self.exported.detector,
            "targets": self.data.targets, "images": self.sampled(), "backend": self.backend()?,
            "annotations": self.data.annotations.as_ref().map(|annotations| &annotations.sha256),
        }))
    }

    pub(crate) fn deliver(&self, context: &StepContext<'_, '_>) -> Result<Delivered, Error> {
        let images = self.sampled();
        let delivery = Delivery {
            name: self.name,
            detector: &self.exported.detector,
            model: &self.exported.model,
            targets: &self.data.targets,
            backend: &self.request.backend,
            images: &images,
            annotations: self.data.annotations.as_ref(),
        };
        deliver(&delivery, context)
    }

    pub(crate) fn measure_key(&self) -> Result<Value, Error> {
        Ok(json!({
            "model": self.exported.model, "detector": self.exported.detector, "images": self.sampled(),
            "load": self.request.load, "backend": self.backend()?, "machine": self.machine,
        }))
    }

    pub(crate) fn measure(&self, context: &StepContext<'_, '_>) -> Result<Measured, Error> {
        let load = crate::Load { max_batch: self.max_batch, ..self.request.load };
        let progress = |done, total| context.progress("trials", done, total);
        let (backend, images) = (&self.request.backend, self.sampled());
        let figures = measure(&self.model, &self.exported.detector, backend, &load, &images, &progress)?;
        Ok(Measured { at: now(), machine: self.machine.clone(), figures })
    }

    /// What the package is made of. It holds nothing that differs between two runs on the same input.
    pub(crate) fn manifest(
        &self,
        taken: &[Taken],
        checks: Vec<Check>,
        evaluation: Option<&Evaluation>,
        delivered: &Delivered,
    ) -> Manifest {
        let bound_to_machine = [MEASURE.name, REPORT.name];
        let steps = taken.iter().filter(|taken| !bound_to_machine.contains(&taken.step.name));
        let model = self.model_path();
        let artefacts = delivered.files.iter().map(|file| {
            let is_model = file.path == model;
            Artefact {
                path: file.path.clone(),
                sha256: file.blob.sha256.to_string(),
                bytes: file.blob.bytes,
                precision: is_model.then_some(self.exported.precision),
                opset: is_model.then(|| u32::try_from(self.exported.opset).unwrap_or(0)),
            }
        });
        Manifest {
            schema: Manifest::SCHEMA,
            tool: Tool { name: "sightline".into(), version: env!("CARGO_PKG_VERSION").into() },
            name: self.name.clone(),
            source: self.acquired.manifest_source(),
            licence: self.acquired.manifest_licence(),
            max_batch: u32::try_from(self.max_batch).unwrap_or(u32::MAX),
            detector: self.exported.detector.clone(),
            steps: steps.map(convert::step_record).collect(),
            artefacts: artefacts.collect(),
            checks,
            accuracy: evaluation
                .map(|evaluation| convert::accuracy(&model, evaluation))
                .into_iter()
                .collect(),
        }
    }

    /// What differs from run to run.
    pub(crate) fn measurements(&self, taken: &[Taken], measured: &Measured) -> Measurements {
        let steps = taken.iter().map(|taken| StepTime {
            name: taken.step.name.to_owned(),
            seconds: (taken.elapsed.as_secs_f64() * 1e3).round() / 1e3,
        });
        Measurements {
            schema: Measurements::SCHEMA,
            measured_at: Some(measured.at.clone()),
            machine: convert::machine(&measured.machine, &measured.figures),
            steps: steps.collect(),
            figures: convert::figures(&self.model_path(), self.exported.precision, &measured.figures),
            image: Some(convert::image_times(&measured.figures)),
            tensorrt: None,
            deepstream: None,
        }
    }

    /// Everything that the report says.
    pub(crate) fn facts(
        &self,
        manifest: &Manifest,
        measurements: &Measurements,
        evaluation: Option<&Evaluation>,
        delivered: &Delivered,
    ) -> Facts {
        Facts {
            manifest: manifest.clone(),
            measurements: measurements.clone(),
            curves: evaluation.map(convert::curves).unwrap_or_default(),
            samples: delivered.samples.clone(),
            commands: vec![Command { purpose: "Import".into(), line: self.request.command_line.clone() }],
        }
    }

    fn model_path(&self) -> String {
        paths::model(self.name, Precision::Fp32)
    }

    fn verified(&self) -> ImageSet {
        self.data.images.first(Request::VERIFIED_IMAGES)
    }

    fn sampled(&self) -> ImageSet {
        self.data.images.first(Request::SAMPLES)
    }
}

/// The batch that the graph's image input allows, up to what is wanted.
fn batch_limit(exported: &Exported, wanted: usize) -> Result<usize, Error> {
    let tensor = &exported.detector.input.tensor;
    let input = exported.inputs.iter().find(|input| input.name == *tensor);
    match input.and_then(|input| input.shape.as_ref()?.first()?.fixed()) {
        None => Ok(wanted.max(1)),
        Some(1) => Ok(1),
        Some(fixed) => Err(Error::FixedBatch { input: tensor.clone(), batch: fixed }),
    }
}

/// This moment by RFC 3339, in UTC, to the second.
fn now() -> String {
    let now = time::OffsetDateTime::from(SystemTime::now());
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
