//! The first page: what the model is, whether it is right, how fast it is.

use super::{counted, paragraph};
use crate::report::ReportData;
use crate::report::document::{Block, Section, Text, Tile, Tone};
use crate::report::format::{count, milliseconds, number, score};
use crate::{Figure, Verdict};

/// The line below the title.
pub(super) fn subtitle(data: &ReportData) -> String {
    let detector = &data.manifest.detector;
    let classes = counted(detector.labels.iter().count(), "class", "classes");
    let when = data.measurements.measured_at.as_deref().map_or_else(String::new, |at| format!(" · {at}"));
    format!(
        "{} object detector · {classes} · {} × {} pixels{when}",
        detector.architecture, detector.input.width, detector.input.height
    )
}

/// How many checks passed, failed and did not run.
fn tally(data: &ReportData) -> (usize, usize, usize) {
    let count =
        |of: fn(&Verdict) -> bool| data.manifest.checks.iter().filter(|check| of(&check.verdict)).count();
    (
        count(|verdict| *verdict == Verdict::Pass),
        count(|verdict| *verdict == Verdict::Fail),
        count(|verdict| matches!(verdict, Verdict::NotRun { .. })),
    )
}

/// The headline numbers; one that was not measured says so.
pub(super) fn tiles(data: &ReportData) -> Vec<Tile> {
    vec![accuracy_tile(data), checks_tile(data), latency_tile(data), throughput_tile(data)]
}

fn not_measured(name: &str) -> Tile {
    Tile { value: "–".into(), name: name.into(), detail: "not measured here".into(), tone: Tone::Missing }
}

fn accuracy_tile(data: &ReportData) -> Tile {
    let Some(accuracy) = data.manifest.accuracy.first() else {
        return not_measured("mAP@[.5:.95]");
    };
    Tile {
        value: score(accuracy.metrics.map),
        name: "mAP@[.5:.95]".into(),
        detail: format!("AP50 {} on {} images", score(accuracy.metrics.ap50), count(accuracy.dataset.images)),
        tone: Tone::Plain,
    }
}

fn checks_tile(data: &ReportData) -> Tile {
    let (passed, failed, not_run) = tally(data);
    if passed + failed == 0 {
        return not_measured("checks passed");
    }
    let detail = match (failed, not_run) {
        (0, 0) => "every check passed".to_owned(),
        (0, rest) => format!("{rest} did not run here"),
        (failed, _) => format!("{failed} failed"),
    };
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    Tile { value: format!("{passed} / {}", passed + failed), name: "checks passed".into(), detail, tone }
}

/// The figure with the shortest median among those of the smallest batch.
fn fastest(data: &ReportData) -> Option<&Figure> {
    let figures = &data.measurements.figures;
    let batch = figures.iter().map(|figure| figure.batch).min()?;
    figures
        .iter()
        .filter(|figure| figure.batch == batch)
        .min_by(|a, b| a.latency.p50_ms.total_cmp(&b.latency.p50_ms))
}

fn setting(figure: &Figure) -> String {
    format!("{} {}, batch {}", figure.backend, figure.precision, figure.batch)
}

fn latency_tile(data: &ReportData) -> Tile {
    fastest(data).map_or_else(
        || not_measured("median latency"),
        |figure| Tile {
            value: milliseconds(figure.latency.p50_ms),
            name: "median latency".into(),
            detail: setting(figure),
            tone: Tone::Plain,
        },
    )
}

fn throughput_tile(data: &ReportData) -> Tile {
    let engine = data.measurements.tensorrt.as_ref().and_then(|tensorrt| tensorrt.batch_max);
    let best =
        data.measurements.figures.iter().max_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second));
    let (value, detail) = match (engine, best) {
        (Some(run), _) => (run.images_per_second(), format!("TensorRT, batch {}", run.batch)),
        (None, Some(figure)) => (figure.images_per_second, setting(figure)),
        (None, None) => return not_measured("images a second"),
    };
    Tile { value: number(value), name: "images a second".into(), detail, tone: Tone::Plain }
}

/// The section before the numbered ones.
pub(super) fn summary(data: &ReportData) -> Section {
    let manifest = &data.manifest;
    let (passed, failed, not_run) = tally(data);
    let revision = manifest
        .source
        .revision
        .as_ref()
        .map_or_else(Text::new, |revision| Text::new().plain(" at revision ").code(revision));
    let mut source = Text::new().plain("Imported from ").code(&manifest.source.location);
    source.0.extend(revision.0);
    let licence = match &manifest.licence {
        Some(licence) => Text::new()
            .plain(". The source states the licence ")
            .strong(&licence.id)
            .plain(" in ")
            .code(&licence.stated_in)
            .plain("."),
        None => Text::from(". The source states no licence."),
    };
    source.0.extend(licence.0);
    let verdict = if failed > 0 {
        Block::Callout {
            tone: Tone::Bad,
            title: format!("{} failed", counted(failed, "check", "checks")),
            text: "Do not deploy the artefacts concerned; section 14 shows bound and value.".into(),
            command: None,
        }
    } else if passed > 0 {
        Block::Callout {
            tone: Tone::Good,
            title: format!("{} passed", counted(passed, "check", "checks")),
            text: match not_run {
                0 => "Every comparison with the source was within its bound (section 14).".into(),
                some => format!(
                    "Every comparison that could run here was within its bound; {} could not (section 14).",
                    count(some as u64)
                )
                .into(),
            },
            command: None,
        }
    } else {
        super::missing(data, "No artefact was compared with the source.", super::Missing::Images)
    };
    Section { number: None, title: "Summary".into(), blocks: vec![paragraph(source), verdict] }
}
