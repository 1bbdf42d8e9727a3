//! The report's content: twelve sections in a fixed order with fixed titles, then what goes beyond them.
//!
//! Sections 1 to 12 are the ones readers of such reports know. A section whose data this machine cannot give says so,
//! with the command that fills it; it never shows a made-up number.

mod accuracy;
mod backends;
mod engine;
mod model;
mod plan;
mod streams;
mod summary;
mod work;

use super::ReportData;
use super::charts::{Chart, Source};
use super::commands::Missing;
use super::document::{Block, Document, Figure, Picture, Section, Text, Tone};

/// What the sections are built from.
pub(super) struct Material<'a> {
    pub(super) data: &'a ReportData,
    /// The five charts.
    pub(super) charts: &'a [Chart],
    /// The drawings beyond them.
    pub(super) drawings: &'a [Chart],
    /// The drawing of the plan.
    pub(super) plan: Option<&'a Chart>,
}

/// The whole report.
pub(super) fn document(material: &Material<'_>) -> Document {
    let manifest = &material.data.manifest;
    let measured = material.data.measurements.measured_at.as_deref();
    Document {
        title: format!("Benchmark Report: {}", manifest.name),
        subtitle: summary::subtitle(material.data),
        tiles: summary::tiles(material.data),
        sections: [
            summary::summary(material.data),
            model::configuration(material.data),
            model::system(material.data),
            model::preprocessing(material.data),
            engine::build(material.data),
            engine::trtexec(material),
            engine::streams(material.data),
            streams::validation(material.data),
            streams::results(material),
            streams::comparison(material),
            streams::efficiency(material),
            work::timing(material.data),
            work::commands(material.data),
            accuracy::accuracy(material),
            accuracy::parity(material.data),
            accuracy::samples(material.data),
            backends::backends(material),
        ]
        .into_iter()
        .chain(plan::plan(material))
        .collect(),
        colophon: format!(
            "Made by {} {}{}.",
            manifest.tool.name,
            manifest.tool.version,
            measured.map_or_else(String::new, |at| format!(" from measurements of {at}")),
        ),
    }
}

/// The callout in place of data that this machine cannot give.
fn missing(data: &ReportData, what: &str, missing: Missing) -> Block {
    Block::Callout {
        tone: Tone::Missing,
        title: "Not measured here".into(),
        text: format!("{what} {}", missing.reason()).into(),
        command: Some(missing.command(data)),
    }
}

impl Material<'_> {
    /// The charts that were drawn from what their names promise, side by side when there are several.
    fn promised(&self, files: &[&str]) -> Option<Block> {
        let own = |chart: &&Chart| files.contains(&chart.file) && chart.source == Source::Promised;
        let width = if files.len() > 1 { 49 } else { 78 };
        let figures: Vec<Figure> = self
            .charts
            .iter()
            .filter(own)
            .map(|chart| figure(chart, Picture::Chart(chart.file.to_owned()), width))
            .collect();
        (!figures.is_empty()).then_some(Block::Figures { figures })
    }

    /// All charts of a source, side by side; `None` when there is none.
    fn charts(&self, source: Source, width: u32) -> Option<Block> {
        let own = self.charts.iter().filter(|chart| chart.source == source);
        let figures: Vec<Figure> =
            own.map(|chart| figure(chart, Picture::Chart(chart.file.to_owned()), width)).collect();
        (!figures.is_empty()).then_some(Block::Figures { figures })
    }

    /// The drawings that there is data for, side by side.
    fn drawings(&self) -> Option<Block> {
        let figures: Vec<Figure> = self
            .drawings
            .iter()
            .map(|chart| figure(chart, Picture::Drawing(chart.file.to_owned()), 49))
            .collect();
        (!figures.is_empty()).then_some(Block::Figures { figures })
    }
}

fn figure(chart: &Chart, picture: Picture, width: u32) -> Figure {
    Figure { picture, alt: chart.alt.clone(), caption: String::new(), width }
}

/// A paragraph.
fn paragraph(text: impl Into<Text>) -> Block {
    Block::Paragraph { text: text.into() }
}

/// A heading inside a section.
fn heading(text: &str) -> Block {
    Block::Heading { text: text.to_owned() }
}

/// `1 class`, `8 classes`.
fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{} {}", super::format::count(count as u64), if count == 1 { one } else { several })
}

/// A digest as people compare it: the first twelve digits.
fn short(sha256: &str) -> Text {
    Text::new().code(sha256.chars().take(12).collect::<String>())
}

/// A section from blocks of which some may be absent.
fn section(number: u32, title: &str, blocks: impl IntoIterator<Item = Option<Block>>) -> Section {
    Section::new(number, title, blocks.into_iter().flatten().collect())
}
