//! Sections 7 to 10: the pipeline around the engine.
//!
//! Efficiency is the pipeline's images a second in percent of the engine's own; it may exceed 100 for engines whose
//! timing has two modes.

use super::{Material, Missing, heading, missing, paragraph, section};
use crate::measurements::STREAM_FPS;
use crate::report::ReportData;
use crate::report::charts::{self, Source};
use crate::report::document::{Block, Section, Table, Text};
use crate::report::format::{count, number};
use crate::{Capture, StreamLimit, StreamRun, TrtexecRun, Verdict};

/// Section 7.
pub(super) fn validation(data: &ReportData) -> Section {
    let capture = data.measurements.deepstream.as_ref().and_then(|deepstream| deepstream.capture.as_ref());
    let mut blocks = vec![match capture {
        Some(capture) => Block::Table(Table::facts(capture_rows(capture))),
        None => missing(data, "No video was played through the pipeline.", Missing::DeepStream),
    }];
    if let Some(video) = &data.measurements.video {
        let mut rows = vec![
            ("Backend", Text::from(video.backend.clone())),
            ("Frames read", count(video.frames_read).into()),
            ("Frames per second", number(video.frames_read as f64 / video.seconds.max(1e-3)).into()),
        ];
        rows.extend(capture_rows(&video.capture));
        blocks.extend([heading("Without DeepStream"), Block::Table(Table::facts(rows))]);
    }
    Section::new(7, "Single-Stream Validation", blocks)
}

fn capture_rows(capture: &Capture) -> [(&'static str, Text); 8] {
    let share = 100.0 * capture.frames_with_detections as f64 / capture.frames.max(1) as f64;
    let verdict = if capture.passed { Verdict::Pass } else { Verdict::Fail };
    let artefact = capture.artefact.as_ref();
    [
        ("Video", Text::new().code(&capture.video)),
        ("KITTI folder", Text::new().code(&capture.kitti_folder)),
        ("Total frames", count(capture.frames).into()),
        ("Frames with detections", count(capture.frames_with_detections).into()),
        ("Detection rate", format!("{share:.1} %").into()),
        ("Visual Capture Mode", capture.mode.as_str().into()),
        ("Artefact", artefact.map_or("none".into(), |artefact| Text::new().code(artefact))),
        ("Verdict", Text::verdict(&verdict)),
    ]
}

fn runs(data: &ReportData) -> Vec<(&'static str, StreamRun)> {
    let deepstream = data.measurements.deepstream.as_ref();
    let named = [
        ("Run 1", deepstream.and_then(|deepstream| deepstream.run_1)),
        ("Run 2", deepstream.and_then(|deepstream| deepstream.run_2)),
    ];
    named.into_iter().filter_map(|(name, run)| Some((name, run?))).collect()
}

fn engine(data: &ReportData) -> Option<TrtexecRun> {
    data.measurements.tensorrt.as_ref().and_then(|tensorrt| tensorrt.batch_max)
}

fn real_time(fps: f64) -> &'static str {
    if fps >= STREAM_FPS { "YES" } else { "NO" }
}

/// Section 8.
pub(super) fn results(material: &Material<'_>) -> Section {
    let data = material.data;
    let mut table = Table::new(&["Run", "Streams#", "Batch#", "FPS/stream#", "Total FPS#", "Real-time"]);
    for (name, run) in runs(data) {
        table.row([
            name.into(),
            run.streams.to_string().into(),
            run.streams.to_string().into(),
            number(run.fps_per_stream()).into(),
            number(run.total_fps).into(),
            real_time(run.fps_per_stream()).into(),
        ]);
    }
    let body = if table.rows.is_empty() {
        missing(data, "No streams were run.", Missing::DeepStream)
    } else {
        Block::Table(table)
    };
    let chart = material.promised(&[charts::STREAMS]);
    section(8, "DeepStream Benchmark Results", [Some(body), chart])
}

/// Section 9.
pub(super) fn comparison(material: &Material<'_>) -> Section {
    let data = material.data;
    let body = match (engine(data), runs(data)) {
        (Some(engine), runs) if !runs.is_empty() => Block::Table(comparison_table(engine, &runs)),
        _ => missing(data, "It sets the engine alone against the whole pipeline.", Missing::DeepStream),
    };
    let chart = material.promised(&[charts::COMPARISON]);
    section(9, "trtexec vs DeepStream Comparison", [Some(body), chart])
}

fn comparison_table(engine: TrtexecRun, runs: &[(&'static str, StreamRun)]) -> Table {
    let total = engine.images_per_second();
    let mut table = Table::new(&[
        "Measured",
        "Batch or streams#",
        "Total images/s#",
        "FPS/stream#",
        "≥ 30 fps",
        "Efficiency#",
    ]);
    table.row([
        "trtexec".into(),
        engine.batch.to_string().into(),
        number(total).into(),
        "–".into(),
        "–".into(),
        "100 %".into(),
    ]);
    for (name, run) in runs {
        table.row([
            format!("DeepStream {name}").into(),
            run.streams.to_string().into(),
            number(run.total_fps).into(),
            number(run.fps_per_stream()).into(),
            real_time(run.fps_per_stream()).into(),
            format!("{:.1} %", percent(*run, engine)).into(),
        ]);
    }
    table
}

fn percent(run: StreamRun, engine: TrtexecRun) -> f64 {
    100.0 * run.total_fps / engine.images_per_second().max(f64::MIN_POSITIVE)
}

fn verdict(limit: StreamLimit) -> &'static str {
    match limit {
        StreamLimit::Gpu => "The GPU is the limit: a faster engine would serve more streams.",
        StreamLimit::Nvdec => {
            "The hardware video decoder (NVDEC) is the limit: a faster engine alone would not serve more streams."
        }
        StreamLimit::Pipeline => {
            "The pipeline around the engine is the limit: a faster engine alone would not serve more streams."
        }
    }
}

/// Section 10.
pub(super) fn efficiency(material: &Material<'_>) -> Section {
    let data = material.data;
    let mut blocks = match (engine(data), runs(data).last().copied()) {
        (Some(engine), Some((name, run))) => {
            let share = percent(run, engine);
            let lost = engine.images_per_second() - run.total_fps;
            let limit = data.measurements.deepstream.as_ref().and_then(|deepstream| deepstream.limit);
            let verdict = verdict(limit.unwrap_or(match share {
                90.0.. => StreamLimit::Gpu,
                _ => StreamLimit::Pipeline,
            }));
            vec![
                Block::Code {
                    language: "text",
                    text: format!(
                        "efficiency = DeepStream images per second / trtexec images per second\n\
                         \u{20}          = {:.1} / {:.1} = {share:.1} %   ({name})",
                        run.total_fps,
                        engine.images_per_second()
                    ),
                },
                paragraph(format!(
                    "{} images a second of the engine's own throughput are not reached by the pipeline (video \
                     decoding, batching, scheduling). {verdict}",
                    number(lost.max(0.0))
                )),
            ]
        }
        _ => {
            vec![missing(data, "It divides the pipeline's throughput by the engine's.", Missing::DeepStream)]
        }
    };
    blocks.extend(material.promised(&[charts::EFFICIENCY]));
    if let Some(cards) = material.charts(Source::Missing, 32) {
        blocks.push(heading("Charts that wait for data"));
        blocks.push(cards);
    }
    Section::new(10, "Efficiency Analysis", blocks)
}
