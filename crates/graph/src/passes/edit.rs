//! Changing connections: who makes a value, who reads it, and nodes taken out without losing a name that counts.

use std::collections::{HashMap, HashSet};

use crate::{Graph, Node, Tensor};

/// Whether an operator is one of ONNX's own.
pub(super) fn is_standard(node: &Node) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// Whether a node is this operator of ONNX's own.
pub(super) fn is(node: &Node, op: &str) -> bool {
    is_standard(node) && node.op_type == op
}

/// Names that stay: outputs of the graph, and what subgraphs read from outside.
pub(super) fn pinned(graph: &Graph) -> HashSet<String> {
    let mut names: HashSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    for inner in graph.nodes.iter().flat_map(Node::subgraphs) {
        inner.nodes.iter().for_each(|node| node.names_read(&mut names));
        names.extend(inner.outputs.iter().map(|output| output.name.as_str()));
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Where values are made and read, by the place of the node.
pub(super) struct Index {
    makers: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
    pinned: HashSet<String>,
}

impl Index {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut index = Self { makers: HashMap::new(), readers: HashMap::new(), pinned: pinned(graph) };
        for (at, node) in graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                index.makers.insert(output.clone(), at);
            }
            for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                index.readers.entry(input.clone()).or_default().push(at);
            }
        }
        index
    }

    /// The node that makes a value.
    pub(super) fn maker(&self, value: &str) -> Option<usize> {
        self.makers.get(value).copied()
    }

    /// The nodes that read a value, one entry for each time.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The one node that reads a value, when nothing else needs it.
    pub(super) fn only_reader(&self, value: &str) -> Option<usize> {
        match self.readers(value) {
            [reader] if !self.pinned.contains(value) => Some(*reader),
            _ => None,
        }
    }

    pub(super) fn is_pinned(&self, value: &str) -> bool {
        self.pinned.contains(value)
    }
}

/// Nodes to take out, whose first output is just another name for a value.
pub(super) struct Bypass {
    pinned: HashSet<String>,
    made: HashSet<String>,
    alias: HashMap<String, String>,
    gone: HashSet<usize>,
}

impl Bypass {
    pub(super) fn of(graph: &Graph) -> Self {
        let made = graph.nodes.iter().flat_map(|node| &node.outputs).cloned().collect();
        Self { pinned: pinned(graph), made, alias: HashMap::new(), gone: HashSet::new() }
    }

    /// The name that a value goes by now.
    pub(super) fn name<'a>(&'a self, mut value: &'a str) -> &'a str {
        while let Some(next) = self.alias.get(value) {
            value = next;
        }
        value
    }

    /// Takes out the node at `at`: `old` becomes `new`. False, and nothing done, when both names have to stay.
    pub(super) fn take(&mut self, at: usize, old: &str, new: &str) -> bool {
        if self.join(old, new) {
            self.gone.insert(at);
            return true;
        }
        false
    }

    /// Makes `old` another name of `new`, without taking a node out.
    pub(super) fn join(&mut self, old: &str, new: &str) -> bool {
        let new = self.name(new).to_owned();
        if old == new || self.alias.contains_key(old) {
            return false;
        }
        if !self.pinned.contains(old) {
            self.alias.insert(old.to_owned(), new);
        } else if !self.pinned.contains(&new) && self.made.contains(&new) {
            // The name that counts moves to the maker.
            self.alias.insert(new, old.to_owned());
        } else {
            return false;
        }
        true
    }

    /// Whether a name is an output's, or a subgraph's.
    pub(super) fn must_stay(&self, value: &str) -> bool {
        self.pinned.contains(value)
    }

    /// Takes out a node whose outputs were joined with others.
    pub(super) fn remove(&mut self, at: usize) {
        self.gone.insert(at);
    }

    /// Carries it out; gives the number of nodes that went.
    pub(super) fn apply(self, graph: &mut Graph) -> usize {
        if self.alias.is_empty() && self.gone.is_empty() {
            return 0;
        }
        let mut at = 0;
        graph.nodes.retain(|_| {
            at += 1;
            !self.gone.contains(&(at - 1))
        });
        for node in &mut graph.nodes {
            for name in node.inputs.iter_mut().chain(&mut node.outputs) {
                if self.alias.contains_key(name) {
                    *name = self.name(name).to_owned();
                }
            }
        }
        graph.values.retain(|name, _| !self.alias.contains_key(name));
        self.gone.len()
    }
}

/// A name that nothing in the graph has yet, made from `base`.
pub(super) fn fresh(graph: &Graph, base: &str) -> String {
    fn taken(graph: &Graph, name: &str) -> bool {
        graph.initializers.contains_key(name)
            || graph.inputs.iter().any(|input| input.name == name)
            || graph.nodes.iter().any(|node| {
                node.outputs.iter().any(|output| output == name)
                    || node.subgraphs().any(|inner| taken(inner, name))
            })
    }
    let mut name = base.to_owned();
    let mut count = 1_u32;
    while taken(graph, &name) {
        count += 1;
        name = format!("{base}_{count}");
    }
    name
}

/// Adds a constant under a name made from `base`.
pub(super) fn add_constant(graph: &mut Graph, base: &str, tensor: Tensor) -> String {
    let name = fresh(graph, base);
    graph.initializers.insert(name.clone(), tensor);
    name
}

/// The integers of a constant; `None` for anything else.
pub(super) fn integers(graph: &Graph, name: &str) -> Option<Vec<i64>> {
    graph.initializers.get(name)?.to_i64().ok()
}

/// The single number of a constant in `float32`.
pub(super) fn scalar(graph: &Graph, name: &str) -> Option<f32> {
    let tensor = graph.initializers.get(name).filter(|tensor| tensor.len() == 1)?;
    tensor.as_f32().ok()?.first().copied()
}
