//! Sections 4 to 6: the TensorRT engine, what `trtexec` measured, how many streams that promises.

use super::{Material, Missing, missing, model, paragraph, section};
use crate::report::ReportData;
use crate::report::charts;
use crate::report::document::{Block, Section, Table, Text};
use crate::report::format::{bytes, milliseconds, number, seconds};
use crate::{TensorRt, TrtexecRun};

/// Section 4.
pub(super) fn build(data: &ReportData) -> Section {
    let main = data.main_model().and_then(|path| data.manifest.artefact(path));
    let mut rows: Vec<(&'static str, Text)> = Vec::new();
    if let Some(onnx) = main {
        rows.push(("Source format", "ONNX".into()));
        rows.push(("ONNX file", Text::new().code(&onnx.path)));
        rows.push(("ONNX size", bytes(onnx.bytes).into()));
        if let Some(opset) = onnx.opset {
            rows.push(("Opset", opset.to_string().into()));
        }
    }
    let absent = match &data.measurements.tensorrt {
        Some(tensorrt) => {
            rows.push(("Built from", Text::new().code(&tensorrt.engine.built_from)));
            rows.extend(model::engine_rows(tensorrt));
            None
        }
        None => Some(missing(data, none_here(data), Missing::TensorRt)),
    };
    let table = (!rows.is_empty()).then(|| Block::Table(Table::facts(rows)));
    section(4, "Engine Build Summary", [table, absent, rtx(&data.measurements.rtx_engines)])
}

/// What is said without an engine of this machine; there may be some for others.
fn none_here(data: &ReportData) -> &'static str {
    match &data.measurements.rtx_engines[..] {
        [] => "No engine was built.",
        _ => "No engine was built for this machine.",
    }
}

/// What was built for machines with RTX GPUs, which needs none here.
fn rtx(engines: &[TensorRt]) -> Option<Block> {
    let mut table =
        Table::new(&["TensorRT for RTX", "GPUs", "Precision", "Maximum batch#", "Size#", "Build time#"]);
    for TensorRt { engine, .. } in engines {
        table.row([
            Text::new().code(&engine.path),
            engine.build.as_ref().map_or_else(|| "–".into(), |build| build.gpu.as_str().into()),
            engine.precision.to_string().into(),
            engine.max_batch.to_string().into(),
            bytes(engine.bytes).into(),
            seconds(engine.build_seconds).into(),
        ]);
    }
    (!engines.is_empty()).then_some(Block::Table(table))
}

/// Section 5.
pub(super) fn trtexec(material: &Material<'_>) -> Section {
    let data = material.data;
    let runs = data.measurements.tensorrt.as_ref().and_then(|tensorrt| runs(tensorrt).map(Block::Table));
    let body = runs.unwrap_or_else(|| missing(data, "The engine was not timed.", Missing::TensorRt));
    section(5, "trtexec Results", [Some(body), material.promised(&[charts::BATCHES, charts::THROUGHPUT])])
}

fn runs(tensorrt: &TensorRt) -> Option<Table> {
    let runs: Vec<TrtexecRun> = [tensorrt.batch_1, tensorrt.batch_max].into_iter().flatten().collect();
    if runs.is_empty() {
        return None;
    }
    let mut table =
        Table::new(&["Batch#", "QPS#", "Images/s#", "GPU mean#", "GPU P99#", "GPU mean per image#"]);
    for run in runs {
        table.row([
            run.batch.to_string().into(),
            number(run.qps).into(),
            number(run.images_per_second()).into(),
            milliseconds(run.gpu_mean_ms).into(),
            milliseconds(run.gpu_p99_ms).into(),
            milliseconds(run.gpu_mean_ms / f64::from(run.batch.max(1))).into(),
        ]);
    }
    Some(table)
}

/// Section 6.
pub(super) fn streams(data: &ReportData) -> Section {
    let run = data.measurements.tensorrt.as_ref().and_then(|tensorrt| tensorrt.batch_max);
    let blocks = match run {
        Some(run) => vec![
            Block::Code {
                language: "text",
                text: format!(
                    "PEAK_GPU_STREAMS = floor(images per second at the maximum batch / 30)\n\
                     \u{20}                = floor({:.1} / 30)\n\
                     \u{20}                = {}",
                    run.images_per_second(),
                    run.streams()
                ),
            },
            paragraph(
                "This is what the GPU alone could serve; decoding and scheduling take their part (section 10).",
            ),
        ],
        None => vec![missing(
            data,
            "It follows from the images a second at the maximum batch.",
            Missing::TensorRt,
        )],
    };
    Section::new(6, "PEAK_GPU_STREAMS Derivation", blocks)
}
