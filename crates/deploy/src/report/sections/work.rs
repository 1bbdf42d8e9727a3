//! Sections 11 and 12: how long the steps took, and the commands to run again.

use super::{heading, model, paragraph};
use crate::report::ReportData;
use crate::report::commands::trtexec;
use crate::report::document::{Block, Section, Table, Text};
use crate::report::format::seconds;

/// Section 11.
pub(super) fn timing(data: &ReportData) -> Section {
    let steps = &data.measurements.steps;
    if steps.is_empty() {
        return Section::new(11, "Pipeline Timing", vec![paragraph("No step was timed in this run.")]);
    }
    let mut table = Table::new(&["Step", "Time#"]);
    for step in steps {
        table.row([Text::new().code(&step.name), seconds(step.seconds).into()]);
    }
    let total = steps.iter().map(|step| step.seconds).sum();
    table.row([Text::new().strong("Total"), Text::new().strong(seconds(total))]);
    Section::new(11, "Pipeline Timing", vec![Block::Table(table)])
}

/// Section 12.
pub(super) fn commands(data: &ReportData) -> Section {
    let shell = |text: String| Block::Code { language: "sh", text };
    let mut blocks = Vec::new();
    for command in &data.commands {
        blocks.push(heading(&command.purpose));
        blocks.push(shell(command.line.clone()));
    }
    let name = &data.manifest.name;
    blocks.push(heading("Use the package"));
    blocks.push(shell(format!(
        "sightline detect models/{name} image.jpg\n\
         sightline eval models/{name} --annotations instances.json --images images\n\
         sightline bench models/{name}\n\
         sightline report models/{name}"
    )));
    blocks.push(heading("With ONNX Runtime alone, from the package's folder"));
    blocks.push(shell("python3 onnxruntime/python/detect.py image.jpg".into()));
    if let Some(model) = data.main_model() {
        blocks.push(heading("On a machine with TensorRT, from the package's folder"));
        blocks.push(paragraph(
            "Up to TensorRT 10; from TensorRT 11 on leave out --fp16, which is refused there because the precision is \
             taken from the graph.",
        ));
        blocks.push(shell(trtexec(data, model).join("\n")));
    }
    let (keys, limits) = model::nvinfer_config(&data.manifest.detector);
    blocks.push(heading("nvinfer keys that follow from the detector"));
    blocks.push(Block::Code { language: "ini", text: keys });
    if !limits.is_empty() {
        blocks.push(paragraph(format!("They do not say everything: {}.", limits.join("; "))));
    }
    Section::new(12, "Reference Commands", blocks)
}
