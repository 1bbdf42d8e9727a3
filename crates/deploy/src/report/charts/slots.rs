//! Which data fills each of the five charts.

use super::bars::{Bar, BarChart};
use super::canvas::{BLUE, GREEN, ORANGE, PALETTE, PINK, PURPLE, SIZE, TEAL, axis_end};
use super::card::Card;
use super::lines::{Lines, Series};
use super::{BATCHES, COMPARISON, Chart, EFFICIENCY, STREAMS, Source, THROUGHPUT};
use crate::measurements::STREAM_FPS;
use crate::report::format::number;
use crate::report::{ReportData, commands};
use crate::{Error, Figure, StreamRun, TrtexecRun};

/// The five charts, in their order.
pub(in crate::report) fn charts(data: &ReportData) -> Result<Vec<Chart>, Error> {
    Ok(vec![batches(data)?, throughput(data)?, streams(data)?, comparison(data)?, efficiency(data)?])
}

fn trtexec(data: &ReportData) -> (Option<TrtexecRun>, Option<TrtexecRun>) {
    data.measurements
        .tensorrt
        .as_ref()
        .map_or((None, None), |tensorrt| (tensorrt.batch_1, tensorrt.batch_max))
}

fn stream_runs(data: &ReportData) -> (Option<StreamRun>, Option<StreamRun>) {
    data.measurements.deepstream.as_ref().map_or((None, None), |runs| (runs.run_1, runs.run_2))
}

/// The figures of one artefact on one backend, by ascending batch; groups in order of appearance.
fn groups(data: &ReportData) -> Vec<Vec<&Figure>> {
    let mut groups: Vec<Vec<&Figure>> = Vec::new();
    for figure in &data.measurements.figures {
        let own = |group: &&mut Vec<&Figure>| {
            group.first().is_some_and(|first| {
                (&first.backend, &first.device, &first.artefact)
                    == (&figure.backend, &figure.device, &figure.artefact)
            })
        };
        match groups.iter_mut().find(own) {
            Some(group) => group.push(figure),
            None => groups.push(vec![figure]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|figure| figure.batch);
    }
    groups
}

/// Backend, precision, device and threads in words.
fn setting(figure: &Figure) -> String {
    let threads = figure.threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
    format!("{} backend, {} on {}{threads}", figure.backend, figure.precision, figure.device)
}

fn model(data: &ReportData) -> String {
    data.manifest.name.to_string()
}

fn card(
    file: &'static str,
    data: &ReportData,
    subtitle: &str,
    missing: commands::Missing,
) -> Result<Chart, Error> {
    let card = Card {
        title: model(data),
        subtitle: subtitle.to_owned(),
        reason: missing.reason().to_owned(),
        command: missing.command(data),
    };
    let alt = format!("{subtitle}: not measured here; {} fills this chart", card.command);
    Ok(Chart { file, alt, source: Source::Missing, svg: card.draw(file)? })
}

fn bar_chart(file: &'static str, source: Source, chart: &BarChart) -> Result<Chart, Error> {
    let values: Vec<String> = chart
        .bars
        .iter()
        .map(|bar| format!("{} {}{}", bar.label.replace('\n', " "), number(bar.value), chart.suffix))
        .collect();
    let alt = format!("{} ({}): {}", chart.subtitle, chart.axis, values.join(", "));
    Ok(Chart { file, alt, source, svg: chart.draw(file)? })
}

fn batches(data: &ReportData) -> Result<Chart, Error> {
    if let (Some(one), Some(max)) = trtexec(data) {
        let bar =
            |run: TrtexecRun, colour| Bar { label: format!("batch {}", run.batch), value: run.qps, colour };
        let chart = BarChart {
            title: model(data),
            subtitle: format!("trtexec: queries a second at batch 1 and {}", max.batch),
            axis: "queries a second (QPS)".into(),
            bars: vec![bar(one, BLUE), bar(max, GREEN)],
            line: None,
            suffix: "",
        };
        return bar_chart(BATCHES, Source::Promised, &chart);
    }
    let groups = groups(data);
    let Some(group) = groups.iter().find(|group| group.len() > 1).or_else(|| groups.first()) else {
        return card(
            BATCHES,
            data,
            "Queries a second at batch 1 and the maximum",
            commands::Missing::TensorRt,
        );
    };
    let chart = BarChart {
        title: model(data),
        subtitle: format!("Throughput by batch: {}", group.first().map_or_else(String::new, |f| setting(f))),
        axis: "images a second".into(),
        bars: group
            .iter()
            .zip([BLUE, GREEN].into_iter().chain(PALETTE.into_iter().skip(2)))
            .map(|(figure, colour)| Bar {
                label: format!("batch {}", figure.batch),
                value: figure.images_per_second,
                colour,
            })
            .collect(),
        line: None,
        suffix: "",
    };
    bar_chart(BATCHES, Source::ThisMachine, &chart)
}

fn throughput(data: &ReportData) -> Result<Chart, Error> {
    if let (_, Some(max)) = trtexec(data) {
        let line = f64::from(max.streams()) * STREAM_FPS;
        let chart = BarChart {
            title: model(data),
            subtitle: format!("trtexec: images a second at batch {}", max.batch),
            axis: "images a second".into(),
            bars: vec![Bar {
                label: format!("batch {}", max.batch),
                value: max.images_per_second(),
                colour: BLUE,
            }],
            line: Some((line, format!("{} streams × 30 fps = {}", max.streams(), number(line)))),
            suffix: "",
        };
        return bar_chart(THROUGHPUT, Source::Promised, &chart);
    }
    let groups = groups(data);
    let chart = match groups.as_slice() {
        [] => {
            return card(
                THROUGHPUT,
                data,
                "Images a second at the maximum batch",
                commands::Missing::TensorRt,
            );
        }
        [only] => latency_chart(data, only),
        several => backend_chart(data, several),
    };
    bar_chart(THROUGHPUT, Source::ThisMachine, &chart)
}

/// One backend: how its latency spreads at the smallest batch.
fn latency_chart(data: &ReportData, group: &[&Figure]) -> BarChart {
    let mut bars = Vec::new();
    let mut subtitle = String::new();
    if let Some(figure) = group.first() {
        subtitle = format!("Latency at batch {}: {}", figure.batch, setting(figure));
        let percentiles = [
            ("p50", figure.latency.p50_ms, BLUE),
            ("p90", figure.latency.p90_ms, TEAL),
            ("p99", figure.latency.p99_ms, ORANGE),
        ];
        bars.extend(percentiles.map(|(label, value, colour)| Bar { label: label.into(), value, colour }));
    }
    BarChart { title: model(data), subtitle, axis: "milliseconds a run".into(), bars, line: None, suffix: "" }
}

/// Several backends or precisions: each at its largest batch.
fn backend_chart(data: &ReportData, groups: &[Vec<&Figure>]) -> BarChart {
    let bars = groups
        .iter()
        .filter_map(|group| group.last())
        .zip(PALETTE.into_iter().cycle())
        .map(|(figure, colour)| Bar {
            label: format!("{} {}\nbatch {}", figure.backend, figure.precision, figure.batch),
            value: figure.images_per_second,
            colour,
        })
        .collect();
    BarChart {
        title: model(data),
        subtitle: "Throughput by backend and precision, each at its largest batch".into(),
        axis: "images a second".into(),
        bars,
        line: Some((STREAM_FPS, "30 images a second: one real-time stream".into())),
        suffix: "",
    }
}

fn streams(data: &ReportData) -> Result<Chart, Error> {
    let (run_1, run_2) = stream_runs(data);
    let mut points: Vec<(f64, f64)> = [run_1, run_2]
        .into_iter()
        .flatten()
        .map(|run| (f64::from(run.streams), run.fps_per_stream()))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let subtitle = "DeepStream: frame rate of a stream over the number of streams";
    let Some(last) = points.last() else {
        return card(STREAMS, data, subtitle, commands::Missing::DeepStream);
    };
    let largest = points.iter().map(|point| point.1).fold(STREAM_FPS, f64::max);
    let words: Vec<String> =
        points.iter().map(|(streams, fps)| format!("{} fps at {streams} streams", number(*fps))).collect();
    let chart = Lines {
        title: model(data),
        subtitle: subtitle.into(),
        x_axis: "streams".into(),
        y_axis: "frames a second of each stream".into(),
        x_end: axis_end(last.0),
        y_end: axis_end(largest),
        series: vec![Series { name: String::new(), colour: BLUE, points }],
        line: Some((STREAM_FPS, "30 fps: real time".into())),
        size: SIZE,
        points: true,
    };
    let alt = format!("{subtitle}: {}", words.join(", "));
    Ok(Chart { file: STREAMS, alt, source: Source::Promised, svg: chart.draw(STREAMS)? })
}

fn comparison(data: &ReportData) -> Result<Chart, Error> {
    let (_, max) = trtexec(data);
    let (run_1, run_2) = stream_runs(data);
    let subtitle = "Images a second: the engine alone and the whole pipeline";
    let (Some(max), Some(first)) = (max, run_1) else {
        return card(COMPARISON, data, subtitle, commands::Missing::DeepStream);
    };
    let mut bars = vec![
        Bar { label: format!("trtexec\nbatch {}", max.batch), value: max.images_per_second(), colour: PINK },
        Bar {
            label: format!("DeepStream run 1\n{} streams", first.streams),
            value: first.total_fps,
            colour: BLUE,
        },
    ];
    bars.extend(run_2.map(|run| Bar {
        label: format!("DeepStream run 2\n{} streams", run.streams),
        value: run.total_fps,
        colour: GREEN,
    }));
    let axis = "images a second".into();
    let chart =
        BarChart { title: model(data), subtitle: subtitle.into(), axis, bars, line: None, suffix: "" };
    bar_chart(COMPARISON, Source::Promised, &chart)
}

fn efficiency(data: &ReportData) -> Result<Chart, Error> {
    let (_, max) = trtexec(data);
    let (run_1, run_2) = stream_runs(data);
    let subtitle = "The pipeline's share of the engine's own throughput";
    let (Some(max), Some(first)) = (max, run_1) else {
        return card(EFFICIENCY, data, subtitle, commands::Missing::DeepStream);
    };
    let percent = |run: StreamRun| 100.0 * run.total_fps / max.images_per_second().max(f64::MIN_POSITIVE);
    let bar = |name: &str, run: StreamRun, colour| Bar {
        label: format!("{name}\n{} streams", run.streams),
        value: percent(run),
        colour,
    };
    let mut bars = vec![bar("run 1", first, PURPLE)];
    bars.extend(run_2.map(|run| bar("run 2", run, TEAL)));
    let chart = BarChart {
        title: model(data),
        subtitle: subtitle.into(),
        axis: "percent of trtexec".into(),
        bars,
        line: Some((100.0, "100 %: trtexec".into())),
        suffix: " %",
    };
    bar_chart(EFFICIENCY, Source::Promised, &chart)
}
