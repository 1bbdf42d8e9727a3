//! Sections 13 to 15: accuracy, parity with the source, sample detections.

use std::borrow::Cow;

use super::{Material, Missing, heading, missing, paragraph, short};
use crate::report::ReportData;
use crate::report::document::{Block, Figure, Picture, Section, Table, Text};
use crate::report::format::{count, number, score};
use crate::{Accuracy, Bound, Check, CocoMetrics, Verdict};

/// One of the twelve numbers.
type Metric = fn(&CocoMetrics) -> Option<f64>;

/// The twelve numbers in COCO's order.
const METRICS: [(&str, Metric); 12] = [
    ("mAP@[.5:.95]", |m| m.map),
    ("AP50", |m| m.ap50),
    ("AP75", |m| m.ap75),
    ("mAP, small objects (below 32² pixels)", |m| m.ap_small),
    ("mAP, medium objects (32² to 96²)", |m| m.ap_medium),
    ("mAP, large objects (above 96²)", |m| m.ap_large),
    ("AR, 1 detection an image", |m| m.ar1),
    ("AR, 10 detections an image", |m| m.ar10),
    ("AR, 100 detections an image", |m| m.ar100),
    ("AR, small objects", |m| m.ar_small),
    ("AR, medium objects", |m| m.ar_medium),
    ("AR, large objects", |m| m.ar_large),
];

/// Section 13.
pub(super) fn accuracy(material: &Material<'_>) -> Section {
    let data = material.data;
    let Some(main) = data.manifest.accuracy.first() else {
        let block = missing(data, "The model was not evaluated.", Missing::Annotations);
        return Section::new(13, "Accuracy", vec![block]);
    };
    let dataset = &main.dataset;
    let about = Text::new()
        .plain("Evaluated on ")
        .strong(format!("{} images", count(dataset.images)))
        .plain(format!(" with {} objects, annotations ", count(dataset.objects)))
        .code(&dataset.annotations)
        .plain(" (SHA-256 ");
    let mut about = about;
    about.0.extend(short(&dataset.sha256).0);
    let about =
        about.plain(format!("), on the {} backend. A number is 0 to 1; n/a: no such object.", main.backend));
    let mut blocks = vec![paragraph(about)];
    blocks.extend(material.drawings());
    blocks.push(Block::Table(metrics(data)));
    blocks.push(heading("By class"));
    blocks.push(Block::Table(classes(data, main)));
    Section::new(13, "Accuracy", blocks)
}

/// One column an evaluated artefact.
fn metrics(data: &ReportData) -> Table {
    let evaluated = &data.manifest.accuracy;
    let titles: Vec<String> =
        evaluated.iter().map(|accuracy| format!("{}#", subject(data, accuracy))).collect();
    let columns: Vec<&str> = std::iter::once("Metric").chain(titles.iter().map(String::as_str)).collect();
    let mut table = Table::new(&columns);
    for (name, of) in METRICS {
        let values = evaluated.iter().map(|accuracy| score(of(&accuracy.metrics)).into());
        table.rows.push(std::iter::once(name.into()).chain(values).collect());
    }
    table
}

/// The precision of an evaluated artefact, where no other one has the same; else its file name.
fn subject<'a>(data: &ReportData, accuracy: &'a Accuracy) -> Cow<'a, str> {
    let precision = |accuracy: &Accuracy| data.manifest.artefact(&accuracy.subject)?.precision;
    let same = |other: &&Accuracy| precision(other) == precision(accuracy);
    match precision(accuracy) {
        Some(own) if data.manifest.accuracy.iter().filter(same).count() == 1 => own.to_string().into(),
        _ => accuracy.subject.rsplit('/').next().unwrap_or(&accuracy.subject).into(),
    }
}

fn classes(data: &ReportData, accuracy: &Accuracy) -> Table {
    let mut table = Table::new(&["Id#", "Class", "Objects#", "mAP#", "AP50#"]);
    for class in &accuracy.classes {
        table.row([
            class.id.to_string().into(),
            data.manifest.detector.labels.display(class.id).into(),
            count(class.objects).into(),
            score(class.map).into(),
            score(class.ap50).into(),
        ]);
    }
    table
}

/// Section 14.
pub(super) fn parity(data: &ReportData) -> Section {
    let checks: Vec<&Check> = data.checks().collect();
    if checks.is_empty() {
        let block = missing(data, "No artefact was compared with the source.", Missing::Images);
        return Section::new(14, "Parity with the Source", vec![block]);
    }
    let about = "Each artefact is compared with the source-exact fp32 graph, an engine with the package's fp32 graph. A \
                 conversion counts as wrong until its value is within the bound.";
    let mut table = Table::new(&["Check", "Subject", "Bound#", "Value#", "Verdict"]);
    for check in checks {
        table.row([
            Text::literals(&check.name),
            Text::literals(&check.subject),
            bound(check).into(),
            value(check).into(),
            verdict(check),
        ]);
    }
    Section::new(14, "Parity with the Source", vec![paragraph(about), Block::Table(table)])
}

/// A small value keeps its exponent: parity bounds are powers of ten.
fn quantity(value: f64, unit: &str) -> String {
    let figure = if value != 0.0 && value.abs() < 0.01 { format!("{value:.1e}") } else { number(value) };
    if unit.is_empty() { figure } else { format!("{figure} {unit}") }
}

fn bound(check: &Check) -> String {
    match check.bound {
        Some(Bound::AtMost(most)) => format!("≤ {}", quantity(most, &check.unit)),
        Some(Bound::AtLeast(least)) => format!("≥ {}", quantity(least, &check.unit)),
        None => "–".into(),
    }
}

fn value(check: &Check) -> String {
    match (check.value, &check.verdict) {
        (Some(value), _) => quantity(value, &check.unit),
        (None, Verdict::NotRun { .. }) => "–".into(),
        (None, _) => "not a number".into(),
    }
}

fn verdict(check: &Check) -> Text {
    let text = Text::verdict(&check.verdict);
    match &check.verdict {
        Verdict::NotRun { reason } => {
            let mut text = text.plain(": ");
            text.0.extend(Text::literals(reason).0);
            text
        }
        Verdict::Pass | Verdict::Fail => text,
    }
}

/// Section 15.
pub(super) fn samples(data: &ReportData) -> Section {
    let title = "Sample Detections";
    if data.samples.is_empty() {
        return Section::new(15, title, vec![missing(data, "No image was annotated.", Missing::Images)]);
    }
    let figures = data
        .samples
        .iter()
        .map(|sample| {
            let detections = super::counted(sample.detections as usize, "detection", "detections");
            let objects =
                sample.objects.map_or_else(String::new, |objects| format!(", {} annotated", count(objects)));
            Figure {
                picture: Picture::Photo(sample.path.clone()),
                alt: format!("{} with {detections} drawn", sample.image),
                caption: format!("{}: {detections}{objects}", sample.image),
                width: 32,
            }
        })
        .collect();
    Section::new(15, title, vec![Block::Figures { figures }])
}
