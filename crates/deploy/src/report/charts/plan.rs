//! The drawing of a plan: what each candidate scores over the time that it takes.

use super::canvas::{BLUE, FAINT, GREEN};
use super::scatter::{Point, Scatter};
use super::{Chart, PLAN, Source};
use crate::report::format::{milliseconds, score};
use crate::{Candidate, Error, Plan};

/// The drawing; `None` without a plan. `name` is the model's.
pub(in crate::report) fn plan(name: &str, plan: Option<&Plan>) -> Result<Option<Chart>, Error> {
    plan.map(|plan| drawing(name, plan)).transpose()
}

fn drawing(name: &str, plan: &Plan) -> Result<Chart, Error> {
    let fp32 = plan.candidates.first().map_or(0.0, |first| first.map);
    let point = |candidate: &Candidate| Point {
        x: candidate.latency_ms,
        y: candidate.map,
        ends: (fp32 - candidate.loss_high, fp32 - candidate.loss_low),
        colour: match () {
            () if Some(&candidate.name) == plan.chosen.as_ref() => GREEN,
            () if candidate.front => BLUE,
            () => FAINT,
        },
        full: candidate.front,
    };
    let chart = Scatter {
        title: name.to_owned(),
        subtitle: format!("accuracy over time, {} on {}", plan.backend, plan.device),
        x_axis: "median time of one image, ms".into(),
        y_axis: "mAP@[.5:.95]".into(),
        points: plan.candidates.iter().map(point).collect(),
        least: (fp32 - plan.map_budget, format!("{} may be lost", plan.map_budget)),
        most: plan.latency_budget_ms.map(|most| (most, milliseconds(most))),
    };
    let values = plan.candidates.iter().map(|candidate| {
        let score = score(Some(candidate.map));
        format!("{} {} at mAP {score}", candidate.name, milliseconds(candidate.latency_ms))
    });
    let alt = format!("Accuracy over time: {}", values.collect::<Vec<_>>().join(", "));
    Ok(Chart { file: PLAN, alt, source: Source::ThisMachine, svg: chart.draw(PLAN)? })
}
