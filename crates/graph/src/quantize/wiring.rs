//! Who makes and who reads each value of a graph.

use std::collections::HashMap;

use crate::{Graph, Node};

/// A graph with its connections.
pub(super) struct Wiring<'g> {
    pub(super) graph: &'g Graph,
    makers: HashMap<&'g str, usize>,
    readers: HashMap<&'g str, Vec<usize>>,
}

impl<'g> Wiring<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut wiring = Self { graph, makers: HashMap::new(), readers: HashMap::new() };
        for (at, node) in graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                wiring.makers.insert(output, at);
            }
            for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                wiring.readers.entry(input).or_default().push(at);
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

    /// The nodes that read a value, one of them twice when it reads it twice.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_constant(&self, value: &str) -> bool {
        self.graph.initializers.contains_key(value)
    }
}
