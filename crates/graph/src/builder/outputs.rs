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
    graph.drop_dead_parts();
    graph
}
