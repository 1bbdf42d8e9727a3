//! Nodes that the embedded library loads but computes differently than the ONNX specification says.
//!
//! Loading refuses them: a wrong box is worse than no box. What the library refuses by itself is not listed here. Found by
//! reading rten 0.27 and by the conformance tests; look at each again when the version changes.
//!
//! Known and not refused, because graphs of detectors do not depend on it: `float16` and `float64` graphs are computed in
//! `float32` (so a `float16` graph shows the rounding of its weights here, not that of its activations), `int64` in 32
//! bits, and a cast from `float` to `bool` truncates first (0.5 becomes false).

use graph::{Graph, Model, Node};

use super::{NAME, suppression};
use crate::Error;

/// The same for users, in lines.
pub(super) const KNOWN: &[&str] = &[
    "refuses cubic `Resize`, padding `SAME_LOWER`, softmax over several dimensions (before opset 13), and \
     `NonMaxSuppression` inside `If`, `Loop` and `Scan`",
    "computes `float16` and `float64` graphs in `float32`, and `int64` in 32 bits",
];

/// One operator and the reason why a use of it is refused.
type Gap = (&'static str, fn(&Node, &Scope<'_>) -> Option<&'static str>);

static GAPS: &[Gap] = &[
    ("Resize", cubic),
    ("Conv", same_lower),
    ("ConvInteger", same_lower),
    ("ConvTranspose", same_lower),
    ("MaxPool", same_lower),
    ("AveragePool", same_lower),
    ("Softmax", flattening_softmax),
    ("LogSoftmax", flattening_softmax),
    (suppression::OPERATOR, inner_suppression),
];

/// What a node's meaning depends on besides itself.
struct Scope<'a> {
    opset: i64,
    graph: &'a Graph,
    /// Whether the graph is inside a node.
    inner: bool,
}

/// Refuses the first node that would be computed wrongly.
pub(super) fn check(model: &Model) -> Result<(), Error> {
    check_graph(&Scope { opset: model.opset(), graph: &model.graph, inner: false })
}

fn check_graph(scope: &Scope<'_>) -> Result<(), Error> {
    for node in &scope.graph.nodes {
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        let mut gaps = GAPS.iter().filter(|(op, _)| standard && *op == node.op_type);
        if let Some(reason) = gaps.find_map(|(_, gap)| gap(node, scope)) {
            return Err(Error::Unsupported {
                backend: NAME,
                node: if node.name.is_empty() {
                    node.outputs.first().cloned().unwrap_or_default()
                } else {
                    node.name.clone()
                },
                op: node.op_type.clone(),
                reason: reason.to_owned(),
            });
        }
        for inner in node.subgraphs() {
            check_graph(&Scope { graph: inner, inner: true, ..*scope })?;
        }
    }
    Ok(())
}

fn cubic(node: &Node, _: &Scope<'_>) -> Option<&'static str> {
    (node.text("mode") == Some("cubic")).then_some("cubic interpolation would be computed as linear")
}

/// Elsewhere the graph is cut there.
fn inner_suppression(_: &Node, scope: &Scope<'_>) -> Option<&'static str> {
    scope.inner.then_some(
        "inside `If`, `Loop` or `Scan` boxes of different images and classes would suppress each other",
    )
}

fn same_lower(node: &Node, _: &Scope<'_>) -> Option<&'static str> {
    (node.text("auto_pad") == Some("SAME_LOWER")).then_some("`SAME_LOWER` would be padded as `SAME_UPPER`")
}

/// Before opset 13 softmax ran over all dimensions from `axis` on (1 unless stated); the library takes `axis` alone.
/// The two agree where `axis` is the last dimension, which is how PyTorch writes it; with a stated axis of a value of
/// unknown rank that is taken for granted.
fn flattening_softmax(node: &Node, scope: &Scope<'_>) -> Option<&'static str> {
    if scope.opset >= 13 {
        return None;
    }
    let stated = node.int("axis");
    let input = node.inputs.first()?;
    let graph = scope.graph;
    let info = graph.values.get(input).or_else(|| graph.inputs.iter().find(|info| info.name == *input));
    let rank =
        info.and_then(|info| info.shape.as_ref()).map(Vec::len).and_then(|rank| i64::try_from(rank).ok());
    let last = match (stated, rank) {
        (Some(-1), _) | (Some(_), None) => true,
        (axis, Some(rank)) => axis.unwrap_or(1).rem_euclid(rank.max(1)) == rank - 1,
        (None, None) => false,
    };
    (!last).then_some("softmax over several dimensions (before opset 13) would run over one")
}

#[cfg(test)]
mod tests {
    use graph::{Attribute, DataType, Dim, ValueInfo};

    use super::*;

    fn model(opset: i64, node: Node) -> Model {
        let shape = vec![Dim::Unknown; 3];
        let graph = Graph {
            inputs: vec![ValueInfo::tensor("x", DataType::F32, shape)],
            nodes: vec![node],
            ..Graph::default()
        };
        Model { opsets: [(String::new(), opset)].into(), graph, ..Model::default() }
    }

    fn node(op: &str, input: &str, attributes: &[(&str, Attribute)]) -> Node {
        Node {
            op_type: op.into(),
            inputs: vec![input.into()],
            outputs: vec!["out".into()],
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ..Node::default()
        }
    }

    #[test]
    fn each_gap_is_refused_and_its_neighbours_are_not() {
        let cases = [
            (17, node("Resize", "x", &[("mode", "cubic".into())]), false),
            (17, node("Resize", "x", &[("mode", "linear".into())]), true),
            (17, node("Resize", "x", &[]), true),
            (17, node("Conv", "x", &[("auto_pad", "SAME_LOWER".into())]), false),
            (17, node("Conv", "x", &[("auto_pad", "SAME_UPPER".into())]), true),
            (17, node("MaxPool", "x", &[("auto_pad", "SAME_LOWER".into())]), false),
            (17, node("Softmax", "x", &[("axis", 1.into())]), true),
            (12, node("Softmax", "x", &[("axis", 1.into())]), false),
            (12, node("Softmax", "x", &[("axis", 2.into())]), true),
            (12, node("Softmax", "x", &[("axis", (-1).into())]), true),
            (12, node("Softmax", "x", &[]), false),
            (12, node("Softmax", "unknown", &[("axis", 3.into())]), true),
            (12, node("LogSoftmax", "unknown", &[]), false),
        ];
        for (opset, node, fine) in cases {
            let label = format!("{opset} {node:?}");
            assert_eq!(check(&model(opset, node)).is_ok(), fine, "{label}");
        }
    }

    #[test]
    fn subgraphs_are_looked_into_and_other_domains_are_not() {
        let cubic = node("Resize", "x", &[("mode", "cubic".into())]);
        let inner = Graph { nodes: vec![cubic.clone()], ..Graph::default() };
        let branch = node("If", "x", &[("then_branch", Attribute::Graph(Box::new(inner)))]);
        let error = check(&model(17, branch)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "backend `embedded` cannot run node `out` (Resize): cubic interpolation would be computed as linear"
        );
        let foreign = Node { domain: "com.example".into(), ..cubic };
        assert!(check(&model(17, foreign)).is_ok());
    }
}
