//! The report: one document from recorded data, written as Markdown, HTML and PDF.
//!
//! [`render`] is a function of [`ReportData`] and the sample images alone: there is no clock in it, so the same data
//! gives the same bytes in all three formats.

mod benchmark_data;
mod charts;
mod commands;
mod data;
mod document;
mod fonts;
mod format;
mod html;
mod markdown;
mod pdf;
mod photo;
mod sections;

use std::collections::BTreeMap;

pub use benchmark_data::{BenchmarkData, StreamNumbers, Streams, Trtexec, TrtexecNumbers};
pub use data::{Command, PrecisionRecall, ReportData, Sample};

use crate::{Error, FileTree, paths};

/// The pictures of a report, as the three writers need them.
struct Pictures {
    /// The five charts by file name: SVG and PNG.
    charts: BTreeMap<String, (String, Vec<u8>)>,
    /// The drawings beyond them by file name: SVG.
    drawings: BTreeMap<String, String>,
    /// Sample images by path in the package: JPEG.
    photos: BTreeMap<String, Vec<u8>>,
}

/// The drawing of a plan as SVG: what each candidate scores over the time that it takes. `name` is the model's.
///
/// # Errors
/// [`Error::Chart`] when it cannot be drawn.
pub fn plan_drawing(name: &str, plan: &crate::Plan) -> Result<String, Error> {
    Ok(charts::plan(name, Some(plan))?.map(|chart| chart.svg).unwrap_or_default())
}

/// Writes the report of a package: `reports/benchmark_report.md`, `.html`, `benchmark_report_<name>.pdf`,
/// `benchmark_data.json` and `charts/`.
///
/// `images` holds the bytes (JPEG or PNG) of each file that [`ReportData::samples`] lists, by its path.
///
/// # Errors
/// [`Error::Sample`] for a listed image that is absent or no picture; [`Error::Chart`] and [`Error::Typeset`] when a
/// drawing or the PDF cannot be made of the values.
pub fn render(data: &ReportData, images: &BTreeMap<String, Vec<u8>>) -> Result<FileTree, Error> {
    let charts = charts::charts(data)?;
    let drawings = charts::drawings(data)?;
    let plan = charts::plan(data.manifest.name.as_str(), data.measurements.plan.as_ref())?;
    let mut pictures = Pictures {
        charts: BTreeMap::new(),
        drawings: BTreeMap::new(),
        photos: photo::all(&data.samples, images)?,
    };
    let mut tree = FileTree::new();
    for chart in &charts {
        let png = chart.png()?;
        tree.add(format!("{}/charts/{}", paths::REPORTS, chart.file), png.clone())?;
        pictures.charts.insert(chart.file.to_owned(), (chart.svg.clone(), png));
    }
    for drawing in drawings.iter().chain(&plan) {
        tree.add(format!("{}/charts/{}", paths::REPORTS, drawing.file), drawing.svg.as_bytes())?;
        pictures.drawings.insert(drawing.file.to_owned(), drawing.svg.clone());
    }
    let material = sections::Material { data, charts: &charts, drawings: &drawings, plan: plan.as_ref() };
    let document = sections::document(&material);
    tree.add(format!("{}/benchmark_report.md", paths::REPORTS), markdown::write(&document))?;
    tree.add(format!("{}/benchmark_report.html", paths::REPORTS), html::write(&document, &pictures))?;
    tree.add(paths::pdf_report(&data.manifest.name), pdf::write(&document, &pictures)?)?;
    tree.add(paths::BENCHMARK_DATA, BenchmarkData::from(data).to_json())?;
    Ok(tree)
}
