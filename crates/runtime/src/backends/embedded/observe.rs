//! Seeing every value of a graph while it runs: shapes for operation counts, ranges for calibration.
//!
//! The graph is loaded without the library's fusions, so every value that the file names exists; that is slower than a
//! session. Values are asked for a few nodes at a time and dropped after their last use: asking for all of them at once
//! would hold every activation of the network.

use std::collections::{BTreeMap, HashMap, HashSet};

use graph::{DataType, Graph, Model, Tensor, ValueInfo};
use rten::{NodeId, Value};
use rten_tensor::Layout;

use super::convert::{self, Input};
use super::{Engine, feed};
use crate::{Error, LoadOptions, OnnxSource};

/// Nodes that run at once. Larger means more activations held, smaller more calls.
const STRETCH: usize = 16;

/// A graph that shows its values.
pub struct Observer {
    engine: Engine,
    inputs: Vec<ValueInfo>,
    declared: HashMap<String, DataType>,
    stretches: Vec<Stretch>,
}

/// A few nodes that run together.
struct Stretch {
    /// Values from before that they read.
    needs: Vec<(String, NodeId)>,
    /// Values that they make, in order.
    makes: Vec<(String, NodeId)>,
    /// Values that nothing reads afterwards.
    ends: Vec<String>,
}

impl Observer {
    /// Loads a graph to look into.
    ///
    /// # Errors
    /// Those of [`crate::Backend::load`].
    pub fn load(source: OnnxSource<'_>, options: &LoadOptions) -> Result<Self, Error> {
        let (structure, source) = source.structure()?;
        let engine = Engine::load(&structure, source, options, false)?;
        let stretches = plan(&structure, &engine);
        let graph = structure.graph;
        let infos = graph.values.into_values().chain(graph.outputs);
        let declared = infos.filter_map(|info| Some((info.name, info.dtype?))).collect();
        Ok(Self { engine, inputs: graph.inputs, declared, stretches })
    }

    /// What the graph takes.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// Runs the graph and shows `visit` every value that a node makes, in the graph's order. The element type is the
    /// declared one where the graph declares it.
    ///
    /// # Errors
    /// Those of [`crate::Session::run`], and those of `visit`.
    pub fn run(
        &mut self,
        inputs: &[(&str, &Tensor)],
        mut visit: impl FnMut(&str, Tensor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let declared = &self.declared;
        walk(&mut self.engine, &self.inputs, &self.stretches, inputs, |name, value| {
            visit(name, convert::output(name, value.clone(), declared.get(name).copied())?)
        })
    }

    /// The type and shape of every value that a node makes, for these inputs. No value is copied.
    ///
    /// # Errors
    /// Those of [`crate::Session::run`].
    pub fn shapes(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<BTreeMap<String, (DataType, Vec<usize>)>, Error> {
        let mut shapes = BTreeMap::new();
        let declared = &self.declared;
        walk(&mut self.engine, &self.inputs, &self.stretches, inputs, |name, value| {
            let dtype = declared.get(name).copied().unwrap_or(match value {
                Value::Int32Tensor(_) => DataType::I32,
                Value::Int8Tensor(_) => DataType::I8,
                Value::UInt8Tensor(_) => DataType::U8,
                _ => DataType::F32,
            });
            shapes.insert(name.to_owned(), (dtype, value.shape().to_vec()));
            Ok(())
        })?;
        Ok(shapes)
    }
}

/// The type and shape of every value that a node of the graph makes when it is run on these inputs.
///
/// # Errors
/// Those of [`Observer::load`] and [`Observer::shapes`].
pub fn record_shapes(
    source: OnnxSource<'_>,
    inputs: &[(&str, &Tensor)],
) -> Result<BTreeMap<String, (DataType, Vec<usize>)>, Error> {
    Observer::load(source, &LoadOptions::default())?.shapes(inputs)
}

fn walk(
    engine: &mut Engine,
    declared: &[ValueInfo],
    stretches: &[Stretch],
    inputs: &[(&str, &Tensor)],
    mut visit: impl FnMut(&str, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let fed: HashMap<&str, Input> = feed(declared, inputs)?.into_iter().collect();
    let mut alive: HashMap<&str, Value> = HashMap::new();
    for stretch in stretches {
        let mut views = Vec::with_capacity(stretch.needs.len());
        for (name, id) in &stretch.needs {
            if let Some(value) = alive.get(name.as_str()) {
                views.push((*id, value.into()));
            } else if let Some(input) = fed.get(name.as_str()) {
                views.push((*id, input.view(name)?.into()));
            }
        }
        let ids: Vec<NodeId> = stretch.makes.iter().map(|(_, id)| *id).collect();
        let values = engine.run(views, &ids)?;
        for ((name, _), value) in stretch.makes.iter().zip(values) {
            visit(name, &value)?;
            alive.insert(name, value);
        }
        for name in &stretch.ends {
            alive.remove(name.as_str());
        }
    }
    Ok(())
}

/// Cuts the graph's nodes into stretches. Values that the library does not know (of `Constant` nodes, or never asked
/// for) are left out.
fn plan(model: &Model, engine: &Engine) -> Vec<Stretch> {
    let graph = &model.graph;
    let id = |name: &str| engine.model.find_node(name).map(|id| (name.to_owned(), id));
    let nodes: Vec<_> = graph.nodes.iter().filter(|node| node.op_type != "Constant").collect();
    let reads: Vec<Vec<&str>> = nodes
        .iter()
        .map(|node| {
            let mut names: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
            for inner in node.subgraphs() {
                captured(inner, &mut names);
            }
            names
        })
        .collect();
    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (at, names) in reads.iter().enumerate() {
        for name in names {
            last_use.insert(name, at / STRETCH);
        }
    }
    let mut made: HashSet<&str> = graph.inputs.iter().map(|info| info.name.as_str()).collect();
    let mut stretches = Vec::new();
    for (at, (group, names)) in nodes.chunks(STRETCH).zip(reads.chunks(STRETCH)).enumerate() {
        let outputs = || group.iter().flat_map(|node| &node.outputs).map(String::as_str);
        let mut needs: Vec<&str> =
            names.iter().flatten().copied().filter(|name| made.contains(name)).collect();
        needs.sort_unstable();
        needs.dedup();
        made.extend(outputs().filter(|name| !name.is_empty()));
        let done = |name: &&str| last_use.get(name).is_none_or(|last| *last <= at);
        stretches.push(Stretch {
            ends: needs.iter().copied().chain(outputs()).filter(done).map(str::to_owned).collect(),
            needs: needs.into_iter().filter_map(id).collect(),
            makes: outputs().filter(|name| !name.is_empty()).filter_map(id).collect(),
        });
    }
    stretches
}

/// Names that a subgraph reads, its own included: those that the outer graph does not make are ignored later.
fn captured<'a>(graph: &'a Graph, names: &mut Vec<&'a str>) {
    names.extend(graph.outputs.iter().map(|info| info.name.as_str()));
    for node in &graph.nodes {
        names.extend(node.inputs.iter().map(String::as_str));
        for inner in node.subgraphs() {
            captured(inner, names);
        }
    }
}
