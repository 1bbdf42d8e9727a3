//! Section 16: what the backends of this machine measured.

use super::{Material, Missing, heading, missing, paragraph, section};
use crate::report::charts::Source;
use crate::report::document::{Block, Section, Table, Text};
use crate::report::format::{count, milliseconds, number};
use crate::{Figure, ImageTimes};

/// Section 16.
pub(super) fn backends(material: &Material<'_>) -> Section {
    let measurements = &material.data.measurements;
    let body = if measurements.figures.is_empty() {
        missing(material.data, "Latency and throughput are unknown.", Missing::Backend)
    } else {
        Block::Table(figures(&measurements.figures))
    };
    let note = (!measurements.figures.is_empty()).then(|| paragraph(protocol(&measurements.figures)));
    let charts = material.charts(Source::ThisMachine, 49);
    let mut blocks = vec![Some(body), note, charts];
    if let Some(image) = &measurements.image {
        blocks.push(Some(heading("One image, from its file to boxes")));
        blocks.push(Some(Block::Table(image_times(image))));
        let about =
            format!("Medians of {} images at batch 1, {} backend.", count(image.count.into()), image.backend);
        blocks.push(Some(paragraph(about)));
    }
    section(16, "Measurements on This Machine", blocks)
}

fn figures(figures: &[Figure]) -> Table {
    let mut table =
        Table::new(&["Backend", "Precision", "Batch#", "Min#", "Mean#", "p50#", "p90#", "p99#", "Images/s#"]);
    for figure in figures {
        let latency = figure.latency;
        let [min, mean, p50, p90, p99] =
            [latency.min_ms, latency.mean_ms, latency.p50_ms, latency.p90_ms, latency.p99_ms]
                .map(|value| milliseconds(value).into());
        table.row([
            Text::new().code(&figure.backend),
            figure.precision.to_string().into(),
            figure.batch.to_string().into(),
            min,
            mean,
            p50,
            p90,
            p99,
            Text::new().strong(number(figure.images_per_second)),
        ]);
    }
    table
}

/// How the figures were taken, once for each way.
fn protocol(figures: &[Figure]) -> String {
    let mut ways: Vec<String> = Vec::new();
    for figure in figures {
        let version = figure.version.as_ref().map_or_else(String::new, |version| format!(" ({version})"));
        let threads = figure.threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
        let way = format!(
            "{}{version} on {}{threads}, {} runs after {} warm-up runs",
            figure.backend, figure.device, figure.count, figure.warm_up
        );
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    format!(
        "Latency is of one run of the graph, without reading or preparing images. Measured with {}.",
        ways.join("; ")
    )
}

fn image_times(image: &ImageTimes) -> Table {
    let total = image.total_ms().max(f64::MIN_POSITIVE);
    let mut table = Table::new(&["Part", "Time#", "Share#"]);
    let parts = [
        ("File to pixels", image.decode_ms),
        ("Preprocessing", image.preprocess_ms),
        ("Graph", image.inference_ms),
        ("Postprocessing", image.postprocess_ms),
    ];
    for (name, value) in parts {
        table.row([
            name.into(),
            milliseconds(value).into(),
            format!("{:.1} %", 100.0 * value / total).into(),
        ]);
    }
    table.row([
        Text::new().strong("Total"),
        Text::new().strong(milliseconds(image.total_ms())),
        "100 %".into(),
    ]);
    table
}
