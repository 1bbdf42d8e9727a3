//! A graph in parts, with what the library must not compute in between.
//!
//! The nodes stay one graph for the library, so it fuses and plans as ever; what a later part reads of an earlier one comes
//! out of the graph and goes in again, so nothing is computed twice.

use std::collections::{BTreeSet, HashMap};

use graph::{DataType, Dim, Model, ValueInfo};
use rten::{NodeId, Value};

use super::convert::Input;
use super::outline::OutlineNode;
use super::suppression::Suppression;
use super::{Engine, NAME};
use crate::{Error, OnnxSource};

/// One part by names: nodes that run together, then suppression.
#[derive(Debug, Default)]
struct Part {
    /// Inputs, and values from before.
    needs: BTreeSet<String>,
    /// Values that a later part, a suppression or the caller reads.
    makes: BTreeSet<String>,
    then: Vec<Suppression>,
}

/// A graph that is run in parts.
pub(super) struct Parts {
    parts: Vec<Part>,
}

impl Parts {
    /// Cuts the graph at its suppressions: the source comes back without them, what they make as inputs.
    pub(super) fn cut(source: OnnxSource<'_>) -> Result<(Self, OnnxSource<'static>), Error> {
        let mut model = source.whole()?;
        let parts = parts(&model);
        let suppressed: BTreeSet<&String> =
            parts.iter().flat_map(|part| &part.then).map(|suppression| &suppression.kept).collect();
        let graph = &mut model.graph;
        graph.nodes.retain(|node| !node.outputs.first().is_some_and(|name| suppressed.contains(name)));
        let kept =
            |name: &&String| ValueInfo::tensor(name.as_str(), DataType::I64, vec![Dim::Unknown, 3.into()]);
        graph.inputs.extend(suppressed.iter().map(kept));
        let made: BTreeSet<&String> = parts.iter().flat_map(|part| &part.makes).collect();
        let described = |name: &String| {
            let stated = graph.outputs.iter().find(|output| output.name == *name);
            let stated = stated.or_else(|| graph.values.get(name)).cloned();
            stated.unwrap_or_else(|| ValueInfo { name: name.clone(), ..ValueInfo::default() })
        };
        graph.outputs = made.into_iter().map(described).collect();
        let mut bytes = Vec::new();
        graph::onnx::write(&model, &mut bytes)?;
        Ok((Self { parts }, OnnxSource::Bytes(bytes)))
    }

    /// Runs the parts one after the other and gives the values of these names.
    pub(super) fn run(
        &self,
        engine: &Engine,
        fed: &[(&str, Input)],
        outputs: &[ValueInfo],
    ) -> Result<Vec<Value>, Error> {
        let fed: HashMap<&str, &Input> = fed.iter().map(|(name, input)| (*name, input)).collect();
        let mut alive: HashMap<&str, Value> = HashMap::new();
        for part in &self.parts {
            let mut views = Vec::with_capacity(part.needs.len());
            for name in &part.needs {
                let id = engine.id(name)?;
                if let Some(value) = alive.get(name.as_str()) {
                    views.push((id, value.into()));
                } else if let Some(input) = fed.get(name.as_str()) {
                    views.push((id, input.view(name)?.into()));
                }
            }
            let ids = part.makes.iter().map(|name| engine.id(name)).collect::<Result<Vec<NodeId>, _>>()?;
            let made = engine.run(views, &ids)?;
            alive.extend(part.makes.iter().map(String::as_str).zip(made));
            for suppression in &part.then {
                let kept = suppression.run(&|name| {
                    if let Some(input) = fed.get(name) {
                        return Ok(input.view(name)?.to_owned());
                    }
                    alive.get(name).cloned().ok_or_else(|| missing(name))
                })?;
                alive.insert(&suppression.kept, kept);
            }
        }
        let output = |info: &ValueInfo| match (alive.remove(info.name.as_str()), fed.get(info.name.as_str()))
        {
            (Some(value), _) => Ok(value),
            (None, Some(input)) => Ok(input.view(&info.name)?.to_owned()),
            (None, None) => Err(missing(&info.name)),
        };
        outputs.iter().map(output).collect()
    }
}

fn missing(name: &str) -> Error {
    Error::Run { backend: NAME, reason: format!("nothing made the value `{name}`") }
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// It is fed, or made by a suppression.
    Given,
    /// A node makes it.
    Made,
}

/// The parts of a graph. A node is in the first part that has what it reads; constants are in all of them.
fn parts(model: &Model) -> Vec<Part> {
    let graph = &model.graph;
    let mut places: HashMap<&str, (usize, Origin)> =
        graph.inputs.iter().map(|input| (input.name.as_str(), (0, Origin::Given))).collect();
    let mut parts = vec![Part::default()];
    for node in graph.nodes.iter().filter(|node| node.op_type != "Constant") {
        let suppression = Suppression::of(node, graph);
        let reads = match &suppression {
            Some(suppression) => suppression.reads().map(str::to_owned).collect(),
            None => OutlineNode::new(node, graph).reads,
        };
        let known = || reads.iter().filter_map(|name| Some((name, *places.get(name.as_str())?)));
        let at = known().map(|(_, (at, _))| at).max().unwrap_or(0);
        let is_last = suppression.is_some();
        let (needed, crossed): (Vec<_>, Vec<_>) = (
            known().filter(|(_, (made, origin))| *origin == Origin::Given || *made < at).collect(),
            known()
                .filter(|(_, (made, origin))| *origin == Origin::Made && (is_last || *made < at))
                .collect(),
        );
        for (name, (made, _)) in crossed {
            parts[made].makes.insert(name.clone());
        }
        let own = if let Some(suppression) = suppression {
            parts[at].then.push(suppression);
            if parts.len() == at + 1 {
                parts.push(Part::default());
            }
            (at + 1, Origin::Given)
        } else {
            parts[at].needs.extend(needed.into_iter().map(|(name, _)| name.clone()));
            (at, Origin::Made)
        };
        places.extend(node.outputs.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), own)));
    }
    for output in &graph.outputs {
        // A constant has no place.
        let (at, origin) = places.get(output.name.as_str()).copied().unwrap_or((0, Origin::Made));
        if origin == Origin::Made {
            parts[at].makes.insert(output.name.clone());
        }
    }
    parts
}
