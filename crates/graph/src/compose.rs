//! Two graphs one after the other.
//!
//! What the caller knows by name, inputs and outputs, keeps its name; of two inner values of one name, one gets another.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{Attribute, Error, Graph, Model, Node};

impl Model {
    /// This model with another one in front: each pair feeds an output of `front` to an input of this model, and what is
    /// left of both their inputs and outputs are those of the result. The header stays this model's.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a pair names no output or input, its types differ, a name would go in or come out twice, or
    /// the operator sets differ.
    pub fn fed_by(self, front: Self, pairs: &[(&str, &str)]) -> Result<Self, Error> {
        let header = header(&self);
        joined(front, self, pairs).map(|graph| Self { graph, ..header })?.sound()
    }

    /// This model with another one behind: each pair feeds an output of this model to an input of `back`. Outputs that were
    /// fed on are no outputs any more. The header stays this model's.
    ///
    /// # Errors
    /// As [`Model::fed_by`].
    pub fn followed_by(self, back: Self, pairs: &[(&str, &str)]) -> Result<Self, Error> {
        let mut header = header(&self);
        for (domain, version) in &back.opsets {
            let own = *header.opsets.entry(domain.clone()).or_insert(*version);
            if own != *version && !domain.is_empty() {
                let reason = format!("operator sets {own} and {version} of `{domain}` in one model");
                return Err(Error::Invalid(reason));
            }
        }
        header.ir_version = header.ir_version.max(back.ir_version);
        joined(self, back, pairs).map(|graph| Self { graph, ..header })?.sound()
    }

    fn sound(self) -> Result<Self, Error> {
        self.check()?;
        Ok(self)
    }
}

/// Everything but the graph.
fn header(model: &Model) -> Model {
    Model {
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc: model.doc.clone(),
        metadata: model.metadata.clone(),
        functions: model.functions.clone(),
        other: model.other.clone(),
        ..model.clone_header()
    }
}

fn joined(mut first: Model, mut second: Model, pairs: &[(&str, &str)]) -> Result<Graph, Error> {
    if first.opset() != second.opset() {
        let reason = format!("operator sets {} and {} in one model", first.opset(), second.opset());
        return Err(Error::Invalid(reason));
    }
    check_pairs(&first.graph, &second.graph, pairs)?;
    let fed = make_room(&mut first.graph, &mut second.graph, pairs);
    tell_apart(&first.graph, &mut second.graph);
    let Graph { inputs, outputs, nodes, initializers, values, other, .. } = first.graph;
    let mut graph = second.graph;
    graph.inputs.retain(|input| !fed.contains(&input.name));
    graph.inputs.splice(0..0, inputs);
    let (passed, left): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| fed.contains(&output.name));
    graph.outputs.extend(left);
    graph.nodes.splice(0..0, nodes);
    graph.initializers.extend(initializers);
    graph.values.extend(values);
    graph.values.extend(passed.into_iter().map(|info| (info.name.clone(), info)));
    graph.other.splice(0..0, other);
    graph.drop_dead_parts();
    Ok(graph)
}

fn check_pairs(first: &Graph, second: &Graph, pairs: &[(&str, &str)]) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::Invalid(reason));
    let is_fed = |name: &String| pairs.iter().any(|(_, to)| to == name);
    let is_passed = |name: &String| pairs.iter().any(|(from, _)| from == name);
    let mut fed = HashSet::new();
    for (from, to) in pairs {
        let output = first.outputs.iter().find(|output| output.name == *from);
        let input = second.inputs.iter().find(|input| input.name == *to);
        let (Some(output), Some(input)) = (output, input) else {
            return invalid(format!(
                "output `{from}` cannot be fed to input `{to}`: one of them is not there"
            ));
        };
        if output.dtype.is_some() && input.dtype.is_some() && output.dtype != input.dtype {
            return invalid(format!("output {output} cannot be fed to input {input}"));
        }
        if !fed.insert(to) {
            return invalid(format!("input `{to}` is fed twice"));
        }
    }
    let mut inputs: HashSet<&String> = first.inputs.iter().map(|input| &input.name).collect();
    let left = second.inputs.iter().map(|input| &input.name).filter(|name| !is_fed(name));
    if let Some(name) = left.into_iter().find(|name| !inputs.insert(name)) {
        return invalid(format!("`{name}` would go in twice"));
    }
    let mut outputs: HashSet<&String> =
        first.outputs.iter().map(|output| &output.name).filter(|name| !is_passed(name)).collect();
    let theirs = second.outputs.iter().map(|output| &output.name);
    match theirs.into_iter().find(|name| is_fed(name) || !outputs.insert(name)) {
        Some(name) => invalid(format!("`{name}` would come out twice, or without being computed")),
        None => Ok(()),
    }
}

/// Gives other names to values so that no two share one, and to the fed inputs of `second` the names of what feeds them;
/// gives those names.
fn make_room(first: &mut Graph, second: &mut Graph, pairs: &[(&str, &str)]) -> HashSet<String> {
    let (mut own, mut theirs) = (HashSet::new(), HashSet::new());
    all_names(first, &mut own);
    all_names(second, &mut theirs);
    let mut taken: HashSet<String> = own.union(&theirs).cloned().collect();
    // A name that is seen from outside stays; the other graph's inner value of that name moves.
    let is_fed = |name: &String| pairs.iter().any(|(_, to)| to == name);
    let is_passed = |name: &String| pairs.iter().any(|(from, _)| from == name);
    let seen = |graph: &Graph, hidden: &dyn Fn(&String) -> bool| -> HashSet<String> {
        let infos = graph.inputs.iter().chain(&graph.outputs);
        infos.map(|info| info.name.clone()).filter(|name| !hidden(name)).collect()
    };
    let (seen_first, seen_second) = (seen(first, &is_passed), seen(second, &is_fed));
    let both: BTreeSet<&String> = own.intersection(&theirs).collect();
    let (mut in_first, mut in_second) = (HashMap::new(), HashMap::new());
    for name in both {
        if seen_second.contains(name) && !seen_first.contains(name) {
            in_first.insert(name.clone(), free(name, &mut taken));
        } else if !is_fed(name) {
            in_second.insert(name.clone(), free(name, &mut taken));
        }
    }
    let feeding = |from: &str| in_first.get(from).cloned().unwrap_or_else(|| from.to_owned());
    let fed: Vec<(String, String)> =
        pairs.iter().map(|(from, to)| ((*to).to_owned(), feeding(from))).collect();
    let names = fed.iter().map(|(_, from)| from.clone()).collect();
    in_second.extend(fed);
    rename(first, &in_first);
    rename(second, &in_second);
    names
}

/// Gives other names to nodes of `second` that are called like one of `first`: ONNX Runtime refuses two of one name.
fn tell_apart(first: &Graph, second: &mut Graph) {
    let own: HashSet<&String> =
        first.nodes.iter().map(|node| &node.name).filter(|name| !name.is_empty()).collect();
    let mut taken: HashSet<String> = own.iter().map(|name| (*name).clone()).collect();
    taken.extend(second.nodes.iter().map(|node| node.name.clone()));
    for node in second.nodes.iter_mut().filter(|node| own.contains(&node.name)) {
        node.name = free(&node.name, &mut taken);
    }
}

/// A name that nothing has yet, made from `base`.
fn free(base: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2_u64..).map(|count| format!("{base}_{count}"));
    let name = numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

fn all_names(graph: &Graph, names: &mut HashSet<String>) {
    let infos = graph.inputs.iter().chain(&graph.outputs).map(|info| &info.name);
    names.extend(infos.chain(graph.initializers.keys()).cloned());
    for node in &graph.nodes {
        names.extend(node.inputs.iter().chain(&node.outputs).filter(|name| !name.is_empty()).cloned());
        node.subgraphs().for_each(|inner| all_names(inner, names));
    }
}

/// Renames values everywhere, in subgraphs too: ONNX has no second value of one name inside another graph's reach.
fn rename(graph: &mut Graph, map: &HashMap<String, String>) {
    if map.is_empty() {
        return;
    }
    let change = |name: &mut String| {
        if let Some(new) = map.get(name) {
            name.clone_from(new);
        }
    };
    graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(|info| change(&mut info.name));
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).for_each(change);
        subgraphs(node).for_each(|inner| rename(inner, map));
    }
    let initializers = std::mem::take(&mut graph.initializers);
    graph.initializers = initializers
        .into_iter()
        .map(|(mut name, tensor)| {
            change(&mut name);
            (name, tensor)
        })
        .collect();
    let values = std::mem::take(&mut graph.values);
    graph.values = values
        .into_values()
        .map(|mut info| {
            change(&mut info.name);
            (info.name.clone(), info)
        })
        .collect();
}

fn subgraphs(node: &mut Node) -> impl Iterator<Item = &mut Graph> {
    node.attributes.values_mut().flat_map(|attribute| match attribute {
        Attribute::Graph(graph) => std::slice::from_mut(&mut **graph),
        Attribute::Graphs(graphs) => graphs.as_mut_slice(),
        _ => &mut [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, DataType, Dim};

    /// `out = op(in + constant)`.
    fn small(input: &str, op: &str, output: &str, opset: i64) -> Model {
        let mut b = Builder::new("small", opset);
        let x = b.input(input, DataType::F32, vec![Dim::batch(), 2.into()]);
        let one = b.floats(&[2], vec![1.0, 2.0]);
        let sum = b.add(&x, &one);
        let made = b.operator(op, &[&sum], [], DataType::F32, sum.shape().to_vec());
        b.output(output, &made);
        b.finish("test", "1").unwrap()
    }

    fn names(infos: &[crate::ValueInfo]) -> Vec<&str> {
        infos.iter().map(|info| info.name.as_str()).collect()
    }

    #[test]
    fn names_that_are_seen_stay_and_inner_ones_make_room() {
        let mut network = small("x", "Relu", "y", 17);
        network.metadata.insert("key".into(), "value".into());
        let made = network.fed_by(small("frames", "Sigmoid", "x", 17), &[("x", "x")]).unwrap();
        assert_eq!((names(&made.graph.inputs), names(&made.graph.outputs)), (vec!["frames"], vec!["y"]));
        let operators: Vec<&str> = made.graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(operators, ["Add", "Sigmoid", "Add", "Relu"]);
        let called: BTreeSet<&str> = made.graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(called.len(), 4, "two nodes of one name: {called:?}");
        assert_eq!(made.graph.initializers.len(), 2);
        assert_eq!(made.metadata.get("key").map(String::as_str), Some("value"));

        // The new output has the name of the one that is fed on.
        let made = made.followed_by(small("raw", "Exp", "y", 17), &[("y", "raw")]).unwrap();
        assert_eq!((names(&made.graph.inputs), names(&made.graph.outputs)), (vec!["frames"], vec!["y"]));
        let last = made.graph.nodes.last().unwrap();
        assert_eq!((last.op_type.as_str(), last.outputs[0].as_str()), ("Exp", "y"));
        let adds: Vec<&Node> = made.graph.nodes.iter().filter(|node| node.op_type == "Add").collect();
        assert_eq!(adds[2].inputs[0], made.graph.nodes[3].outputs[0]);
    }

    #[test]
    fn names_inside_subgraphs_follow() {
        let mut network = small("x", "Relu", "y", 17);
        let inner = Graph {
            nodes: vec![Node {
                op_type: "Neg".into(),
                inputs: vec!["y".into()],
                outputs: vec!["z".into()],
                ..Node::default()
            }],
            outputs: vec![crate::ValueInfo::tensor("z", DataType::F32, vec![])],
            ..Graph::default()
        };
        network.graph.nodes.push(Node {
            op_type: "If".into(),
            inputs: vec!["flag".into()],
            outputs: vec!["branch".into()],
            attributes: [("then_branch".to_owned(), Attribute::Graph(Box::new(inner)))].into(),
            ..Node::default()
        });
        network.graph.inputs.push(crate::ValueInfo::tensor("flag", DataType::Bool, vec![]));
        network.graph.outputs.push(crate::ValueInfo::tensor("branch", DataType::F32, vec![]));
        let made = network.followed_by(small("raw", "Exp", "y", 17), &[("y", "raw")]).unwrap();
        let branch = made.graph.nodes.iter().find(|node| node.op_type == "If").unwrap();
        let read = &branch.subgraphs().next().unwrap().nodes[0].inputs[0];
        assert_eq!(read, "y_2");
        assert!(made.graph.nodes.iter().any(|node| node.op_type == "Relu" && node.outputs == ["y_2"]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let front = || small("frames", "Sigmoid", "x", 17);
        let cases = [
            (small("x", "Relu", "y", 18), vec![("x", "x")], "operator sets"),
            (small("z", "Relu", "y", 17), vec![("x", "x")], "not there"),
            (small("frames", "Relu", "y", 17), vec![], "go in twice"),
            (small("z", "Relu", "x", 17), vec![], "come out twice"),
        ];
        for (network, pairs, told) in cases {
            let error = network.fed_by(front(), &pairs).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
