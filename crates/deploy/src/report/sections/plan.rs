//! Section 17: which precision pays on this machine. It is there only where that was searched for.

use super::{Material, figure, heading, paragraph, section};
use crate::report::document::{Block, Picture, Section, Table, Text};
use crate::report::format::{count, milliseconds, score};
use crate::{Candidate, Plan};

/// Layers that are listed by name.
const LISTED: usize = 12;

/// Section 17; `None` without a plan.
pub(super) fn plan(material: &Material<'_>) -> Option<Section> {
    let plan = material.data.measurements.plan.as_ref()?;
    let drawing = material.plan.map(|chart| Block::Figures {
        figures: vec![figure(chart, Picture::Drawing(chart.file.to_owned()), 78)],
    });
    let conclusions = plan.conclusions.iter().map(|text| Some(paragraph(Text::literals(text))));
    let layers = (!plan.sensitivity.is_empty()).then(|| Block::Table(sensitivity(plan)));
    let blocks = conclusions.chain([
        Some(Block::Table(candidates(plan))),
        Some(paragraph(protocol(plan))),
        drawing,
        layers.is_some().then(|| heading("Layers that feel the rounding most")),
        layers,
    ]);
    Some(section(17, "Precision Plan", blocks))
}

fn candidates(plan: &Plan) -> Table {
    let columns =
        ["No.#", "Candidate", "mAP#", "Lost (95 %)#", "Time#", "Against fp32#", "FLOPs in it#", "Verdict"];
    let mut table = Table::new(&columns);
    for (number, candidate) in (1..).zip(&plan.candidates) {
        let share = candidate.flops_share.map_or("–".into(), |share| format!("{:.1} %", share * 100.0));
        table.row([
            Text::from(number.to_string()),
            Text::literals(&candidate.name),
            score(Some(candidate.map)).into(),
            lost(candidate).into(),
            milliseconds(candidate.latency_ms).into(),
            format!("{:.2} ×", candidate.speed).into(),
            share.into(),
            verdict(plan, candidate),
        ]);
    }
    table
}

fn lost(candidate: &Candidate) -> String {
    let Candidate { loss, loss_low, loss_high, .. } = candidate;
    format!("{loss:+.4} ({loss_low:+.4} to {loss_high:+.4})")
}

fn verdict(plan: &Plan, candidate: &Candidate) -> Text {
    match candidate {
        _ if plan.chosen.as_ref() == Some(&candidate.name) => Text::new().strong("chosen"),
        Candidate { within: false, .. } => "outside the budget".into(),
        Candidate { front: false, .. } => "another is better in both".into(),
        _ => "within the budget".into(),
    }
}

fn protocol(plan: &Plan) -> String {
    let latency = plan
        .latency_budget_ms
        .map_or_else(String::new, |most| format!(", at most {} an image", milliseconds(most)));
    let wanted = plan.wanted.map_or_else(String::new, |wanted| format!(", {wanted} wanted"));
    format!(
        "Budget: mAP {} lost at most{latency}{wanted}. Scored on {} images of {}; the interval resamples the same images for \
         both. Times are medians of single images on {} ({}) on {}, each taken in turns with fp32's.",
        plan.map_budget,
        count(plan.images),
        plan.annotations,
        plan.backend,
        plan.version,
        plan.device
    )
}

fn sensitivity(plan: &Plan) -> Table {
    let mut table = Table::new(&["Layer", "Detections moved, rounded alone#"]);
    for layer in plan.sensitivity.iter().take(LISTED) {
        table.row([Text::new().code(&layer.layer), format!("{:.2} %", layer.moved * 100.0).into()]);
    }
    table
}
