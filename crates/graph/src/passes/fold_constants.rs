//! What depends on constants only becomes a constant: the text side of an open-vocabulary detector, for one.
//!
//! All such nodes are computed together, as one graph without inputs, and only the values that other nodes read are
//! kept.

use std::collections::HashSet;

use crate::{DataType, Error, Graph, Model, Node, Tensor, ValueInfo};

/// Computes the outputs, in their order, of a graph that has no inputs; an error says why it cannot.
pub type Evaluate<'a> = dyn Fn(&Model) -> Result<Vec<Tensor>, String> + 'a;

/// A constant that a node merely repeats is kept as that node above this many bytes.
const LARGEST_REPETITION: usize = 1 << 20;

/// Operators that give another result each time.
const RANDOM: &[&str] =
    &["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];
/// Operators that may only repeat their input.
const REPEATING: &[&str] =
    &["ConstantOfShape", "Expand", "Gather", "Tile", "Resize", "Upsample", "OneHot", "Range"];
/// Precision is written into a graph by these: they stay.
const QUANTIZING: &[&str] = &["QuantizeLinear", "DequantizeLinear"];

/// Replaces what depends on constants only, and leaves out what nothing reads any more. Gives the number of nodes that
/// went. Nodes whose type is not known, whose numbers are wider than an evaluator computes, or that come out of the graph
/// stay as they are.
///
/// # Errors
/// [`Error::Invalid`] with the evaluator's words, or when it gives something else than was asked for.
pub fn fold_constants(model: &mut Model, evaluate: &Evaluate<'_>) -> Result<usize, Error> {
    let folded = foldable(&model.graph);
    if folded.iter().all(|fold| !fold) {
        return Ok(0);
    }
    let constant = constant_part(model, &folded)?;
    let asked = constant.graph.outputs.clone();
    let tensors =
        evaluate(&constant).map_err(|reason| Error::Invalid(format!("folding constants: {reason}")))?;
    if tensors.len() != asked.len() {
        return Err(Error::Invalid(format!(
            "folding constants: {} values of {}",
            tensors.len(),
            asked.len()
        )));
    }
    for (info, tensor) in asked.into_iter().zip(tensors) {
        if info.dtype != Some(tensor.dtype()) || info.fixed_shape().as_deref() != Some(tensor.shape()) {
            let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
            return Err(Error::Invalid(format!("folding constants: {info} came out as {found}")));
        }
        model.graph.values.shift_remove(&info.name);
        model.graph.initializers.insert(info.name, tensor);
    }
    let before = model.graph.nodes.len();
    let mut folded = folded.into_iter();
    model.graph.nodes.retain(|_| !folded.next().unwrap_or(false));
    model.graph.drop_dead_parts();
    Ok(before - model.graph.nodes.len())
}

/// For each node whether it is computed now.
fn foldable(graph: &Graph) -> Vec<bool> {
    let mut constants: HashSet<&str> = graph.initializers.keys().map(String::as_str).collect();
    constants.insert("");
    let outputs: HashSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut folded = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let fold = node.inputs.iter().all(|input| constants.contains(input.as_str()))
            && node.outputs.iter().all(|output| !outputs.contains(output.as_str()))
            && can_be_computed(node, graph);
        if fold {
            constants.extend(node.outputs.iter().map(String::as_str));
        }
        folded.push(fold);
    }
    folded
}

fn can_be_computed(node: &Node, graph: &Graph) -> bool {
    let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
    let op = node.op_type.as_str();
    if !standard || node.subgraphs().next().is_some() || RANDOM.contains(&op) || QUANTIZING.contains(&op) {
        return false;
    }
    let computed = [DataType::F32, DataType::I64, DataType::I32, DataType::Bool];
    node.outputs.iter().filter(|output| !output.is_empty()).all(|output| {
        let Some(info) = graph.values.get(output) else { return false };
        let (Some(dtype), Some(shape)) = (info.dtype, info.fixed_shape()) else { return false };
        let bytes = crate::tensor::byte_len(dtype, &shape).unwrap_or(usize::MAX);
        computed.contains(&dtype) && (!REPEATING.contains(&op) || bytes <= LARGEST_REPETITION)
    })
}

/// The folded nodes as a model of their own, whose outputs are the values that other nodes read.
fn constant_part(model: &Model, folded: &[bool]) -> Result<Model, Error> {
    let nodes = |wanted: bool| {
        model.graph.nodes.iter().zip(folded).filter(move |(_, fold)| **fold == wanted).map(|(node, _)| node)
    };
    let mut read = HashSet::new();
    nodes(false).for_each(|node| node.names_read(&mut read));
    let outputs = nodes(true).flat_map(|node| &node.outputs).filter(|output| read.contains(output.as_str()));
    let outputs: Vec<ValueInfo> =
        outputs.filter_map(|output| model.graph.values.get(output)).cloned().collect();
    let needed: HashSet<&str> = nodes(true).flat_map(|node| node.inputs.iter().map(String::as_str)).collect();
    let initializers = model.graph.initializers.iter().filter(|(name, _)| needed.contains(name.as_str()));
    let graph = Graph {
        name: "constants".into(),
        nodes: nodes(true).cloned().collect(),
        initializers: initializers.map(|(name, tensor)| (name.clone(), tensor.clone())).collect(),
        values: model.graph.values.clone(),
        outputs,
        ..Graph::default()
    };
    let mut part = Model { graph, ..model.clone_header() };
    part.graph.drop_dead_parts();
    part.check()?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Dim};

    /// `y = x + exp(a) + exp(a)`, where only the exponential is constant, and `c = exp(a)` comes out too.
    fn model(comes_out: bool) -> Model {
        let mut b = Builder::new("g", 17);
        let x = b.input("x", DataType::F32, vec![Dim::batch(), 2.into()]);
        let a = b.floats(&[2], vec![0.0, 1.0]);
        let e = b.exp(&a);
        let twice = b.add(&e, &e);
        let y = b.add(&x, &twice);
        b.output("y", &y);
        if comes_out {
            b.output("c", &e);
        }
        b.finish("test", "1").unwrap()
    }

    #[test]
    fn only_what_is_read_is_kept() {
        let mut folded = model(false);
        let seen = std::cell::RefCell::new(Vec::new());
        let evaluate = |part: &Model| {
            seen.borrow_mut().extend(part.graph.nodes.iter().map(|node| node.op_type.clone()));
            assert!(part.graph.inputs.is_empty() && part.graph.outputs.len() == 1);
            Ok(vec![Tensor::from_f32([2], vec![2.0, 5.0]).unwrap()])
        };
        assert_eq!(fold_constants(&mut folded, &evaluate).unwrap(), 2);
        assert_eq!(*seen.borrow(), ["Exp", "Add"]);
        assert_eq!((folded.graph.nodes.len(), folded.graph.initializers.len()), (1, 1));
        folded.check().unwrap();
        assert_eq!(fold_constants(&mut folded, &|_| unreachable!()).unwrap(), 0);
    }

    #[test]
    fn outputs_and_what_follows_them_stay() {
        let mut whole = model(true);
        assert_eq!(fold_constants(&mut whole, &|_| unreachable!()).unwrap(), 0);
        assert_eq!(whole, model(true));
    }

    #[test]
    fn an_evaluator_that_gives_something_else_is_refused() {
        let wrong: [Vec<Tensor>; 2] = [vec![], vec![Tensor::from_f32([3], vec![0.0; 3]).unwrap()]];
        for tensors in wrong {
            let evaluate = |_: &Model| Ok(tensors.clone());
            assert!(matches!(fold_constants(&mut model(false), &evaluate), Err(Error::Invalid(_))));
        }
        let failing = |_: &Model| Err("no kernel".to_owned());
        let error = fold_constants(&mut model(false), &failing).unwrap_err();
        assert!(error.to_string().contains("no kernel"));
    }
}
