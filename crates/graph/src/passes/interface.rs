//! What goes into a graph and what comes out: cut, frozen, renamed.
//!
//! Cut from `a` to `b` (the values between are others' business):
//!
//! ```text
//! input x float32[n,4]
//! a = Relu(x)
//! b = Sigmoid(a)
//! y = Exp(b)
//! output y float32[n,4]
//! ```
//!
//! ```text
//! input a float32[n,4]
//! b = Sigmoid(a)
//! output b float32[n,4]
//! ```

use std::collections::{HashMap, HashSet};

use super::Outcome;
use super::known::Known;
use crate::{Dim, Error, Graph, Model, Node, Tensor, ValueInfo};

/// Keeps what lies between the values `inputs` and `outputs`; an empty list means the graph's own.
///
/// # Errors
/// [`Error::Invalid`] for a name that there is not, a value of unknown type, and when an output needs an input that was
/// cut off; the name is told.
pub fn extract(model: &mut Model, inputs: &[String], outputs: &[String]) -> Result<Outcome, Error> {
    let before = model.graph.nodes.len();
    let known = Known::of(model);
    let describe = |name: &String, graph: &Graph| {
        let stated = graph.inputs.iter().chain(&graph.outputs).find(|info| info.name == *name);
        if let Some(info) = stated {
            return Ok(info.clone());
        }
        if !graph.nodes.iter().any(|node| node.outputs.contains(name)) {
            return Err(Error::Invalid(format!("there is no value `{name}` to cut at")));
        }
        let dtype = known.dtype(name);
        let dtype = dtype.ok_or_else(|| Error::Invalid(format!("the type of `{name}` is not known")))?;
        let shape = known.shape(name).map(|sizes| {
            let dim = |size| match super::known::number(&size) {
                Some(size) => usize::try_from(size).map_or(Dim::Unknown, Dim::Fixed),
                None => Dim::Unknown,
            };
            sizes.into_iter().map(dim).collect()
        });
        let shape = graph.values.get(name).and_then(|info| info.shape.clone()).or(shape);
        Ok(ValueInfo { name: name.clone(), dtype: Some(dtype), shape, other: Vec::new() })
    };
    let graph = &mut model.graph;
    if !outputs.is_empty() {
        graph.outputs = outputs.iter().map(|name| describe(name, graph)).collect::<Result<_, Error>>()?;
    }
    if !inputs.is_empty() {
        let cut: HashSet<&str> = inputs.iter().map(String::as_str).collect();
        let new: Vec<ValueInfo> =
            inputs.iter().map(|name| describe(name, graph)).collect::<Result<_, Error>>()?;
        graph.nodes.retain(|node| !node.outputs.iter().any(|output| cut.contains(output.as_str())));
        graph.values.retain(|name, _| !cut.contains(name.as_str()));
        let old = std::mem::replace(&mut graph.inputs, new);
        graph.drop_dead_parts();
        let mut read = HashSet::new();
        graph.nodes.iter().for_each(|node| node.names_read(&mut read));
        read.extend(graph.outputs.iter().map(|output| output.name.as_str()));
        let needed =
            old.iter().find(|input| read.contains(input.name.as_str()) && !cut.contains(input.name.as_str()));
        if let Some(input) = needed {
            return Err(Error::Invalid(format!(
                "the outputs also need input `{}`, which is cut off",
                input.name
            )));
        }
    }
    graph.drop_dead_parts();
    let mut read: HashSet<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    graph.nodes.iter().for_each(|node| node.names_read(&mut read));
    let unread: Vec<String> = graph
        .inputs
        .iter()
        .map(|input| &input.name)
        .filter(|name| !read.contains(name.as_str()))
        .cloned()
        .collect();
    if inputs.is_empty() {
        graph.inputs.retain(|input| !unread.contains(&input.name));
    } else if let Some(name) = unread.first() {
        return Err(Error::Invalid(format!("no output depends on `{name}`")));
    }
    model.check()?;
    Ok(changed("extract", before, model, before - model.graph.nodes.len()))
}

/// Makes an input a constant.
///
/// # Errors
/// [`Error::Invalid`] when there is no such input or the constant is not of its type and shape.
pub fn freeze_input(model: &mut Model, name: &str, value: Tensor) -> Result<Outcome, Error> {
    let before = model.graph.nodes.len();
    let at = model.graph.inputs.iter().position(|input| input.name == name);
    let at = at.ok_or_else(|| Error::Invalid(format!("the graph has no input `{name}`")))?;
    let input = &model.graph.inputs[at];
    let fits = input.shape.as_ref().is_none_or(|dims| {
        dims.len() == value.shape().len()
            && dims
                .iter()
                .zip(value.shape())
                .all(|(dim, size)| dim.fixed().is_none_or(|fixed| fixed == *size))
    });
    if !fits || input.dtype.is_some_and(|dtype| dtype != value.dtype()) {
        let found = format!("{} {:?}", value.dtype(), value.shape());
        return Err(Error::Invalid(format!("input {input} cannot be {found}")));
    }
    if model.graph.outputs.iter().any(|output| output.name == name) {
        return Err(Error::Invalid(format!("input `{name}` is an output too")));
    }
    model.graph.inputs.remove(at);
    model.graph.initializers.insert(name.to_owned(), value);
    Ok(changed("freeze-input", before, model, 1))
}

/// Gives inputs and outputs new names, all at once: `a=b` and `b=a` exchange.
///
/// # Errors
/// [`Error::Invalid`] for a name that is neither an input nor an output, is given twice, or is taken.
pub fn rename(model: &mut Model, names: &[(String, String)]) -> Result<Outcome, Error> {
    let before = model.graph.nodes.len();
    let mut map: HashMap<&str, &str> = HashMap::new();
    for (old, new) in names {
        let outside = model.graph.inputs.iter().chain(&model.graph.outputs);
        if !outside.into_iter().any(|info| info.name == *old) {
            return Err(Error::Invalid(format!("`{old}` is neither an input nor an output")));
        }
        if new.is_empty() || map.insert(old, new).is_some() {
            return Err(Error::Invalid(format!("`{old}` cannot be renamed `{new}`")));
        }
    }
    let mut taken = HashSet::new();
    all_names(&model.graph, &mut taken);
    let left: HashSet<&str> = map.keys().copied().collect();
    let mut given = HashSet::new();
    for new in names.iter().map(|(_, new)| new.as_str()) {
        if (taken.contains(new) && !left.contains(new)) || !given.insert(new) {
            return Err(Error::Invalid(format!("`{new}` is the name of another value")));
        }
    }
    rename_in(&mut model.graph, &map);
    model.check()?;
    Ok(changed("rename", before, model, names.len()))
}

fn changed(pass: &'static str, before: usize, model: &Model, count: usize) -> Outcome {
    let mut outcome =
        Outcome { nodes_before: before, nodes_after: model.graph.nodes.len(), ..Outcome::default() };
    outcome.count(pass, count);
    outcome
}

fn all_names(graph: &Graph, names: &mut HashSet<String>) {
    names.extend(graph.inputs.iter().map(|input| input.name.clone()));
    names.extend(graph.initializers.keys().cloned());
    for node in &graph.nodes {
        names.extend(node.inputs.iter().chain(&node.outputs).cloned());
        node.subgraphs().for_each(|inner| all_names(inner, names));
    }
}

fn rename_in(graph: &mut Graph, map: &HashMap<&str, &str>) {
    let change = |name: &mut String| {
        if let Some(new) = map.get(name.as_str()) {
            (*new).clone_into(name);
        }
    };
    graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(|info| change(&mut info.name));
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).for_each(change);
        subgraphs_mut(node).for_each(|inner| rename_in(inner, map));
    }
    let initializers = std::mem::take(&mut graph.initializers);
    graph.initializers = initializers
        .into_iter()
        .map(|(name, tensor)| (map.get(name.as_str()).map_or(name.clone(), |new| (*new).to_owned()), tensor))
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

fn subgraphs_mut(node: &mut Node) -> impl Iterator<Item = &mut Graph> {
    node.attributes.values_mut().flat_map(|attribute| match attribute {
        crate::Attribute::Graph(graph) => std::slice::from_mut(&mut **graph),
        crate::Attribute::Graphs(graphs) => graphs.as_mut_slice(),
        _ => &mut [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;
    use crate::passes::example;

    const TEXT: &str = "input x float32[n,4]\ninput m int64[1]\na = Relu(x)\nb = Sigmoid(a)\nc = Cast(m) {to=1}\ny = Mul(b, c)\noutput y float32[n,4]";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_part_is_cut_out() {
        let mut model = example::parse(TEXT, 17);
        extract(&mut model, &names(&["a"]), &names(&["b"])).unwrap();
        assert_eq!((model.graph.inputs[0].name.as_str(), model.graph.nodes.len()), ("a", 1));
        assert_eq!(model.graph.outputs[0].dtype, Some(DataType::F32));
        let refused: [(&[&str], &[&str], &str); 3] =
            [(&["a"], &["y"], "`m`"), (&["nothing"], &["b"], "`nothing`"), (&["m", "x"], &["b"], "`m`")];
        for (inputs, outputs, told) in refused {
            let error = extract(&mut example::parse(TEXT, 17), &names(inputs), &names(outputs)).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        let mut front = example::parse(TEXT, 17);
        extract(&mut front, &[], &names(&["a"])).unwrap();
        assert_eq!((front.graph.inputs.len(), front.graph.nodes.len()), (1, 1));
    }

    #[test]
    fn an_input_is_frozen_when_it_fits() {
        let mut model = example::parse(TEXT, 17);
        freeze_input(&mut model, "m", Tensor::from_i64([1], vec![2]).unwrap()).unwrap();
        model.check().unwrap();
        assert_eq!(model.graph.inputs.len(), 1);
        assert!(freeze_input(&mut model, "x", Tensor::from_f32([1, 3], vec![0.0; 3]).unwrap()).is_err());
        assert!(freeze_input(&mut model, "z", Tensor::from_f32([1], vec![0.0]).unwrap()).is_err());
    }

    #[test]
    fn names_are_exchanged_and_taken_ones_refused() {
        let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
        let mut model = example::parse(TEXT, 17);
        rename(&mut model, &[pair("x", "y"), pair("y", "x")]).unwrap();
        assert_eq!((model.graph.inputs[0].name.as_str(), model.graph.outputs[0].name.as_str()), ("y", "x"));
        for wrong in [pair("x", "a"), pair("b", "q"), pair("x", "")] {
            assert!(rename(&mut example::parse(TEXT, 17), &[wrong]).is_err());
        }
    }
}
