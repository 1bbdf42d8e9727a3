//! The graph with its types changed and casts where they meet.

use std::collections::{HashMap, HashSet};

use half::f16;

use super::islands::{Decision, is_apart};
use crate::{Attribute, DataType, Error, Graph, Node, Tensor, ValueInfo};

/// Constants that are nodes become initializers, so that there is one place to look for them.
pub(super) fn constants_become_initializers(graph: &mut Graph) -> Result<(), Error> {
    let outputs: HashSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let tensor = if node.op_type == "Constant" { constant(&node)? } else { None };
        match (tensor, node.outputs.first()) {
            (Some(tensor), Some(name)) if !outputs.contains(name) => {
                graph.values.shift_remove(name);
                graph.initializers.insert(name.clone(), tensor);
            }
            _ => graph.nodes.push(node),
        }
    }
    Ok(())
}

fn constant(node: &Node) -> Result<Option<Tensor>, Error> {
    let floats = |shape: &[usize], values: Vec<f32>| Tensor::from_f32(shape, values).map(Some);
    match node.attributes.iter().next() {
        Some((name, Attribute::Tensor(tensor))) if name == "value" => Ok(Some(tensor.clone())),
        Some((name, Attribute::Float(value))) if name == "value_float" => floats(&[], vec![*value]),
        Some((name, Attribute::Floats(values))) if name == "value_floats" => {
            floats(&[values.len()], values.clone())
        }
        _ => Ok(None),
    }
}

/// Changes types by the decisions; gives the number of casts.
pub(super) fn apply(
    graph: &mut Graph,
    types: &HashMap<String, DataType>,
    decisions: &[Decision],
    keep_io: bool,
) -> Result<usize, Error> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut writer =
        Writer { graph, types, half: HashSet::new(), made: HashSet::new(), nodes: Vec::new(), casts: 0 };
    if !keep_io {
        writer.inputs_become_half();
    }
    for (node, decision) in nodes.into_iter().zip(decisions) {
        match decision {
            None => writer.nodes.push(node),
            Some(None) => writer.half(node)?,
            Some(Some(_)) => writer.full(node)?,
        }
    }
    writer.outputs(keep_io)?;
    let Writer { nodes, casts, .. } = writer;
    graph.nodes = nodes;
    graph.drop_dead_parts();
    Ok(casts)
}

struct Writer<'g> {
    graph: &'g mut Graph,
    types: &'g HashMap<String, DataType>,
    /// Values that are in `float16` under their own name.
    half: HashSet<String>,
    /// Values that were made by a cast, and constants in `float16`.
    made: HashSet<String>,
    nodes: Vec<Node>,
    casts: usize,
}

impl Writer<'_> {
    fn is_float(&self, name: &str) -> bool {
        self.types.get(name) == Some(&DataType::F32)
    }

    fn inputs_become_half(&mut self) {
        for input in &mut self.graph.inputs {
            if input.dtype == Some(DataType::F32) {
                input.dtype = Some(DataType::F16);
                self.half.insert(input.name.clone());
            }
        }
    }

    fn half(&mut self, mut node: Node) -> Result<(), Error> {
        for at in 0..node.inputs.len() {
            if self.is_float(&node.inputs[at]) && !is_apart(&node, at) && node.op_type != "Cast" {
                node.inputs[at] = self.as_half(&node.inputs[at])?;
            }
        }
        match node.op_type.as_str() {
            "Cast" => {
                node.attributes.insert("to".into(), i64::from(DataType::F16.to_onnx()).into());
            }
            "ConstantOfShape" => {
                let value = match node.tensor("value") {
                    Some(tensor) => to_half(tensor)?,
                    None => to_half(&Tensor::from_f32([1], vec![0.0])?)?,
                };
                node.attributes.insert("value".into(), Attribute::Tensor(value));
            }
            _ => {}
        }
        for output in &node.outputs {
            if self.is_float(output) {
                self.half.insert(output.clone());
                if let Some(info) = self.graph.values.get_mut(output) {
                    info.dtype = Some(DataType::F16);
                }
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn full(&mut self, mut node: Node) -> Result<(), Error> {
        for at in 0..node.inputs.len() {
            if self.half.contains(&node.inputs[at]) && node.op_type != "Cast" {
                node.inputs[at] = self.cast(&node.inputs[at].clone(), DataType::F32)?;
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The name under which a value is there in `float16`.
    fn as_half(&mut self, name: &str) -> Result<String, Error> {
        if self.half.contains(name) {
            return Ok(name.to_owned());
        }
        if !self.graph.initializers.contains_key(name) {
            return self.cast(name, DataType::F16);
        }
        let half = format!("{name}/fp16");
        if self.made.insert(half.clone()) {
            let tensor = to_half(&self.graph.initializers[name])?;
            self.define(&half)?;
            self.graph.initializers.insert(half.clone(), tensor);
        }
        Ok(half)
    }

    fn cast(&mut self, name: &str, dtype: DataType) -> Result<String, Error> {
        let made = format!("{name}/{}", if dtype == DataType::F16 { "fp16" } else { "fp32" });
        if self.made.insert(made.clone()) {
            self.define(&made)?;
            if let Some(info) =
                self.graph.values.get(name).or_else(|| self.graph.inputs.iter().find(|i| i.name == name))
            {
                let info = ValueInfo { name: made.clone(), dtype: Some(dtype), ..info.clone() };
                self.graph.values.insert(made.clone(), info);
            }
            self.push_cast(name, &made, dtype);
        }
        Ok(made)
    }

    fn push_cast(&mut self, from: &str, to: &str, dtype: DataType) {
        self.casts += 1;
        let mut node = Node {
            name: to.to_owned(),
            op_type: "Cast".into(),
            inputs: vec![from.to_owned()],
            outputs: vec![to.to_owned()],
            ..Node::default()
        };
        node.attributes.insert("to".into(), i64::from(dtype.to_onnx()).into());
        self.nodes.push(node);
    }

    /// A name of ours must be new.
    fn define(&self, name: &str) -> Result<(), Error> {
        let taken = self.types.contains_key(name) || self.graph.initializers.contains_key(name);
        if taken { Err(Error::Invalid(format!("the graph has a value `{name}` already"))) } else { Ok(()) }
    }

    /// What comes out keeps its name, and its type when that is wanted.
    fn outputs(&mut self, keep_io: bool) -> Result<(), Error> {
        for at in 0..self.graph.outputs.len() {
            let info = &self.graph.outputs[at];
            let name = info.name.clone();
            if info.dtype != Some(DataType::F32) || self.half.contains(&name) != keep_io {
                continue;
            }
            let wanted = if keep_io { DataType::F32 } else { DataType::F16 };
            if self.graph.initializers.contains_key(&name) || self.graph.inputs.iter().any(|i| i.name == name)
            {
                continue;
            }
            let mut inside = HashSet::new();
            for inner in self.nodes.iter().flat_map(Node::subgraphs) {
                inner.nodes.iter().for_each(|node| node.names_read(&mut inside));
            }
            if inside.contains(name.as_str()) {
                return Err(Error::Invalid(format!(
                    "output `{name}` is read by a graph inside a node: its type stays"
                )));
            }
            // The value itself gets another name, for everyone that reads it.
            let inner = format!("{name}/{}", if keep_io { "half" } else { "full" });
            self.define(&inner)?;
            for node in &mut self.nodes {
                let names = node.inputs.iter_mut().chain(&mut node.outputs);
                names.filter(|known| **known == name).for_each(|known| known.clone_from(&inner));
            }
            self.push_cast(&inner, &name, wanted);
        }
        if !keep_io {
            let outputs = self.graph.outputs.iter_mut().filter(|info| info.dtype == Some(DataType::F32));
            outputs.for_each(|info| info.dtype = Some(DataType::F16));
        }
        Ok(())
    }
}

/// The nearest `float16` numbers.
fn to_half(tensor: &Tensor) -> Result<Tensor, Error> {
    let values = tensor.as_f32()?;
    let mut bytes = Vec::with_capacity(values.len() * 2);
    values.iter().for_each(|value| bytes.extend(f16::from_f32(*value).to_le_bytes()));
    Tensor::new(DataType::F16, tensor.shape().to_vec(), bytes.into())
}
