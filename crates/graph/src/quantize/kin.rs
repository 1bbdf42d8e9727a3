//! Values whose magnitudes are those of other values, so that only the others have to be watched.

use std::collections::{BTreeMap, BTreeSet};

use super::Histogram;
use crate::{Graph, Node};

/// Operators that only rename or move the values of their first input.
const RENAMING: &[&str] = &["Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// What of some values has to be watched, and how the others follow.
///
/// A histogram is a count, and counts add up: of a reshaped value it is the histogram of the value before, of a
/// concatenation the sum over its parts, and of a value that is split the sum over the pieces. Nothing is approximated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kin {
    /// The values to sum up, by the value that they give.
    parts: BTreeMap<String, Vec<String>>,
}

impl Kin {
    /// Looks among the values that `is_wanted` names.
    pub fn new(graph: &Graph, is_wanted: &dyn Fn(&str) -> bool) -> Self {
        let mut kin = Self::default();
        let given: BTreeSet<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        let made: BTreeSet<&str> =
            graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
        // A part must have a histogram of its own in the end, which constants have not.
        let is_known = |name: &String| {
            is_wanted(name) && (made.contains(name.as_str()) || given.contains(name.as_str()))
        };
        for node in graph.nodes.iter().filter(|node| matches!(node.domain.as_str(), "" | "ai.onnx")) {
            let (whole, parts) = match (node.op_type.as_str(), &node.inputs[..], &node.outputs[..]) {
                (op, [input, ..], [output]) if RENAMING.contains(&op) => {
                    (output, std::slice::from_ref(input))
                }
                ("Concat", inputs, [output]) => (output, inputs),
                ("Split", [input, ..], outputs) => (input, outputs),
                _ => continue,
            };
            // No sum leads back to itself: only the pieces of what is split come after the value, and of a piece only
            // smaller ones do.
            let is_free = made.contains(whole.as_str()) && !kin.parts.contains_key(whole);
            if is_free && is_wanted(whole) && !parts.is_empty() && parts.iter().all(is_known) {
                kin.parts.insert(whole.clone(), parts.to_vec());
            }
        }
        kin
    }

    /// Whether this value follows from others.
    pub fn follows(&self, value: &str) -> bool {
        self.parts.contains_key(value)
    }

    /// Adds the histograms of the values that follow.
    pub fn complete(&self, seen: &mut BTreeMap<String, Histogram>) {
        for value in self.parts.keys() {
            self.sum(value, seen);
        }
    }

    fn sum(&self, value: &str, seen: &mut BTreeMap<String, Histogram>) {
        let Some(parts) = self.parts.get(value).filter(|_| !seen.contains_key(value)) else { return };
        let mut total = Histogram::default();
        for part in parts {
            self.sum(part, seen);
            let Some(histogram) = seen.get(part) else { return };
            total.merge(histogram);
        }
        seen.insert(value.to_owned(), total);
    }
}

/// Operators whose results lie between 0 and 1.
const SHARES: &[&str] = &["HardSigmoid", "Sigmoid", "Softmax"];

/// The values that lie between 0 and 1 whatever goes in: their range is known without watching.
pub fn shares(graph: &Graph) -> BTreeSet<String> {
    let makes_shares = |node: &&Node| {
        matches!(node.domain.as_str(), "" | "ai.onnx") && SHARES.contains(&node.op_type.as_str())
    };
    graph.nodes.iter().filter(makes_shares).filter_map(|node| node.outputs.first()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tensor, ValueInfo};

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Node { op_type: op.into(), inputs: names(inputs), outputs: names(outputs), ..Node::default() }
    }

    fn seen(values: &[(&str, &[f32])]) -> BTreeMap<String, Histogram> {
        let histogram = |values: &[f32]| {
            let mut histogram = Histogram::default();
            histogram.observe(values);
            histogram
        };
        values.iter().map(|(name, values)| ((*name).to_owned(), histogram(values))).collect()
    }

    #[test]
    fn sums_are_what_watching_would_have_counted() {
        let mut graph = Graph::default();
        graph.inputs.push(ValueInfo { name: "x".into(), ..ValueInfo::default() });
        graph.nodes = vec![
            node("Relu", &["x"], &["a"]),
            node("Split", &["a"], &["a0", "a1"]),
            node("Split", &["a1"], &["a10", "a11"]),
            node("Sigmoid", &["a0"], &["s"]),
            node("Concat", &["s", "a10", "x"], &["c"]),
            node("Reshape", &["c", "shape"], &["r"]),
            node("Transpose", &["weight"], &["t"]),
            node("Concat", &["r", "weight"], &["w"]),
        ];
        graph.initializers.insert("weight".into(), Tensor::from_f32([1], vec![1.0]).unwrap());
        let kin = Kin::new(&graph, &|name| name != "shape");
        let follow = ["a", "a1", "c", "r"];
        for value in ["x", "a", "a0", "a1", "a10", "a11", "s", "c", "r", "t", "w"] {
            assert_eq!(kin.follows(value), follow.contains(&value), "{value}");
        }
        let [a0, a10, a11, s, x]: [&[f32]; 5] = [&[0.1, 90.0], &[3.0], &[0.0, 0.5], &[0.5], &[-7.0, 1e-3]];
        let mut found = seen(&[("a0", a0), ("a10", a10), ("a11", a11), ("s", s), ("x", x)]);
        kin.complete(&mut found);
        let whole = seen(&[
            ("a", &[a0, a10, a11].concat()),
            ("a1", &[a10, a11].concat()),
            ("c", &[s, a10, x].concat()),
            ("r", &[s, a10, x].concat()),
        ]);
        for (name, histogram) in whole {
            assert_eq!(found[&name], histogram, "{name}");
        }
        assert!(!found.contains_key("w") && !found.contains_key("t"));
    }

    #[test]
    fn what_is_not_watched_gives_no_sum() {
        let nodes = vec![node("Relu", &["x"], &["a"]), node("Concat", &["a", "b"], &["c"])];
        let graph = Graph { nodes, ..Graph::default() };
        assert!(!Kin::new(&graph, &|_| true).follows("c"));
    }
}
