//! Which nodes ONNX Runtime left to the processor, and whether that is harmless.
//!
//! `session.disable_cpu_ep_fallback` refuses every graph that has a single node on the processor. But ONNX Runtime puts the
//! arithmetic of shapes there on purpose: sizes are known on the processor, and a kernel launch for `batch × 300` would cost
//! more than it computes. So a graph that is refused is loaded once more with the library's own report of where each node
//! went, and taken only when all that is left to the processor are nodes whose values come from sizes and constants alone.

use std::collections::{HashMap, HashSet};

use graph::{Graph, Node};

/// The provider that computes on the processor.
const PROCESSOR: &str = "CPUExecutionProvider";

/// Operators that only move values. Where the library puts one of its own between other nodes (to turn a factor together with
/// what it multiplies), it stays where its input is, and the node that made that is judged itself.
const MOVES: &[&str] = &["Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// A node by its operator and its name, which may be empty.
pub(super) type Placed = (String, String);

/// For each node of a graph, whether its values depend on sizes and constants only.
#[derive(Debug, Default)]
pub(super) struct SizeNodes {
    by_name: HashMap<String, bool>,
    /// For each operator, whether that is so for every node of it.
    by_operator: HashMap<String, bool>,
}

impl SizeNodes {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut found = Self::default();
        found.add(graph, &HashSet::new());
        found
    }

    fn add<'g>(&mut self, graph: &'g Graph, around: &HashSet<&'g str>) {
        let mut sizes: HashSet<&str> = around.clone();
        sizes.extend(graph.initializers.keys().map(String::as_str));
        for node in &graph.nodes {
            for inner in node.subgraphs() {
                self.add(inner, &sizes);
            }
            let harmless = only_sizes(node, &sizes);
            if harmless {
                sizes.extend(node.outputs.iter().map(String::as_str));
            }
            let all = self.by_operator.entry(node.op_type.clone()).or_insert(true);
            *all &= harmless;
            if !node.name.is_empty() {
                // Nothing forbids two nodes of one name; then the worse of them counts.
                let known = self.by_name.entry(node.name.clone()).or_insert(true);
                *known &= harmless;
            }
        }
    }

    /// The first of these nodes that computes with data, not only with sizes. A name that the graph does not have (the
    /// library makes nodes of its own) is judged by its operator, and an operator that it does not have is no size's.
    pub(super) fn first_of_data<'p>(&self, placed: &'p [Placed]) -> Option<&'p Placed> {
        placed.iter().find(|(operator, name)| {
            let known = self.by_name.get(name).filter(|_| !name.is_empty());
            let is_its_own = known.is_none() && !name.is_empty();
            let moves = is_its_own && MOVES.contains(&operator.as_str());
            !moves && !known.or_else(|| self.by_operator.get(operator)).copied().unwrap_or(false)
        })
    }
}

fn only_sizes(node: &Node, sizes: &HashSet<&str>) -> bool {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    if standard && matches!(node.op_type.as_str(), "Shape" | "Size") {
        return true;
    }
    node.subgraphs().next().is_none()
        && node.inputs.iter().all(|name| name.is_empty() || sizes.contains(name.as_str()))
}

/// The nodes on the processor, of the lines that the library logs while it loads a graph; `None` when they do not say
/// where nodes went.
///
/// `Node(s) placed on [X]. Number of nodes: 2` is followed by lines with `Operator (name)`, one or, in some releases,
/// several to a line; `All nodes placed on [X]` by none.
pub(super) fn on_processor(lines: &[String]) -> Option<Vec<Placed>> {
    let mut found = Vec::new();
    let (mut told, mut listed) = (false, false);
    for line in lines {
        let text = line.trim();
        if let Some((_, rest)) = text.split_once(" placed on [") {
            let all = text.starts_with("All nodes");
            let processor = rest.starts_with(PROCESSOR);
            told = true;
            listed = processor;
            if all && processor {
                found.push(("every node".to_owned(), String::new()));
            }
        } else if listed && line.starts_with("  ") {
            found.extend(text.split("), ").map(node_of));
        } else {
            listed = false;
        }
    }
    told.then_some(found)
}

fn node_of(text: &str) -> Placed {
    let text = text.strip_suffix(')').unwrap_or(text);
    let (operator, name) = text.split_once(" (").unwrap_or((text, ""));
    (operator.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn placed(nodes: &[(&str, &str)]) -> Vec<Placed> {
        nodes.iter().map(|(operator, name)| ((*operator).to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn the_librarys_report_is_understood() {
        let each = "Initializing session.\nNode placements\n Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 2\n  \
                    Conv (/stem/Conv)\n  MemcpyFromHost (Memcpy)\n Node(s) placed on [CPUExecutionProvider]. Number of nodes: \
                    2\n  Shape (/a/Shape)\n  Gather ()\nSession successfully initialized.";
        assert_eq!(on_processor(&lines(each)), Some(placed(&[("Shape", "/a/Shape"), ("Gather", "")])));
        let joined = "Node placements\n Node(s) placed on [CPUExecutionProvider]. Number of nodes: 3\n  ScatterND (/a (b)), \
                      Scan (), Shape (c)\n Node(s) placed on [TensorrtExecutionProvider]. Number of nodes: 1\n  TRTKernel_1_0 (TRTKernel_1_0)";
        let expected = placed(&[("ScatterND", "/a (b"), ("Scan", ""), ("Shape", "c")]);
        assert_eq!(on_processor(&lines(joined)), Some(expected));
        let all = " All nodes placed on [CUDAExecutionProvider]. Number of nodes: 52";
        assert_eq!(on_processor(&lines(all)), Some(vec![]));
        let none = " All nodes placed on [CPUExecutionProvider]. Number of nodes: 52";
        assert_eq!(on_processor(&lines(none)).map(|found| found.len()), Some(1));
        assert_eq!(on_processor(&lines("Initializing session.")), None);
    }

    #[test]
    fn sizes_are_harmless_and_data_is_not() {
        let node = |op: &str, name: &str, inputs: &[&str], outputs: &[&str]| Node {
            name: name.into(),
            op_type: op.into(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: outputs.iter().map(|output| (*output).to_owned()).collect(),
            ..Node::default()
        };
        let one = "one".to_owned();
        let constant = graph::Tensor::from_i64([1], vec![1]).unwrap();
        let mut graph = Graph { initializers: [(one.clone(), constant)].into(), ..Graph::default() };
        graph.nodes = vec![
            node("Shape", "", &["x"], &["shape"]),
            node("Gather", "/batch", &["shape", &one], &["batch"]),
            node("Concat", "/target", &["batch", &one], &["target"]),
            node("Expand", "/expand", &["x", "target"], &["wide"]),
            node("Gather", "/pick", &["x", &one], &["picked"]),
            node("Add", "twin", &["batch", &one], &["a"]),
            node("Add", "twin", &["x", "x"], &["b"]),
        ];
        let sizes = SizeNodes::of(&graph);
        let first = |nodes: &[(&str, &str)]| sizes.first_of_data(&placed(nodes)).cloned();
        assert_eq!(first(&[("Shape", ""), ("Gather", "/batch"), ("Concat", "/target")]), None);
        for data in
            [("Expand", "/expand"), ("Gather", "/pick"), ("Gather", ""), ("Add", "twin"), ("Cast", "new")]
        {
            let found = first(&[("Shape", ""), data]);
            assert_eq!(found, Some((data.0.to_owned(), data.1.to_owned())));
        }
        assert_eq!(first(&[("Concat", "made by the library")]), None);
        assert_eq!(first(&[("Transpose", "Transpose_token_11")]), None);
        assert!(first(&[("Transpose", "")]).is_some());
        assert!(first(&[("every node", "")]).is_some());
    }
}
