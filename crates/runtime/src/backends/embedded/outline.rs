//! What the backend keeps of a graph's file: names, no weights.
//!
//! A model that was read shares the bytes of its file; as long as it lives, they do. The outline owns everything in it, so
//! the bytes can be handed to the library instead of copied for it.

use std::collections::HashMap;

use graph::{DataType, Graph, Model, Node, ValueInfo};

use super::gaps;
use super::suppression::Suppression;
use crate::Error;

/// The names of a graph.
pub(super) struct Outline {
    pub(super) inputs: Vec<ValueInfo>,
    pub(super) outputs: Vec<ValueInfo>,
    pub(super) nodes: Vec<OutlineNode>,
    /// Element types of values between nodes, where the file states them.
    pub(super) dtypes: HashMap<String, DataType>,
}

/// The names of a node.
pub(super) struct OutlineNode {
    pub(super) name: String,
    pub(super) op: String,
    /// Values that it or a graph inside it reads. Names that only the inner graph knows are among them.
    pub(super) reads: Vec<String>,
    pub(super) makes: Vec<String>,
    /// What the node computes, when the library must not.
    pub(super) suppression: Option<Suppression>,
}

impl Outline {
    /// The names of this graph, when the library computes all of its nodes as ONNX says.
    pub(super) fn new(model: Model) -> Result<Self, Error> {
        gaps::check(&model)?;
        let graph = model.graph;
        let nodes = graph.nodes.iter().map(|node| OutlineNode::new(node, &graph)).collect();
        let infos = graph.values.into_values().chain(graph.outputs.iter().cloned());
        let dtypes = infos.filter_map(|info| Some((info.name, info.dtype?))).collect();
        let owned = |infos: Vec<ValueInfo>| {
            infos.into_iter().map(|info| ValueInfo { other: Vec::new(), ..info }).collect()
        };
        Ok(Self { inputs: owned(graph.inputs), outputs: owned(graph.outputs), nodes, dtypes })
    }

    /// Whether the graph has a node that the library must not compute.
    pub(super) fn suppresses(&self) -> bool {
        self.nodes.iter().any(|node| node.suppression.is_some())
    }
}

impl OutlineNode {
    /// The names of one node of this graph.
    pub(super) fn new(node: &Node, graph: &Graph) -> Self {
        let mut reads = node.inputs.clone();
        node.subgraphs().for_each(|inner| captured(inner, &mut reads));
        reads.retain(|name| !name.is_empty());
        let makes = node.outputs.iter().filter(|name| !name.is_empty()).cloned().collect();
        let suppression = Suppression::of(node, graph);
        Self { name: node.name.clone(), op: node.op_type.clone(), reads, makes, suppression }
    }

    /// The node's name, or its first output where it has none.
    pub(super) fn label(&self) -> String {
        if self.name.is_empty() { self.makes.first().cloned().unwrap_or_default() } else { self.name.clone() }
    }
}

fn captured(graph: &Graph, names: &mut Vec<String>) {
    names.extend(graph.outputs.iter().map(|info| info.name.clone()));
    for node in &graph.nodes {
        names.extend(node.inputs.iter().cloned());
        node.subgraphs().for_each(|inner| captured(inner, names));
    }
}
