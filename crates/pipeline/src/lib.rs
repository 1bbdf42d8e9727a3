//! The flow: from a source to a package that is checked, measured and reported.
//!
//! [`import`] is the whole job on one screen. Each step's record answers when its input is what it was, so running the
//! same command again resumes. The other functions are single jobs over one file or package.

mod bounds;
mod build;
mod calibration_tensors;
mod convert;
mod deployment;
mod detecting;
mod digest;
pub mod doctor;
mod error;
mod export_job;
mod folding;
mod from_files;
mod graphs;
mod half;
mod images;
mod in_graph;
mod inspect;
mod job;
mod mapped;
mod model_repository;
mod moved;
mod network;
mod optimize;
mod package;
mod place;
mod planner;
mod python;
mod quantize;
mod request;
mod run;
mod single;
mod steps;
mod store;
mod stream;
mod subject;
mod trial;
mod variants;
mod video;
mod watch;

use std::path::PathBuf;
use std::time::Instant;

use deploy::{Manifest, Measurements, PackageName};

// A function of this name is exported too, so the crate cannot be named in a `use`.
pub extern crate detect;
pub use {deploy, graph, hub, models, runtime};

pub use bounds::{AllBounds, BoundChange, Bounds};
pub use build::{
    BUILDERS, Batches, Builder, Building, Built, Capabilities, Converted, Converting, EngineFacts,
    PlannedEngine, build, build_best, convert_etlt, name_engine, plan_build, wants_engine,
};
pub use calibration_tensors::write_calibration_tensors;
pub use deployment::{deliver_target, deliver_triton};
pub use detecting::{Found, FoundImage, Looking, detect};
pub use digest::Digest;
pub use error::{Error, chain};
pub use export_job::{ExportedFile, export};
pub use from_files::{FromFiles, bench_files};
pub use half::{Half, HalfFile, Halving, convert_half};
pub use images::{Annotations, ImageFile, ImageSet, image_files};
pub use in_graph::{
    Found as InGraphCheck, InGraph, InGraphFile, Proving, Verdict as InGraphVerdict, put_in_graph,
};
pub use inspect::{Inspection, OnnxFile, inspect};
pub use mapped::map_file;
pub use model_repository::{
    Added, Adding, CleanedRepository, RemovedFile, add_to_repository, clean_repository,
};
pub use optimize::{Applied, ExternalData, Frozen, Optimized, Optimizing, Sameness, Verdict, optimize};
pub use package::{Reverifying, rereport, reverify};
pub use planner::{PlanFiles, Planned, Planning, plan as plan_precision, report_plan};
pub use quantize::{Choice, Int8, Quantized, Quantizing, TriedMethod, quantize, quantize_with_cache};
pub use request::Request;
pub use run::{Event, Mode, Run, Step, StepContext, Taken};
pub use single::{bench, evaluate};
pub use steps::evaluate::Evaluation;
pub use steps::export::{ExportOptions, Exported};
pub use steps::measure::{Figures, Load, Stages};
pub use steps::quantize::Calibrating;
pub use store::{Blob, Store, clean};
pub use subject::Subject;
pub use video::{Gate, KnownFrames, Played, Playing, Streamed, Streaming, play, stream};

use steps::{ACQUIRE, DELIVER, EXPORT, REPORT};
use steps::{acquire, report};

/// What an import made.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The package's folder.
    pub folder: PathBuf,
    /// What it is made of.
    pub manifest: Manifest,
    /// What was measured.
    pub measurements: Measurements,
}

/// The name that a request's package gets.
///
/// # Errors
/// [`Error::Deploy`] when the source's own name cannot be one.
pub fn package_name(request: &Request) -> Result<PackageName, Error> {
    match &request.name {
        Some(name) => Ok(name.clone()),
        None => Ok(request.source.name().parse()?),
    }
}

/// Imports a model: from a source to a package in `request.out`, checked and measured.
///
/// # Errors
/// Those of the steps; [`Error::Planned`] when the run only plans and a step would run. A failed check is no error: see
/// [`Manifest::passed`].
pub fn import(request: &Request, hub: &hub::Config, run: &Run<'_>) -> Result<Imported, Error> {
    let name = package_name(request)?;
    let folder = request.out.join(name.as_str());
    place::check_place(&folder)?;
    let data = request::Data::open(request)?;
    let started = Instant::now();
    let acquired = acquire::acquire(&request.source, &request.variant, hub, run)?;
    let acquired = run.observed(ACQUIRE, started.elapsed(), acquired)?;
    let exported = run.step(EXPORT, &(&acquired, &request.export), |context| {
        steps::export::export(&acquired, &request.export, context)
    })?;
    let job = job::Job::new(&name, request, &data, &acquired, &exported, run)?;
    let variants = job.variants(run)?;
    let proof = job.prove(&variants, run)?;
    let delivered =
        run.step(DELIVER, &job.deliver_key(&variants)?, |context| job.deliver(&variants, context))?;
    let manifest = job.manifest(&run.taken(), &variants, &proof, &delivered);
    let measured = job.measure(&variants, run)?;
    let mut measurements = job.measurements(&run.taken(), &variants, &measured);
    (measurements.tensorrt, measurements.rtx_engines) = build::kept(&folder, &manifest);
    (measurements.deepstream, measurements.video) = video::kept(&folder, &manifest);
    let facts = job.facts(&manifest, &measurements, &proof, &delivered);
    let reports = run.step(REPORT, &facts, |context| report::report(&facts, &delivered.files, context))?;
    if run.mode() == Mode::Execute {
        package::write(&run.store, &folder, &manifest, &measurements, delivered.files, reports)?;
        // The deployments were made without an engine: one that was built for the package before is named again.
        if measurements.tensorrt.as_ref().is_some_and(deploy::TensorRt::passed) {
            name_engine(&folder, request.targets.as_deref(), request.frame)?;
            return Imported::read(&folder);
        }
    }
    Ok(Imported { folder, manifest, measurements })
}

/// Tells what an import would do, step by step, without doing it.
///
/// # Errors
/// Those of [`import`] but [`Error::Planned`].
pub fn plan(request: &Request, hub: &hub::Config, run: &Run<'_>) -> Result<(), Error> {
    let Err(error) = import(request, hub, run) else { return Ok(()) };
    let Error::Planned { step } = error else { return Err(error) };
    // What comes after a step that runs depends on what it makes.
    let all = steps::all(&request.precisions, request.annotations.is_some());
    for next in all.iter().skip_while(|known| known.name != step).skip(1) {
        run.tell(Event::Planned {
            step: next.name,
            reuse: false,
            because: Some(format!("or reuse, after {step}")),
        });
    }
    Ok(())
}
