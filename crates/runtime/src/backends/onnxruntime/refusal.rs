//! What the library says when it refuses a graph, turned into the node that it is about.

use graph::{Graph, Node};

use crate::Error;

/// The names of a graph's nodes, those of graphs inside them too.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<NodeName>);

#[derive(Debug)]
struct NodeName {
    name: String,
    op: String,
    /// The name, or the first output where it has none.
    label: String,
}

impl Names {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut names = Self::default();
        names.add(graph);
        names
    }

    fn add(&mut self, graph: &Graph) {
        for node in &graph.nodes {
            self.0.push(NodeName::of(node));
            node.subgraphs().for_each(|inner| self.add(inner));
        }
    }

    /// The library's words as an error; with the node where they are about one that the graph has.
    pub(super) fn refusal(&self, backend: &'static str, words: &str) -> Error {
        let words = words.trim();
        let found = SAYINGS.iter().find_map(|saying| {
            let (op, name) = saying(words)?;
            let fits = |node: &&NodeName| {
                op.is_none_or(|op| node.op == op) && name.is_none_or(|name| node.name == name)
            };
            self.0.iter().find(fits)
        });
        match found {
            Some(node) => Error::Unsupported {
                backend,
                node: node.label.clone(),
                op: node.op.clone(),
                reason: words.to_owned(),
            },
            None => Error::Load { backend, reason: words.to_owned() },
        }
    }
}

impl NodeName {
    fn of(node: &Node) -> Self {
        let first = || node.outputs.first().cloned().unwrap_or_default();
        let label = if node.name.is_empty() { first() } else { node.name.clone() };
        Self { name: node.name.clone(), op: node.op_type.clone(), label }
    }
}

/// Ways to say that a node cannot be run, as operator and name where they are told.
type Saying = fn(&str) -> Option<(Option<&str>, Option<&str>)>;

static SAYINGS: &[Saying] = &[
    // `Could not find an implementation for ConvInteger(10) node with name '/a/b'`
    |words| {
        let rest = words.split_once("find an implementation for ")?.1;
        let (op, rest) = rest.split_once('(')?;
        let name = rest.split_once("with name '")?.1.split_once('\'')?.0;
        Some((Some(op), Some(name)))
    },
    // `Node (/a/b) Op (Concat) [ShapeInferenceError] …`
    |words| {
        let (name, rest) = words.split_once("Node (")?.1.split_once(") Op (")?;
        Some((Some(rest.split_once(')')?.0), Some(name)))
    },
    // `Node:/a/b Output:… [ShapeInferenceError]`, `Error in Node:/a/b : …`
    |words| {
        let rest = words.split_once("Node:")?.1;
        let name = rest.split([' ', ',']).next()?;
        Some((None, Some(name).filter(|name| !name.is_empty())))
    },
    // `Fatal error: com.example:Magic(-1) is not a registered function/op`
    |words| {
        let before = words.split_once(" is not a registered function/op")?.0;
        let op = before.rsplit([' ', ':']).next()?.split('(').next()?;
        Some((Some(op), None))
    },
    // `No Op registered for Magic with domain_version of 17`
    |words| Some((Some(words.split_once("Op registered for ")?.1.split(' ').next()?), None)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_saying_finds_its_node() {
        let node = |name: &str, op: &str| Node {
            name: name.into(),
            op_type: op.into(),
            outputs: vec![format!("{op}.out")],
            ..Node::default()
        };
        let nodes = vec![node("/a/b", "ConvInteger"), node("", "Magic"), node("/c", "Concat")];
        let names = Names::of(&Graph { nodes, ..Graph::default() });
        let cases = [
            ("Could not find an implementation for ConvInteger(10) node with name '/a/b'", Some("/a/b")),
            ("Load model failed:Node (/c) Op (Concat) [ShapeInferenceError] All inputs", Some("/c")),
            ("Error in Node:/c : No Op registered for Concat", Some("/c")),
            ("Fatal error: com.example:Magic(-1) is not a registered function/op", Some("Magic.out")),
            ("No Op registered for Magic with domain_version of 17", Some("Magic.out")),
            ("Fatal error: com.example:Other(-1) is not a registered function/op", None),
            ("Protobuf parsing failed.", None),
            ("Node (", None),
            ("", None),
        ];
        for (words, expected) in cases {
            match (names.refusal("onnxruntime", words), expected) {
                (Error::Unsupported { node, reason, .. }, Some(expected)) => {
                    assert_eq!((node.as_str(), reason.as_str()), (expected, words));
                }
                (Error::Load { reason, .. }, None) => assert_eq!(reason, words),
                (other, _) => panic!("{words}: {other}"),
            }
        }
    }
}
