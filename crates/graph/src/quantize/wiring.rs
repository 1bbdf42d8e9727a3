//! Who makes and who reads each value of a graph.

use std::collections::HashMap;

use crate::{Graph, Node};

/// A graph with its connections.
pub(super) struct Wiring<'g> {
    pub(super) graph: &'g Graph,
    makers: HashMap<&'g str, usize>,
    readers: HashMap<&'g str, usize>,
}

impl<'g> Wiring<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut wiring = Self { graph, makers: HashMap::new(), readers: HashMap::new() };
        for (at, node) in graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                wiring.makers.insert(output, at);
            }
            for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                *wiring.readers.entry(input).or_default() += 1;
            }
        }
        wiring
    }

    pub(super) fn node(&self, at: usize) -> &'g Node {
        &self.graph.nodes[at]
    }

    /// The node that makes a value; `None` for inputs and constants.
    pub(super) fn maker(&self, value: &str) -> Option<usize> {
        self.makers.get(value).copied()
    }

    /// How often a value is read by nodes of this graph.
    pub(super) fn readers(&self, value: &str) -> usize {
        self.readers.get(value).copied().unwrap_or(0)
    }

    pub(super) fn is_constant(&self, value: &str) -> bool {
        self.graph.initializers.contains_key(value)
    }
}
