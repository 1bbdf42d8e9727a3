//! Seeing every value of a graph while it runs: shapes for operation counts, ranges for calibration.
//!
//! The graph is loaded without the library's fusions, so every value that the file names exists; that is slower than a
//! session. Values are asked for a few nodes at a time and dropped after their last use: asking for all of them at once
//! would hold every activation of the network.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use graph::{DataType, Tensor, ValueInfo};
use rten::{NodeId, Value};
use rten_tensor::Layout;

use super::convert::{self, Input};
use super::outline::{Outline, OutlineNode};
use super::suppression::Suppression;
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

/// A few nodes that run together, or one suppression.
struct Stretch {
    /// What the library must not compute; then it is all there is.
    suppression: Option<Suppression>,
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
        let (outline, source) = source.read(Outline::new)?;
        let engine = Engine::load(&outline, source, options, false)?;
        let stretches = plan(&outline, &engine);
        Ok(Self { engine, inputs: outline.inputs, declared: outline.dtypes, stretches })
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
        walk(&self.engine, &self.inputs, &self.stretches, inputs, |name, value| {
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
        walk(&self.engine, &self.inputs, &self.stretches, inputs, |name, value| {
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
    engine: &Engine,
    declared: &[ValueInfo],
    stretches: &[Stretch],
    inputs: &[(&str, &Tensor)],
    mut visit: impl FnMut(&str, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let fed: HashMap<&str, Input> = feed(declared, inputs)?.into_iter().collect();
    let mut alive: HashMap<&str, Value> = HashMap::new();
    for stretch in stretches {
        if let Some(suppression) = &stretch.suppression {
            let kept = suppression.run(&|name| match (alive.get(name), fed.get(name)) {
                (Some(value), _) => Ok(value.clone()),
                (None, Some(input)) => Ok(input.view(name)?.to_owned()),
                (None, None) => engine.constant(name),
            })?;
            visit(&suppression.kept, &kept)?;
            alive.insert(&suppression.kept, kept);
            stretch.ends.iter().for_each(|name| drop(alive.remove(name.as_str())));
            continue;
        }
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

/// Cuts the graph's nodes into stretches. Values that the library does not know are left out.
fn plan(outline: &Outline, engine: &Engine) -> Vec<Stretch> {
    let id = |name: &str| engine.model.find_node(name).map(|id| (name.to_owned(), id));
    let nodes: Vec<&OutlineNode> = outline.nodes.iter().filter(|node| node.op != "Constant").collect();
    let mut groups: Vec<&[&OutlineNode]> = Vec::new();
    for run in nodes.chunk_by(|a, b| a.suppression.is_none() && b.suppression.is_none()) {
        groups.extend(run.chunks(STRETCH));
    }
    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (at, group) in groups.iter().enumerate() {
        last_use.extend(group.iter().flat_map(|node| &node.reads).map(|name| (name.as_str(), at)));
    }
    let mut made: HashSet<&str> = outline.inputs.iter().map(|info| info.name.as_str()).collect();
    let mut stretches = Vec::new();
    for (at, group) in groups.into_iter().enumerate() {
        let reads = group.iter().flat_map(|node| &node.reads).map(String::as_str);
        let needs: BTreeSet<&str> = reads.filter(|name| made.contains(name)).collect();
        let makes: Vec<&str> = group.iter().flat_map(|node| &node.makes).map(String::as_str).collect();
        made.extend(&makes);
        let done = |name: &&&str| last_use.get(**name).is_none_or(|last| *last <= at);
        stretches.push(Stretch {
            suppression: group.first().and_then(|node| node.suppression.clone()),
            ends: needs.iter().chain(&makes).filter(done).map(|name| (*name).to_owned()).collect(),
            needs: needs.iter().filter_map(|name| id(name)).collect(),
            makes: makes.iter().filter_map(|name| id(name)).collect(),
        });
    }
    stretches
}
