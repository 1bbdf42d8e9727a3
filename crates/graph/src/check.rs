//! The rules that every graph obeys.
//!
//! A graph that passes can be walked front to back without a second look: every name is defined once and before it is
//! used. Operators' own rules (how many inputs, which types) are the runtimes' business.

use std::collections::{BTreeSet, HashSet};

use prost::Message;

use crate::onnx::{FunctionProto, SparseTensorProto};
use crate::tensor::byte_len;
use crate::{DataType, Error, Graph, Model, Node, ValueInfo};

impl Model {
    /// Checks names (each defined once, before its use, in this graph or around it), operator sets (one for every
    /// domain), outputs (each made by something) and constants (type and shape agree with what is said of them).
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::BadNode`] for the first rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        if self.ir_version < 1 {
            return Err(Error::Invalid(format!("IR version {}", self.ir_version)));
        }
        if let Some((domain, version)) = self.opsets.iter().find(|(_, version)| **version < 1) {
            return Err(Error::Invalid(format!("operator set {version} of domain `{domain}`")));
        }
        if self.graph.outputs.is_empty() {
            return Err(Error::Invalid("the graph has no outputs".into()));
        }
        for info in self.graph.inputs.iter().chain(&self.graph.outputs) {
            if info.dtype.is_none() && info.other.is_empty() {
                return Err(Error::Invalid(format!("`{}` goes in or out without a type", info.name)));
            }
        }
        let mut domains: BTreeSet<&str> = self.opsets.keys().map(|domain| canonical(domain)).collect();
        let functions: Vec<String> = self
            .functions
            .iter()
            .filter_map(|encoded| FunctionProto::decode(encoded.clone()).ok())
            .map(|function| function.domain)
            .collect();
        domains.extend(functions.iter().map(|domain| canonical(domain)));
        Scope { domains: &domains, outer: None, defined: HashSet::new() }.graph(&self.graph)
    }
}

/// The empty domain's other name is `ai.onnx`.
fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// The names that are defined so far in a graph, and around it.
struct Scope<'a> {
    domains: &'a BTreeSet<&'a str>,
    outer: Option<&'a Scope<'a>>,
    defined: HashSet<String>,
}

impl Scope<'_> {
    fn graph(mut self, graph: &Graph) -> Result<(), Error> {
        for input in &graph.inputs {
            self.define(&input.name)?;
        }
        for (name, tensor) in &graph.initializers {
            self.define(name)?;
            if tensor.dtype() != DataType::String && byte_len(tensor.dtype(), tensor.shape()).is_none() {
                let reason = format!("{:?} is too large", tensor.shape());
                return Err(Error::BadTensor { name: name.clone(), reason });
            }
        }
        for name in sparse_names(graph) {
            self.define(&name)?;
        }
        for node in &graph.nodes {
            self.node(node)?;
        }
        let mut seen = HashSet::new();
        for output in &graph.outputs {
            if !self.knows(&output.name) {
                return Err(Error::Invalid(format!("output `{}` is made by nothing", output.name)));
            }
            if !seen.insert(&output.name) {
                return Err(Error::Invalid(format!("output `{}` is listed twice", output.name)));
            }
        }
        graph.outputs.iter().chain(graph.values.values()).try_for_each(|info| agrees(graph, info))
    }

    fn node(&mut self, node: &Node) -> Result<(), Error> {
        let bad = |reason: String| Error::BadNode { node: node.name.clone(), op: node.operator(), reason };
        if node.op_type.is_empty() {
            return Err(bad("it names no operator".into()));
        }
        if !self.domains.contains(canonical(&node.domain)) {
            return Err(bad(format!("no operator set is imported for domain `{}`", node.domain)));
        }
        if let Some(input) = node.inputs.iter().find(|input| !input.is_empty() && !self.knows(input)) {
            return Err(bad(format!("its input `{input}` is not defined before it")));
        }
        for graph in node.subgraphs() {
            Scope { domains: self.domains, outer: Some(&*self), defined: HashSet::new() }.graph(graph)?;
        }
        node.outputs.iter().filter(|output| !output.is_empty()).try_for_each(|output| self.define(output))
    }

    fn define(&mut self, name: &str) -> Result<(), Error> {
        if self.defined.insert(name.to_owned()) {
            return Ok(());
        }
        Err(Error::Invalid(format!("`{name}` is defined twice")))
    }

    fn knows(&self, name: &str) -> bool {
        self.defined.contains(name) || self.outer.is_some_and(|outer| outer.knows(name))
    }
}

/// The names of constants that are stored sparsely.
fn sparse_names(graph: &Graph) -> Vec<String> {
    let sparse = graph.other.iter().filter(|part| part.0 == 15);
    sparse
        .filter_map(|part| SparseTensorProto::decode(part.1.clone()).ok()?.values)
        .map(|values| values.name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// Whether what is said of a value does not contradict the constant of that name.
fn agrees(graph: &Graph, info: &ValueInfo) -> Result<(), Error> {
    let Some(tensor) = graph.initializers.get(&info.name) else {
        return Ok(());
    };
    let same_type = info.dtype.is_none_or(|dtype| dtype == tensor.dtype());
    let same_shape = info.fixed_shape().is_none_or(|shape| shape == tensor.shape());
    if same_type && same_shape {
        return Ok(());
    }
    Err(Error::BadTensor {
        name: info.name.clone(),
        reason: format!("the graph says otherwise than {} {:?}", tensor.dtype(), tensor.shape()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attribute, Dim, Tensor};
    use std::collections::BTreeMap;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Node { op_type: op.into(), inputs: owned(inputs), outputs: owned(outputs), ..Node::default() }
    }

    fn value(name: &str) -> ValueInfo {
        ValueInfo::tensor(name, DataType::F32, vec![Dim::Fixed(1)])
    }

    fn model() -> Model {
        let mut model = Model {
            ir_version: 8,
            opsets: BTreeMap::from([(String::new(), 17)]),
            graph: Graph {
                inputs: vec![value("x")],
                outputs: vec![value("y")],
                nodes: vec![node("Add", &["x", "w"], &["a"]), node("Relu", &["a"], &["y"])],
                ..Graph::default()
            },
            ..Model::default()
        };
        model.graph.initializers.insert("w".into(), Tensor::from_f32([1], vec![1.0]).unwrap());
        model
    }

    #[test]
    fn a_sound_model_passes() {
        model().check().unwrap();
    }

    #[test]
    fn each_broken_rule_is_named() {
        type Damage = fn(&mut Model);
        let cases: [(&str, Damage, &str); 11] = [
            ("version", |m| m.ir_version = 0, "IR version"),
            ("opset", |m| m.opsets.clear(), "no operator set"),
            ("domain", |m| m.graph.nodes[0].domain = "com.x".into(), "com.x"),
            ("order", |m| m.graph.nodes.swap(0, 1), "`a` is not defined"),
            ("twice", |m| m.graph.nodes[1].outputs[0] = "a".into(), "`a` is defined twice"),
            ("over input", |m| m.graph.nodes[0].outputs[0] = "x".into(), "`x` is defined twice"),
            ("no output", |m| m.graph.outputs.clear(), "no outputs"),
            ("unmade output", |m| m.graph.outputs[0].name = "z".into(), "`z` is made by nothing"),
            ("same output", |m| m.graph.outputs.push(value("y")), "listed twice"),
            ("no operator", |m| m.graph.nodes[0].op_type.clear(), "names no operator"),
            (
                "other type",
                |m| {
                    let info = ValueInfo::tensor("w", DataType::F16, vec![Dim::Fixed(1)]);
                    m.graph.values.insert("w".into(), info);
                },
                "says otherwise",
            ),
        ];
        for (what, damage, expected) in cases {
            let mut broken = model();
            damage(&mut broken);
            let text = broken.check().unwrap_err().to_string();
            assert!(text.contains(expected), "{what}: {text}");
        }
    }

    #[test]
    fn a_subgraph_sees_what_is_around_it_and_not_the_other_way_round() {
        let inner = Graph {
            outputs: vec![value("inner")],
            nodes: vec![node("Relu", &["a"], &["inner"])],
            ..Graph::default()
        };
        let mut branch = node("If", &["x"], &["b"]);
        branch.attributes.insert("then_branch".into(), Attribute::Graph(Box::new(inner)));
        let mut sound = model();
        sound.graph.nodes.insert(1, branch.clone());
        sound.check().unwrap();
        let mut early = model();
        early.graph.nodes.insert(0, branch);
        assert!(early.check().unwrap_err().to_string().contains("`a` is not defined"));
        let mut leaking = sound;
        leaking.graph.nodes[2].inputs[0] = "inner".into();
        assert!(leaking.check().unwrap_err().to_string().contains("`inner` is not defined"));
    }
}
