//! One import after its graph is there: what each later step works on, and the key that its record is found by.
//!
//! A key holds everything that the step's output depends on, as digests and options; nothing else.

use std::path::PathBuf;
use std::time::SystemTime;

use deploy::report::Command;
use deploy::{Artefact, Manifest, Measurements, PackageName, StepTime, Tool};
use serde_json::{Value, json};

use crate::Error;
use crate::bounds::Bounds;
use crate::convert;
use crate::images::ImageSet;
use crate::request::{Data, Request};
use crate::run::{Run, StepContext, Taken};
use crate::steps::acquire::Acquired;
use crate::steps::deliver::{Delivered, Delivery, deliver};
use crate::steps::export::Exported;
use crate::steps::measure::Measured;
use crate::steps::report::Facts;
use crate::steps::{MEASURE, REPORT};
use crate::variants::{Proof, Variant};

/// Everything that the steps after the export share.
pub(crate) struct Job<'a> {
    pub(crate) name: &'a PackageName,
    pub(crate) request: &'a Request,
    acquired: &'a Acquired,
    pub(crate) exported: &'a Exported,
    pub(crate) data: &'a Data,
    /// The largest batch that the graph takes and the request wants.
    pub(crate) max_batch: usize,
    pub(crate) exact: PathBuf,
    pub(crate) machine: runtime::Machine,
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
            max_batch: batch_limit(exported, request.max_batch)?,
            exact: run.store.path(&exported.exact),
            machine: runtime::Machine::detect(),
        })
    }

    pub(crate) fn backend(&self) -> Result<Value, Error> {
        let probe = runtime::backend(&self.request.backend)?.probe()?;
        Ok(json!({"name": self.request.backend, "version": probe.version}))
    }

    pub(crate) fn deliver_key(&self, variants: &[Variant]) -> Result<Value, Error> {
        let models: Vec<Value> = variants.iter().map(|v| json!({"path": v.path, "model": v.model})).collect();
        Ok(json!({
            "name": self.name, "models": models, "detector": self.exported.detector,
            "targets": self.data.targets, "named": self.request.targets.is_some(), "frame": self.request.frame,
            "max_batch": self.max_batch, "images": self.sampled(), "backend": self.backend()?,
            "annotations": self.data.annotations.as_ref().map(|annotations| &annotations.sha256),
        }))
    }

    pub(crate) fn deliver(
        &self,
        variants: &[Variant],
        context: &StepContext<'_, '_>,
    ) -> Result<Delivered, Error> {
        let images = self.sampled();
        let delivery = Delivery {
            name: self.name,
            detector: &self.exported.detector,
            variants,
            outputs: &self.exported.outputs,
            max_batch: self.max_batch,
            targets: &self.data.targets,
            named: self.request.targets.is_some(),
            frame: self.request.frame,
            backend: &self.request.backend,
            images: &images,
            annotations: self.data.annotations.as_ref(),
        };
        deliver(&delivery, context)
    }

    /// What the package is made of. It holds nothing that differs between two runs on the same input.
    pub(crate) fn manifest(
        &self,
        taken: &[Taken],
        variants: &[Variant],
        proof: &Proof,
        delivered: &Delivered,
    ) -> Manifest {
        let is_bound_to_machine = |step| MEASURE.contains(step) || step == REPORT;
        let steps = taken.iter().filter(|taken| !is_bound_to_machine(taken.step));
        let artefacts = delivered.files.iter().map(|file| {
            let variant = variants.iter().find(|variant| variant.path == file.path);
            Artefact {
                path: file.path.clone(),
                sha256: file.blob.sha256.to_string(),
                bytes: file.blob.bytes,
                precision: variant.map(|variant| variant.precision),
                opset: variant.map(|variant| u32::try_from(variant.opset).unwrap_or(0)),
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
            calibration: variants.iter().find_map(Variant::calibration),
            checks: proof.checks.iter().chain(&delivered.checks).cloned().collect(),
            accuracy: proof.accuracy(),
        }
    }

    /// What differs from run to run.
    pub(crate) fn measurements(
        &self,
        taken: &[Taken],
        variants: &[Variant],
        measured: &[Measured],
    ) -> Measurements {
        let steps = taken.iter().map(|taken| StepTime {
            name: taken.step.name.to_owned(),
            seconds: (taken.elapsed.as_secs_f64() * 1e3).round() / 1e3,
        });
        let figures = variants.iter().zip(measured).flat_map(|(variant, measured)| {
            convert::figures(&variant.path, variant.precision, &measured.figures)
        });
        let figures = figures.collect();
        let first = measured.first();
        Measurements {
            schema: Measurements::SCHEMA,
            measured_at: first.map(|measured| measured.at.clone()),
            machine: convert::machine(&self.machine, first.map(|measured| &measured.figures)),
            steps: steps.collect(),
            figures,
            image: first.map(|measured| convert::image_times(&measured.figures)),
            tensorrt: None,
            rtx_engines: Vec::new(),
            deepstream: None,
            video: None,
            plan: None,
        }
    }

    /// Everything that the report says.
    pub(crate) fn facts(
        &self,
        manifest: &Manifest,
        measurements: &Measurements,
        proof: &Proof,
        delivered: &Delivered,
    ) -> Facts {
        Facts {
            manifest: manifest.clone(),
            measurements: measurements.clone(),
            curves: proof.evaluation().map(convert::curves).unwrap_or_default(),
            samples: delivered.samples.clone(),
            commands: vec![Command { purpose: "Import".into(), line: self.request.command_line.clone() }],
        }
    }

    pub(crate) fn verified(&self, bounds: &Bounds) -> ImageSet {
        self.data.images.first(Request::verified(bounds))
    }

    pub(crate) fn sampled(&self) -> ImageSet {
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
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::from(SystemTime::now());
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
