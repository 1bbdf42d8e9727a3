//! The two drawings of accuracy: by class, and precision over recall.
//!
//! They are there only when annotations were given; without them the report says so in words.

use super::canvas::{DRAWING, PALETTE};
use super::classes::Classes;
use super::lines::{Lines, Series};
use super::{BY_CLASS, CURVE, Chart, Source};
use crate::Error;
use crate::report::ReportData;

/// The drawings that there is data for.
pub(in crate::report) fn drawings(data: &ReportData) -> Result<Vec<Chart>, Error> {
    Ok([by_class(data)?, curve(data)?].into_iter().flatten().collect())
}

fn by_class(data: &ReportData) -> Result<Option<Chart>, Error> {
    let Some(accuracy) = data.manifest.accuracy.first() else {
        return Ok(None);
    };
    let labels = &data.manifest.detector.labels;
    let rows: Vec<_> = accuracy
        .classes
        .iter()
        .filter_map(|class| Some((labels.display(class.id), class.map?, class.ap50)))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let alt =
        format!("Average precision of {} classes, best first; the table below has the numbers", rows.len());
    let chart = Classes {
        title: data.manifest.name.to_string(),
        subtitle: "mAP@[.5:.95] by class; the line marks AP50".into(),
        rows,
    };
    Ok(Some(Chart { file: BY_CLASS, alt, source: Source::ThisMachine, svg: chart.draw(BY_CLASS)? }))
}

fn curve(data: &ReportData) -> Result<Option<Chart>, Error> {
    let series: Vec<Series> = data
        .curves
        .iter()
        .filter(|curve| curve.precision.len() > 1)
        .zip(PALETTE.into_iter().cycle())
        .map(|(curve, colour)| {
            let last = (curve.precision.len() - 1) as f64;
            let point = |(index, precision): (usize, &f64)| (index as f64 / last, precision.clamp(0.0, 1.0));
            Series {
                name: curve
                    .iou
                    .map_or_else(|| "mean of IoU 0.50 to 0.95".into(), |iou| format!("IoU {iou:.2}")),
                colour,
                points: curve.precision.iter().enumerate().map(point).collect(),
            }
        })
        .collect();
    if series.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let alt = format!("Precision over recall, all classes, at {}", names.join(", "));
    let chart = Lines {
        title: data.manifest.name.to_string(),
        subtitle: match names.as_slice() {
            [only] => format!("Precision over recall, {only}, all classes"),
            _ => "Precision over recall, mean of all classes".into(),
        },
        x_axis: "recall".into(),
        y_axis: "precision".into(),
        x_end: 1.0,
        y_end: 1.0,
        series,
        line: None,
        size: DRAWING,
        points: false,
    };
    Ok(Some(Chart { file: CURVE, alt, source: Source::ThisMachine, svg: chart.draw(CURVE)? }))
}
