//! Sections 1 to 3: the model, the machine, the preprocessing.
//!
//! nvinfer computes `factor * (x - offset)` on bytes 0–255, so its keys follow from scale, mean and std by algebra;
//! where they cannot (one factor, three deviations) the section says so instead of rounding.

use detect::{ChannelOrder, Detector, Filter, Head, ImageInput, Resize};

use super::{counted, heading, paragraph, short};
use crate::report::ReportData;
use crate::report::data::is_onnx;
use crate::report::document::{Block, Section, Table, Text};
use crate::report::format::{bytes, count};
use crate::targets::DeepStreamFiles;
use crate::{Artefact, LayerShare, Manifest, TensorRt};

/// Most files of the source listed one by one.
const FILES: usize = 12;

/// The parser's library, or the source that it is built from.
fn parser(data: &ReportData, files: &DeepStreamFiles) -> Text {
    let built = data.measurements.deepstream.as_ref().and_then(|deepstream| deepstream.parser.as_ref());
    match built {
        Some(parser) => Text::new().code(parser),
        None if data.manifest.artefact(&files.source).is_some() => {
            Text::new().code(&files.library).plain(" (`make` builds it of the source beside it)")
        }
        None => "not part of this package".into(),
    }
}

/// Section 1.
pub(super) fn configuration(data: &ReportData) -> Section {
    let manifest = &data.manifest;
    let detector = &manifest.detector;
    let engine = data.measurements.tensorrt.as_ref().map(|tensorrt| &tensorrt.engine);
    let files = DeepStreamFiles::of(&manifest.name, &detector.head);
    let not_built = || Text::from("not built here");
    let facts = Table::facts([
        ("Model name", Text::new().code(manifest.name.as_str())),
        ("Source", Text::new().code(&manifest.source.location)),
        ("Revision", manifest.source.revision.as_ref().map_or("local files".into(), |r| Text::new().code(r))),
        ("Architecture", Text::new().code(&detector.architecture)),
        ("ONNX source", onnx_source(manifest)),
        ("Precision", precisions(manifest).into()),
        ("Input", input(&detector.input)),
        ("Outputs", outputs(&detector.head)),
        ("Classes", classes(detector).into()),
        ("Engine file", engine.map_or_else(not_built, |engine| Text::new().code(&engine.path))),
        (
            "Engine profile",
            engine.map_or_else(not_built, |engine| {
                let max = engine.max_batch;
                let (min, opt) =
                    engine.build.as_ref().map_or((1, max), |build| (build.min_batch, build.opt_batch));
                format!("batch {min} to {max}, optimum {opt}").into()
            }),
        ),
        ("Parser library", parser(data, &files)),
        ("Cluster mode", files.cluster_mode.to_string().into()),
    ]);
    let mut blocks = vec![Block::Table(facts), heading("Artefacts"), Block::Table(artefacts(manifest))];
    if !manifest.source.files.is_empty() {
        blocks.push(heading("Source files"));
        blocks.push(Block::Table(source_files(manifest)));
    }
    Section::new(1, "Model Configuration", blocks)
}

fn onnx_source(manifest: &Manifest) -> Text {
    let files = &manifest.source.files;
    match files.iter().find(|file| is_onnx(&file.path)) {
        Some(file) => Text::new().code(&file.path).plain(" of the source"),
        None => "exported from the checkpoint, without Python".into(),
    }
}

fn precisions(manifest: &Manifest) -> String {
    let mut found: Vec<_> = manifest.artefacts.iter().filter_map(|artefact| artefact.precision).collect();
    found.sort_unstable();
    found.dedup();
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn input(input: &ImageInput) -> Text {
    let mut text = Text::new();
    for (place, (name, dtype, shape)) in input.tensors().into_iter().enumerate() {
        text = if place == 0 { text } else { text.plain(", ") };
        text = text.code(name).plain(format!(" {dtype} [{shape}]"));
    }
    match &input.frames {
        Some(frames) => text.plain(format!(": {}", frames.about())),
        None => text,
    }
}

fn outputs(head: &Head) -> Text {
    let mut text = Text::new();
    for (index, output) in head.outputs().into_iter().enumerate() {
        text = if index == 0 { text } else { text.plain(", ") };
        text = text.code(output);
    }
    text.plain(match head {
        Head::Queries { .. } => ": class scores and a box for each query",
        Head::Dense { iou: Some(_), .. } => ": one row for each cell, suppressed after the graph",
        Head::Dense { iou: None, .. } => ": one row for each cell",
        Head::EndToEnd { .. } | Head::EndToEndParts { .. } => ": boxes, suppressed in the graph",
    })
}

fn classes(detector: &Detector) -> String {
    let names: Vec<&str> = detector.labels.iter().map(|(_, name)| name).take(10).collect();
    let all = detector.labels.iter().count();
    let more = if all > names.len() { " …" } else { "" };
    format!("{all}: {}{more}", names.join(", "))
}

/// Models and engines one by one, the files around them in one row.
fn artefacts(manifest: &Manifest) -> Table {
    let mut table = Table::new(&["File", "Precision", "Opset#", "Size#", "SHA-256"]);
    let (models, rest): (Vec<&Artefact>, Vec<&Artefact>) =
        manifest.artefacts.iter().partition(|artefact| artefact.precision.is_some());
    for artefact in models {
        table.row([
            Text::new().code(&artefact.path),
            artefact.precision.map_or("–".into(), |precision| precision.to_string().into()),
            artefact.opset.map_or("–".into(), |opset| opset.to_string().into()),
            bytes(artefact.bytes).into(),
            short(&artefact.sha256),
        ]);
    }
    if !rest.is_empty() {
        let size = rest.iter().map(|artefact| artefact.bytes).sum();
        let others = counted(rest.len(), "other file", "other files");
        let listed = format!("{others}, listed in manifest.json");
        table.row([listed.into(), "–".into(), "–".into(), bytes(size).into(), "".into()]);
    }
    table
}

fn source_files(manifest: &Manifest) -> Table {
    let files = &manifest.source.files;
    let mut table = Table::new(&["File", "Size#", "SHA-256"]);
    for file in files.iter().take(FILES) {
        table.row([Text::new().code(&file.path), bytes(file.bytes).into(), short(&file.sha256)]);
    }
    if files.len() > FILES {
        let rest = &files[FILES..];
        let size = rest.iter().map(|file| file.bytes).sum();
        table.row([
            format!("and {} more, listed in manifest.json", rest.len()).into(),
            bytes(size).into(),
            "".into(),
        ]);
    }
    table
}

/// Section 2.
pub(super) fn system(data: &ReportData) -> Section {
    let machine = &data.measurements.machine;
    let mut table = Table::new(&["Component", "Value"]);
    if machine.gpus.is_empty() {
        table.row(["GPU".into(), "none on this machine".into()]);
    }
    for gpu in &machine.gpus {
        table.row(["GPU".into(), gpu.name.as_str().into()]);
        table.row(["VRAM".into(), gpu.memory_bytes.map_or("unknown".into(), |size| bytes(size).into())]);
        table.row(["Driver".into(), gpu.driver.as_deref().unwrap_or("unknown").into()]);
    }
    for name in ["CUDA", "TensorRT", "DeepStream"] {
        let version = machine.software.get(name).map_or("not used in this run", String::as_str);
        table.row([name.into(), version.into()]);
    }
    table.row(["Operating system".into(), machine.os.as_str().into()]);
    table.row([
        "CPU".into(),
        format!("{} ({})", machine.cpu, counted(machine.cores as usize, "thread", "threads")).into(),
    ]);
    if let Some(memory) = machine.memory_bytes {
        table.row(["Memory".into(), bytes(memory).into()]);
    }
    for (name, version) in &machine.software {
        if !["CUDA", "TensorRT", "DeepStream"].contains(&name.as_str()) {
            table.row([name.as_str().into(), version.as_str().into()]);
        }
    }
    Section::new(2, "System Configuration", vec![Block::Table(table)])
}

/// Section 3.
pub(super) fn preprocessing(data: &ReportData) -> Section {
    let input = &data.manifest.detector.input;
    let keys = nvinfer_keys(input);
    let mut rows: Vec<(&str, Text)> = vec![
        ("Resolution", format!("{} × {} pixels", input.width, input.height).into()),
        ("Resize", resize(input).into()),
        ("Interpolation", filter(input).into()),
        ("Colour", colour(input.channels).into()),
        ("Values", values(input)),
        ("Element type", input.dtype.name().into()),
    ];
    let note = if let Some(frames) = &input.frames {
        rows.insert(
            0,
            ("Frames", format!("{}: all of this is computed in the graph", frames.about()).into()),
        );
        "The graph takes raw frames and gives boxes in pixels of the frame: whoever runs it neither resizes nor normalises. \
         nvinfer feeds planes of floats, so it cannot feed this graph."
    } else if let Some((factor, offsets)) = keys {
        rows.push(("net-scale-factor", Text::new().code(exact(factor))));
        rows.push(("offsets", Text::new().code(offsets)));
        "nvinfer computes net-scale-factor × (byte − offset), which is the same arithmetic."
    } else {
        rows.push(("net-scale-factor", "none: std differs by channel".into()));
        rows.push(("offsets", "none".into()));
        "nvinfer has one scale for three channels, so it cannot express this normalisation: it has to be in the graph \
         there. An average of the three would shift every score."
    };
    Section::new(3, "Preprocessing", vec![Block::Table(Table::facts(rows)), paragraph(note)])
}

/// nvinfer's `net-scale-factor` and `offsets`, when the three channels share one deviation.
fn nvinfer_keys(input: &ImageInput) -> Option<(f32, String)> {
    let [first, rest @ ..] = input.std;
    if rest.iter().any(|std| std.to_bits() != first.to_bits()) {
        return None;
    }
    let offsets = input.mean.map(|mean| format!("{}", mean / input.scale));
    Some((input.scale / first, offsets.join(";")))
}

/// The number as a config file wants it: 1/255 with all its digits.
fn exact(value: f32) -> String {
    let byte = 1.0_f64 / 255.0;
    if value.to_bits() == (byte as f32).to_bits() { format!("{byte:.17}") } else { value.to_string() }
}

/// The nvinfer keys that follow from the detector, and what they cannot say.
pub(super) fn nvinfer_config(detector: &Detector) -> (String, Vec<&'static str>) {
    let input = &detector.input;
    let mut limits = Vec::new();
    let mut lines = vec!["[property]".to_owned()];
    if input.frames.is_some() {
        limits.push("the graph takes raw frames, nvinfer feeds planes of floats: use the model without preprocessing in its graph");
    }
    if let Some((factor, offsets)) = nvinfer_keys(input) {
        lines.push(format!("net-scale-factor={}", exact(factor)));
        lines.push(format!("offsets={offsets}"));
    } else {
        limits.push("std differs by channel, so the normalisation has to be in the graph");
    }
    let (ratio, symmetric) = match input.resize {
        Resize::Stretch => (0, None),
        Resize::Letterbox { fill, centred, .. } => {
            if fill != 0 {
                limits.push("nvinfer pads with black, the model was trained with another grey");
            }
            (1, Some(u8::from(centred)))
        }
        Resize::ShortestEdge { .. } => {
            limits.push("nvinfer fits the whole image and has no rule for the shortest side");
            (1, Some(0))
        }
    };
    lines.push(format!("model-color-format={}", u8::from(input.channels == ChannelOrder::Bgr)));
    lines.push(format!("infer-dims=3;{};{}", input.height, input.width));
    lines.push(format!("maintain-aspect-ratio={ratio}"));
    lines.extend(symmetric.map(|symmetric| format!("symmetric-padding={symmetric}")));
    lines.push(format!("num-detected-classes={}", detector.labels.len()));
    lines.push("network-type=0".to_owned());
    (lines.join("\n"), limits)
}

fn resize(input: &ImageInput) -> String {
    match input.resize {
        Resize::Stretch => "stretched to the input; the aspect ratio is not kept".into(),
        Resize::Letterbox { fill, centred, upscale } => format!(
            "letterbox: ratio kept, padded with {fill}, {}{}",
            if centred { "centred" } else { "image at the top left" },
            if upscale { "" } else { ", never enlarged" },
        ),
        Resize::ShortestEdge { shortest, longest, multiple_of } => format!(
            "shortest side {shortest}, longest at most {longest}{}, padded right and bottom with 0",
            multiple_of.map_or_else(String::new, |step| format!(", sides multiples of {step}")),
        ),
    }
}

fn filter(input: &ImageInput) -> String {
    let name = match input.filter {
        Filter::Nearest => "nearest neighbour",
        Filter::Box => "area average",
        Filter::Bilinear => "bilinear",
        Filter::Hamming => "Hamming",
        Filter::Bicubic => "bicubic",
        Filter::Lanczos => "Lanczos",
    };
    format!("{name}, {}", if input.antialias { "antialiased when reducing" } else { "not antialiased" })
}

fn colour(channels: ChannelOrder) -> &'static str {
    match channels {
        ChannelOrder::Rgb => "RGB (model-color-format 0)",
        ChannelOrder::Bgr => "BGR (model-color-format 1)",
    }
}

fn values(input: &ImageInput) -> Text {
    if input.is_identity() {
        return "bytes 0–255 as they are".into();
    }
    let scaled = format!("x × {}", exact(input.scale));
    let plain =
        |values: [f32; 3], neutral: f32| values.iter().all(|value| value.to_bits() == neutral.to_bits());
    if plain(input.mean, 0.0) && plain(input.std, 1.0) {
        return Text::new().code(scaled);
    }
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(", ");
    Text::new().code(format!("({scaled} − mean) ÷ std")).plain(format!(
        " with mean {}, std {}",
        list(input.mean),
        list(input.std)
    ))
}

/// The engine's size and build, for section 4.
pub(super) fn engine_rows(tensorrt: &TensorRt) -> Vec<(&'static str, Text)> {
    let engine = &tensorrt.engine;
    let mut rows = vec![
        ("Engine file", Text::new().code(&engine.path)),
        ("Engine size", bytes(engine.bytes).into()),
        ("Precision (read from the layers)", engine.precision.to_string().into()),
        ("Maximum batch", engine.max_batch.to_string().into()),
        (
            "Workspace",
            engine.workspace_mib.map_or("no limit".into(), |mib| format!("{} MiB", count(mib)).into()),
        ),
        ("Timing cache", engine.timing_cache.as_ref().map_or("none".into(), |path| Text::new().code(path))),
        ("Build time", crate::report::format::seconds(engine.build_seconds).into()),
    ];
    if let Some(level) = engine.optimization_level {
        rows.push(("Optimisation level", level.to_string().into()));
    }
    let Some(build) = &engine.build else { return rows };
    rows.push(("Built with", format!("TensorRT {} on {}", build.tensorrt, build.gpu).into()));
    if !build.layers.is_empty() {
        let share =
            |share: &LayerShare| format!("{:.0} % {} ({})", share.share * 100.0, share.dtype, share.layers);
        let shares: Vec<String> = build.layers.iter().map(share).collect();
        rows.push(("Layers with weights compute in", shares.join(", ").into()));
    }
    for retry in &build.retries {
        rows.push(("Retried", Text::literals(&format!("{}: {}", retry.because, retry.then))));
    }
    rows
}
