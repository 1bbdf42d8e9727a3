//! The last step of building: outputs get their names, and what no output needs is left out.
//!
//! A value may come out under several names, and inputs and constants may come out too: only the first output of a
//! computed value renames it, every other one is an `Identity` node.

use std::collections::{HashMap, HashSet};

use super::Value;
use crate::{Graph, Node, ValueInfo};

/// The graph with these outputs.
pub(super) fn settled(mut graph: Graph, outputs: Vec<(String, Value)>) -> Graph {
    let computed: HashSet<String> = graph.nodes.iter().flat_map(|node| node.outputs.clone()).collect();
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut copies = Vec::new();
    for (name, value) in outputs {
        graph.outputs.push(ValueInfo::tensor(&name, value.dtype, value.shape));
        if computed.contains(&value.name) && !renamed.contains_key(&value.name) {
            renamed.insert(value.name, name);
        } else {
            copies.push((value.name, name));
        }
    }
    for (source, name) in copies {
        graph.nodes.push(Node {
            name: format!("/{name}/Identity"),
            op_type: "Identity".into(),
            inputs: vec![source],
            outputs: vec![name],
            ..Node::default()
        });
    }
    for name in graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs)) {
        if let Some(new) = renamed.get(name) {
            name.clone_from(new);
        }
    }
    graph.values.retain(|name, _| !renamed.contains_key(name));
    without_dead_parts(graph)
}

fn without_dead_parts(mut graph: Graph) -> Graph {
    let mut needed: HashSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let mut alive = vec![false; graph.nodes.len()];
    for (node, alive) in graph.nodes.iter().zip(&mut alive).rev() {
        *alive = node.outputs.iter().any(|output| needed.contains(output));
        if *alive {
            needed.extend(node.inputs.iter().cloned());
        }
    }
    let mut alive = alive.into_iter();
    graph.nodes.retain(|_| alive.next().unwrap_or(true));
    graph.initializers.retain(|name, _| needed.contains(name));
    let made: HashSet<&String> = graph.nodes.iter().flat_map(|node| &node.outputs).collect();
    graph.values.retain(|name, _| made.contains(name));
    graph
}
