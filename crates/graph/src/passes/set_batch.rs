//! The batch of a graph: one number, or a symbol.
//!
//! To a number is easy: the inputs say so, and what states otherwise is dropped. To a symbol is a claim: constants that
//! hold the traced batch have to be found. A constant target of `Reshape` or `Expand` that begins with the batch, applied
//! to a value whose first dimension is the batch, is rewritten; anything that mixes the batch into another size, or
//! depends on it in a way that is not seen through, is refused by name. The result is meant to be run at two batches.
//!
//! ```text
//! input x float32[1,8]
//! const s int64[3] = 1 2 4
//! y = Reshape(x, s)
//! output y float32[1,2,4]
//! ```
//!
//! ```text
//! input x float32[batch,8]
//! const s.batch int64[3] = 0 2 4
//! y = Reshape(x, s.batch)
//! output y float32[batch,2,4]
//! ```

use serde::Serialize;

use super::Outcome;
use super::edit::{add_constant, integers, is, is_standard};
use super::known::{Known, number};
use crate::{Dim, Error, Model, Node, Tensor};

/// Operators whose inputs go together row by row, without repeating a single one.
const PLACING: &[&str] = &["GatherElements", "GatherND", "GridSample", "ScatterElements", "ScatterND"];

/// What the batch becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Batch {
    /// A number.
    Fixed(usize),
    /// A symbol: whatever is fed.
    Dynamic,
}

/// Sets the batch of all inputs.
///
/// # Errors
/// [`Error::Invalid`] when the inputs do not share a first dimension, [`Error::BadNode`] with the node that depends on the
/// traced batch in a way that cannot be rewritten.
pub fn set_batch(model: &mut Model, batch: Batch) -> Result<Outcome, Error> {
    let mut outcome = Outcome { nodes_before: model.graph.nodes.len(), ..Outcome::default() };
    let current = current(model)?;
    match (current, batch) {
        (Dim::Fixed(now), Batch::Fixed(wanted)) if now == wanted => {}
        (_, Batch::Fixed(0)) => return Err(Error::Invalid("a batch of 0".into())),
        (Dim::Fixed(now), wanted) => {
            outcome.count("set-batch", to_symbol(model, now)?);
            if let Batch::Fixed(wanted) = wanted {
                outcome.count("set-batch", to_number(model, wanted));
            }
        }
        (_, Batch::Fixed(wanted)) => outcome.count("set-batch", to_number(model, wanted)),
        (_, Batch::Dynamic) => {}
    }
    outcome.nodes_after = model.graph.nodes.len();
    model.check()?;
    Ok(outcome)
}

/// The dimension that all inputs have in front.
fn current(model: &Model) -> Result<Dim, Error> {
    let mut fronts =
        model.graph.inputs.iter().map(|input| (input, input.shape.as_ref().and_then(|dims| dims.first())));
    let Some((_, Some(first))) = fronts.next() else {
        return Err(Error::Invalid("the first input has no batch dimension".into()));
    };
    match fronts.find(|(_, front)| *front != Some(first)) {
        Some((input, _)) => {
            Err(Error::Invalid(format!("input {input} does not begin with the batch `{first}`")))
        }
        None => Ok(first.clone()),
    }
}

/// Replaces the symbol in front of the inputs wherever it stands.
fn to_number(model: &mut Model, batch: usize) -> usize {
    let graph = &mut model.graph;
    let symbol = graph.inputs.first().and_then(|input| input.shape.as_ref()?.first().cloned());
    let mut changed = 0;
    for info in &mut graph.inputs {
        if let Some(front) = info.shape.as_mut().and_then(|dims| dims.first_mut()) {
            *front = Dim::Fixed(batch);
            changed += 1;
        }
    }
    let named = symbol.filter(|symbol| matches!(symbol, Dim::Symbol(_)));
    for info in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        for dim in info.shape.iter_mut().flatten() {
            if Some(&*dim) == named.as_ref() {
                *dim = Dim::Fixed(batch);
            }
        }
    }
    // Statements on values between nodes may name the symbol in many forms.
    graph.values.clear();
    changed
}

/// Makes the traced number `now` a symbol.
fn to_symbol(model: &mut Model, now: usize) -> Result<usize, Error> {
    let traced = Known::of(model);
    for info in &mut model.graph.inputs {
        if let Some(front) = info.shape.as_mut().and_then(|dims| dims.first_mut()) {
            *front = Dim::batch();
        }
    }
    model.graph.values.clear();
    let outputs = model.graph.outputs.clone();
    for info in &mut model.graph.outputs {
        info.shape = None;
    }
    let mut changed = model.graph.inputs.len();
    // Front to back: what is known of a node's inputs is already that of the new batch.
    let mut known = Known::of(model);
    for at in 0..model.graph.nodes.len() {
        if let Some(sizes) = rewritten(model, &model.graph.nodes[at], &known, &traced, now)? {
            let base = format!("{}.batch", model.graph.nodes[at].inputs[1]);
            let tensor = Tensor::from_i64([sizes.len()], sizes)?;
            let name = add_constant(&mut model.graph, &base, tensor);
            model.graph.nodes[at].inputs[1] = name;
            changed += 1;
            known = Known::of(model);
        }
    }
    model.graph.drop_dead_parts();
    for (info, before) in model.graph.outputs.iter_mut().zip(outputs) {
        info.shape = before.shape;
        let inferred = known.shape(&info.name);
        for (at, dim) in info.shape.iter_mut().flatten().enumerate() {
            let size = inferred.as_ref().and_then(|sizes| sizes.get(at));
            if size.is_none_or(|size| number(size).is_none()) {
                *dim = if at == 0 { Dim::batch() } else { Dim::Unknown };
            }
        }
    }
    Ok(changed)
}

/// The new target of a node that reshapes to the traced batch; `None` when it does not.
fn rewritten(
    model: &Model,
    node: &Node,
    known: &Known,
    traced: &Known,
    now: usize,
) -> Result<Option<Vec<i64>>, Error> {
    let refuse = |reason: String| Error::BadNode { node: label(node), op: node.operator(), reason };
    let (Some(data), Some(output)) = (node.inputs.first(), node.outputs.first()) else { return Ok(None) };
    let depends = node.inputs.iter().any(|name| known.shape(name).is_some_and(|sizes| has_symbol(&sizes)));
    if is(node, "Expand") || is(node, "Reshape") {
        let Some(target) = node.inputs.get(1).and_then(|name| integers(&model.graph, name)) else {
            return Ok(None);
        };
        let Some(from) = known.shape(data) else {
            return Err(refuse("the shape of what it is given is not known".into()));
        };
        if is(node, "Expand") {
            // Only what has no batch yet is repeated to it; 1 keeps what is there.
            let holds = has_symbol(&from) || target.first() == i64::try_from(now).ok().as_ref();
            return match (holds, number_of(&from, 0)) {
                (false, _) => Ok(None),
                (true, None) if target.len() == from.len() => {
                    Ok(Some(std::iter::once(1).chain(target.into_iter().skip(1)).collect()))
                }
                _ if now == 1 => Ok(None),
                _ => Err(refuse(format!("it repeats to the batch {now}"))),
            };
        }
        if !has_symbol(&from) {
            return Ok(None);
        }
        return reshape(&from, traced.shape(output).as_deref(), &target, now).map(Some).map_err(refuse);
    }
    let places = is_standard(node) && PLACING.contains(&node.op_type.as_str()) && depends;
    let rows = |name: &&String| known.shape(name).is_none_or(|sizes| sizes.len() > 1 && !has_symbol(&sizes));
    if places && let Some(name) = node.inputs.iter().filter(|name| !name.is_empty()).find(rows) {
        return Err(refuse(format!("`{name}` has the same rows whatever the batch")));
    }
    // What mixes constants with the traced batch in front.
    let mixes = is(node, "Concat") && node.int("axis") == Some(0) && depends;
    let fixed = |name: &String| {
        known.shape(name).is_some_and(|sizes| number_of(&sizes, 0).is_some() && sizes.len() > 1)
    };
    if mixes && node.inputs.iter().any(fixed) {
        return Err(refuse("it joins rows of the batch with others".into()));
    }
    if depends && is_standard(node) && is(node, "Concat") && now == 1 {
        // A constant row beside rows of the batch has to be repeated first.
        let row = |name: &&String| known.shape(name).is_some_and(|sizes| number_of(&sizes, 0) == Some(1));
        let axis = node.int("axis").unwrap_or(0);
        if axis != 0
            && let Some(name) = node.inputs.iter().find(row)
        {
            return Err(refuse(format!("`{name}` has one row whatever the batch")));
        }
    }
    Ok(None)
}

fn label(node: &Node) -> String {
    if node.name.is_empty() { node.outputs.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

fn has_symbol(sizes: &[rten_shape_inference::SymExpr]) -> bool {
    sizes.iter().any(|size| number(size).is_none())
}

fn number_of(sizes: &[rten_shape_inference::SymExpr], at: usize) -> Option<i64> {
    sizes.get(at).and_then(number)
}

/// The target of a `Reshape` whose data hold the batch as a symbol.
fn reshape(
    from: &[rten_shape_inference::SymExpr],
    traced: Option<&[rten_shape_inference::SymExpr]>,
    target: &[i64],
    now: usize,
) -> Result<Vec<i64>, String> {
    let inferred = target.iter().position(|size| *size == -1);
    let now = i64::try_from(now).map_err(|_| "a large batch".to_owned())?;
    let kept = number_of(from, 0).is_none();
    match target.first() {
        // The sizes that the traced graph had, with the batch still in front and everything else a number.
        Some(front) if kept && (*front == now || *front == 0) && inferred != Some(0) => {
            let mut new = target.to_vec();
            new[0] = 0;
            Ok(new)
        }
        // Rows and something else together in front: what is behind has to be known.
        _ if kept || has_symbol(from) => {
            let whole = traced.map(|sizes| sizes.iter().map(number).collect::<Option<Vec<i64>>>());
            let Some(Some(whole)) = whole else { return Err("its traced shape is not known".into()) };
            let rest: Vec<i64> = whole.iter().skip(1).copied().collect();
            let fixed: Option<i64> = from.iter().filter_map(number).try_fold(1_i64, i64::checked_mul);
            let behind = rest.iter().try_fold(1_i64, |product, size| product.checked_mul(*size));
            let front = whole.first().copied().unwrap_or(0);
            // Whole rows go to the front: the fixed part of the data is the rest times what each row gives.
            match (fixed, behind) {
                (Some(fixed), Some(behind))
                    if behind > 0
                        && fixed % behind == 0
                        && front
                            .checked_mul(behind)
                            .is_some_and(|all| Some(all) == fixed.checked_mul(now)) =>
                {
                    Ok(std::iter::once(-1).chain(rest).collect())
                }
                _ => Err(format!("it mixes the batch {now} into {target:?}")),
            }
        }
        _ => Err(format!("it mixes the batch {now} into {target:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    #[test]
    fn the_example_holds() {
        let source = include_str!("set_batch.rs");
        let graphs: Vec<Model> = example::graphs(source, 17);
        let mut model = graphs[0].clone();
        set_batch(&mut model, Batch::Dynamic).unwrap();
        assert_eq!(model.graph, graphs[1].graph);
        set_batch(&mut model, Batch::Fixed(3)).unwrap();
        assert_eq!(model.graph.inputs[0].to_string(), "x  float32 [3, 8]");
        assert_eq!(model.graph.outputs[0].to_string(), "y  float32 [3, 2, 4]");
    }

    #[test]
    fn heads_and_batch_in_front_are_inferred() {
        let text = "input x float32[1,5,8]\nconst s int64[4] = 1 5 2 4\nconst t int64[3] = 2 5 4\na = Reshape(x, s)\nb = Transpose(a) {perm=[0,2,1,3]}\ny = Reshape(b, t)\noutput y float32[2,5,4]";
        let mut model = example::parse(text, 17);
        set_batch(&mut model, Batch::Dynamic).unwrap();
        let targets: Vec<Vec<i64>> =
            model.graph.initializers.values().map(|tensor| tensor.to_i64().unwrap()).collect();
        assert_eq!(targets, [vec![0, 5, 2, 4], vec![-1, 5, 4]]);
    }

    #[test]
    fn what_cannot_be_shown_is_refused_by_name() {
        let cases = [
            "input x float32[1,8]\nconst r float32[1,8] = 1 2 3 4 5 6 7 8\njoin = Concat(x, r) {axis=0}\noutput join float32[2,8]",
            "input x float32[1,8]\nconst r float32[1,2] = 1 2\njoin = Concat(x, r) {axis=1}\noutput join float32[1,10]",
            "input x float32[1,8]\nconst s int64[2] = 8 1\njoin = Reshape(x, s)\nz = Transpose(join) {perm=[1,0]}\nconst t int64[2] = 2 -1\ny = Reshape(z, t)\noutput y float32[2,4]",
        ];
        for text in &cases[..2] {
            let error = set_batch(&mut example::parse(text, 17), Batch::Dynamic).unwrap_err();
            assert!(error.to_string().contains("join"), "{error}");
        }
        assert!(set_batch(&mut example::parse(cases[0], 17), Batch::Fixed(0)).is_err());
    }
}
