//! `sightline inspect`: what is this file?

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::detect::{Detector, Head};
use pipeline::graph::{CalibrationCache, EngineTensor, PlanKind, ValueInfo};
use pipeline::models::CheckpointFacts;
use pipeline::runtime::tools::trtexec::Trtexec;
use pipeline::{EngineFacts, Inspection, OnnxFile};
use serde::Serialize;

use crate::Failure;
use crate::output::Output;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An ONNX file, safetensors, PyTorch checkpoint, engine plan or calibration cache
    file: PathBuf,
    /// Ask this `trtexec` what the layers of an engine are, when nothing beside it says so
    #[arg(long, value_name = "PATH")]
    trtexec: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Inspection);

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let named = args.trtexec.as_deref();
    let trtexec =
        named.map(|named| Trtexec::find(Some(named), None)).transpose().map_err(pipeline::Error::from)?;
    output.result(&Shown(pipeline::inspect(&args.file, trtexec.as_ref())?))?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inspection::Onnx(file) => onnx(f, file),
            Inspection::Checkpoint(facts) => checkpoint(f, facts),
            Inspection::EnginePlan(facts) => engine(f, facts),
            Inspection::CalibrationCache(cache) => calibration_cache(f, cache),
        }
    }
}

fn onnx(f: &mut fmt::Formatter<'_>, OnnxFile { facts, detector }: &OnnxFile) -> fmt::Result {
    writeln!(f, "ONNX        opset {}, IR {}", facts.opset, facts.ir_version)?;
    for (domain, version) in facts.opsets.iter().filter(|(domain, _)| !domain.is_empty()) {
        writeln!(f, "            {domain} {version}")?;
    }
    writeln!(f, "producer    {} {}", facts.producer, facts.producer_version)?;
    values(f, "inputs", &facts.inputs)?;
    values(f, "outputs", &facts.outputs)?;
    if let Some(detector) = detector {
        writeln!(f, "detector    {}", about(detector))?;
    }
    writeln!(f, "parameters  {} ({:.1} MB)", millions(facts.parameters), facts.parameter_bytes as f64 / 1e6)?;
    match facts.flops {
        Some(flops) => writeln!(f, "FLOPs       {:.2} G for one image", flops as f64 / 1e9),
        None => writeln!(f, "FLOPs       not known: {} nodes have no known shape", facts.flops_unknown_nodes),
    }?;
    for share in &facts.precisions {
        let flops =
            share.flops_share.map(|share| format!(", {:.1} % of FLOPs", share * 100.0)).unwrap_or_default();
        writeln!(
            f,
            "precision   {}: {:.1} % of parameters{flops}",
            share.dtype,
            share.parameter_share * 100.0
        )?;
    }
    writeln!(f, "nodes       {}", facts.nodes)?;
    for row in facts.operators.chunks(4) {
        let cells: Vec<String> =
            row.iter().map(|entry| format!("{:>5} {:<22}", entry.count, entry.operator)).collect();
        writeln!(f, "  {}", cells.join("").trim_end())?;
    }
    for (key, value) in &facts.metadata {
        writeln!(f, "metadata    {key}: {}", one_line(value))?;
    }
    for warning in &facts.warnings {
        writeln!(f, "warning     {}", warning.message)?;
    }
    Ok(())
}

/// What goes in and what comes out, in a line.
fn about(detector: &Detector) -> String {
    let input = &detector.input;
    let size = format!("{}×{}", input.width, input.height);
    let takes = match &input.frames {
        Some(frames) => format!("takes {}, resized to {size} in the graph", frames.about()),
        None => format!("input {size}, preprocessed by the caller"),
    };
    let gives = match &detector.head {
        Head::Queries { .. } => "gives queries",
        Head::Dense { .. } => "gives a row for each cell",
        Head::EndToEnd { .. } | Head::EndToEndParts { .. } => "gives detections",
    };
    format!("{}, {} classes; {takes}; {gives}", detector.architecture, detector.labels.len())
}

fn values(f: &mut fmt::Formatter<'_>, title: &str, values: &[ValueInfo]) -> fmt::Result {
    for (place, value) in values.iter().enumerate() {
        writeln!(f, "{:<11} {value}", if place == 0 { title } else { "" })?;
    }
    Ok(())
}

fn checkpoint(f: &mut fmt::Formatter<'_>, facts: &CheckpointFacts) -> fmt::Result {
    writeln!(
        f,
        "checkpoint  {} tensors, {} parameters, {:.1} MB",
        facts.tensors.len(),
        millions(facts.parameters),
        facts.bytes as f64 / 1e6
    )?;
    for (key, value) in &facts.metadata {
        writeln!(f, "metadata    {key}: {}", one_line(value))?;
    }
    for name in &facts.foreign {
        writeln!(f, "foreign     asks to import {}: it is not exported", one_line(name))?;
    }
    for tensor in &facts.tensors {
        writeln!(f, "  {:<8} {:<20} {}", tensor.dtype, format!("{:?}", tensor.shape), tensor.name)?;
    }
    Ok(())
}

fn engine(f: &mut fmt::Formatter<'_>, facts: &EngineFacts) -> fmt::Result {
    let plan = &facts.plan;
    writeln!(f, "engine      {} {}, {:.1} MB", plan.builder, plan.version, plan.bytes as f64 / 1e6)?;
    if !plan.compute_capabilities.is_empty() {
        let each: Vec<String> = plan.compute_capabilities.iter().map(ToString::to_string).collect();
        writeln!(f, "runs on     GPUs of compute capability {}", each.join(", "))?;
    }
    if let Some(prefix) = &plan.ultralytics {
        writeln!(
            f,
            "prefix      {} bytes of Ultralytics' JSON stand before the plan: TensorRT's own tools cannot read this file",
            plan.offset
        )?;
        writeln!(f, "            {}", one_line(&prefix.to_string()))?;
    }
    if let Some(recorded) = &facts.build {
        let engine = &recorded.engine;
        if let Some(build) = &engine.build {
            writeln!(f, "built       for {}, from {}", build.gpu, engine.built_from)?;
            writeln!(
                f,
                "profile     batch {} to {}, fastest at {}",
                build.min_batch, engine.max_batch, build.opt_batch
            )?;
        }
    }
    let Some(layers) = &facts.layers else {
        let way = match plan.builder {
            PlanKind::TensorRt => "`--trtexec PATH` asks TensorRT",
            PlanKind::TensorRtRtx => "they are told while the engine is built only",
        };
        return writeln!(f, "layers      not known: {way}");
    };
    tensors(f, "inputs", &layers.inputs)?;
    tensors(f, "outputs", &layers.outputs)?;
    writeln!(f, "layers      {}", layers.layers.len())?;
    for share in &facts.precisions {
        writeln!(f, "precision   {}: {} layers, {:.1} %", share.dtype, share.layers, share.share * 100.0)?;
    }
    if facts.precisions.is_empty() {
        writeln!(f, "precision   not known: it was built without `--profilingVerbosity=detailed`")?;
    }
    writeln!(f, "Isaac ROS   input_binding_names {}", list(&facts.input_binding_names))?;
    writeln!(f, "            output_binding_names {}", list(&facts.output_binding_names))
}

fn tensors(f: &mut fmt::Formatter<'_>, title: &str, tensors: &[EngineTensor]) -> fmt::Result {
    for (place, tensor) in tensors.iter().enumerate() {
        let title = if place == 0 { title } else { "" };
        let dtype = tensor.dtype.map_or("unknown type".to_owned(), |dtype| dtype.to_string());
        writeln!(f, "{title:<11} {} {dtype} {:?}", tensor.name, tensor.shape)?;
        for profile in &tensor.profiles {
            writeln!(f, "            min {:?}, opt {:?}, max {:?}", profile.min, profile.opt, profile.max)?;
        }
    }
    Ok(())
}

/// `['images', 'sizes']`, as a launch file takes it.
fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn calibration_cache(f: &mut fmt::Formatter<'_>, cache: &CalibrationCache) -> fmt::Result {
    writeln!(
        f,
        "calibration cache of TensorRT {}, {}, {} entries",
        cache.tensorrt_version(),
        cache.algorithm,
        cache.entries.len()
    )?;
    for entry in &cache.entries {
        writeln!(f, "  {:<12} {}", entry.scale, entry.name)?;
    }
    Ok(())
}

fn millions(count: u64) -> String {
    if count < 100_000 { count.to_string() } else { format!("{:.2} M", count as f64 / 1e6) }
}

/// Text on one line, cut where it is long.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 100 {
        text
    } else {
        format!("{}…", text.chars().take(99).collect::<String>())
    }
}
