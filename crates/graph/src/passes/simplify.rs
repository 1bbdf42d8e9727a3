//! All passes that change no output, again and again until nothing changes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::known::Known;
use super::{Evaluate, PASSES, fold_constants};
use crate::{Error, Model};

/// Rounds after which a graph that still changes is refused.
const MOST_ROUNDS: usize = 64;
/// Folding that the evaluator refused is tried again in the next rounds, not for ever.
const MOST_REFUSALS: usize = 2;

/// What passes did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// How many nodes or constants each pass took out or changed; passes without effect are absent.
    pub changes: BTreeMap<&'static str, usize>,
    /// Where a pass stopped short, and why.
    pub notes: Vec<String>,
}

impl Outcome {
    pub(super) fn count(&mut self, pass: &'static str, changed: usize) {
        if changed > 0 {
            *self.changes.entry(pass).or_default() += changed;
        }
    }
}

/// Runs every pass of the table that keeps the outputs, until none changes anything. Names, types and order of the
/// graph's inputs and outputs stay. A symbol of an input is never taken for a number.
///
/// # Errors
/// [`Error::Invalid`] when the graph still changes after many rounds, and when a rule of graphs is broken before or after.
pub fn simplify(model: &mut Model, evaluate: &Evaluate<'_>) -> Result<Outcome, Error> {
    model.check()?;
    let mut outcome = Outcome { nodes_before: model.graph.nodes.len(), ..Outcome::default() };
    let mut refusals = 0;
    for _ in 0..MOST_ROUNDS {
        let mut changed = 0;
        for pass in PASSES {
            let Some(apply) = pass.apply else { continue };
            let known = Known::of(model);
            let count = apply(model, &known);
            outcome.count(pass.name, count);
            changed += count;
        }
        model.graph.drop_dead_parts();
        if refusals < MOST_REFUSALS {
            match fold(model, evaluate) {
                Ok(count) => {
                    outcome.count("fold-constants", count);
                    changed += count;
                }
                Err(error) => {
                    refusals += 1;
                    outcome.notes.push(error.to_string());
                }
            }
        }
        if changed == 0 {
            outcome.notes.dedup();
            outcome.nodes_after = model.graph.nodes.len();
            model.check()?;
            return Ok(outcome);
        }
    }
    Err(Error::Invalid(format!("passes still change the graph after {MOST_ROUNDS} rounds")))
}

/// Constant folding of a graph that states no shapes: they are inferred for what depends on constants only.
fn fold(model: &mut Model, evaluate: &Evaluate<'_>) -> Result<usize, Error> {
    let known = Known::of(model);
    let stated = model.graph.values.clone();
    let mut constants: std::collections::HashSet<&str> =
        model.graph.initializers.keys().map(String::as_str).collect();
    constants.insert("");
    let mut inferred = Vec::new();
    for node in &model.graph.nodes {
        if !node.inputs.iter().all(|input| constants.contains(input.as_str())) {
            continue;
        }
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            constants.insert(output);
            if let (Some(dtype), Some(shape)) = (known.dtype(output), known.fixed_shape(output)) {
                let dims = shape.into_iter().map(Into::into).collect();
                inferred.push(crate::ValueInfo::tensor(output.clone(), dtype, dims));
            }
        }
    }
    if inferred.is_empty() {
        return Ok(0);
    }
    model.graph.values.extend(inferred.into_iter().map(|info| (info.name.clone(), info)));
    let folded = fold_constants(model, evaluate);
    // Only what the file said itself is kept; shapes that were inferred here served their purpose.
    model.graph.values.retain(|name, _| stated.contains_key(name));
    folded
}
