//! The graph with its roundings written in.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::Scales;
use super::placement::{Layer, Placement};
use super::weights::rounded;
use crate::{DataType, Error, Model, Node, Tensor};

/// The first operator set whose scales may be one a channel.
const LOWEST_OPSET: i64 = 13;

/// Writes `QuantizeLinear` and `DequantizeLinear` around everything that `placement` rounds; weights become `int8`.
///
/// # Errors
/// [`Error::Invalid`] when the operator set is older than 13 or a rounded value has no usable scale.
pub fn quantize(model: &mut Model, placement: &Placement, scales: &Scales) -> Result<(), Error> {
    if model.opset() < LOWEST_OPSET {
        let found = model.opset();
        return Err(Error::Invalid(format!(
            "8-bit weights need opset {LOWEST_OPSET}, this graph has {found}"
        )));
    }
    let mut writer = Writer { model, pairs: HashMap::new() };
    for value in placement.values.keys() {
        let scale = scales.get(value).copied().filter(|scale| scale.is_finite() && *scale > 0.0);
        let scale = scale.ok_or_else(|| Error::Invalid(format!("`{value}` has no scale")))?;
        writer.pair(value, scale)?;
    }
    // Weights that several layers share are rounded once for each dimension that counts their channels.
    let mut weights: BTreeMap<(&str, usize), Node> = BTreeMap::new();
    for layer in placement.rounded() {
        let widened = match weights.entry((&layer.weight, layer.axis)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(writer.weight(layer)?),
        };
        let value = writer.rounded_name(&layer.input);
        let node = &mut writer.model.graph.nodes[layer.node];
        node.inputs[0] = value;
        node.inputs[1].clone_from(&widened.outputs[0]);
    }
    for (node, input) in &placement.sums {
        let value = writer.rounded_name(&writer.model.graph.nodes[*node].inputs[*input]);
        writer.model.graph.nodes[*node].inputs[*input] = value;
    }
    writer.put_in_order(weights.into_values());
    model.graph.drop_dead_parts();
    Ok(())
}

struct Writer<'m> {
    model: &'m mut Model,
    /// The two nodes of each rounded value.
    pairs: HashMap<String, [Node; 2]>,
}

impl Writer<'_> {
    fn rounded_name(&self, value: &str) -> String {
        self.pairs.get(value).map_or_else(|| value.to_owned(), |[_, back]| back.outputs[0].clone())
    }

    /// Rounds a value and widens it again.
    fn pair(&mut self, value: &str, scale: f32) -> Result<(), Error> {
        let scale = self.constant(format!("{value}/scale"), Tensor::from_f32([], vec![scale])?)?;
        let zero = Tensor::new(DataType::I8, [], vec![0_u8].into())?;
        let zero = self.constant(format!("{value}/zero"), zero)?;
        let [code, back] = [format!("{value}/int8"), format!("{value}/rounded")];
        let inputs = |from: &str| vec![from.to_owned(), scale.clone(), zero.clone()];
        let narrow = node("QuantizeLinear", &code, inputs(value));
        let widen = node("DequantizeLinear", &back, inputs(&code));
        self.pairs.insert(value.to_owned(), [narrow, widen]);
        Ok(())
    }

    /// Rounds a layer's weights to eight bits; gives the node that widens them.
    fn weight(&mut self, layer: &Layer) -> Result<Node, Error> {
        let tensor = &self.model.graph.initializers[&layer.weight];
        let (codes, scales) = rounded(tensor, layer.axis)?;
        let channels = scales.len();
        let name = format!("{}/{}", layer.weight, layer.axis);
        let zeros = Tensor::new(DataType::I8, [channels], vec![0_u8; channels].into())?;
        let scales = Tensor::from_f32([channels], scales)?;
        let inputs = vec![
            self.constant(format!("{name}/int8"), codes)?,
            self.constant(format!("{name}/scale"), scales)?,
            self.constant(format!("{name}/zero"), zeros)?,
        ];
        let mut widen = node("DequantizeLinear", &format!("{name}/rounded"), inputs);
        widen.attributes.insert("axis".into(), (layer.axis as i64).into());
        Ok(widen)
    }

    fn constant(&mut self, name: String, tensor: Tensor) -> Result<String, Error> {
        if self.model.graph.initializers.insert(name.clone(), tensor).is_some() {
            return Err(Error::Invalid(format!(
                "the graph has a constant `{name}` already: is it quantized?"
            )));
        }
        Ok(name)
    }

    /// Weights come first; each value's pair follows the node that makes the value.
    fn put_in_order(&mut self, weights: impl Iterator<Item = Node>) {
        let nodes = std::mem::take(&mut self.model.graph.nodes);
        let mut ordered: Vec<Node> = weights.collect();
        let inputs: Vec<String> = self.model.graph.inputs.iter().map(|input| input.name.clone()).collect();
        for input in &inputs {
            ordered.extend(self.pairs.remove(input).into_iter().flatten());
        }
        for node in nodes {
            let outputs = node.outputs.clone();
            ordered.push(node);
            for output in &outputs {
                ordered.extend(self.pairs.remove(output).into_iter().flatten());
            }
        }
        self.model.graph.nodes = ordered;
    }
}

fn node(op: &str, output: &str, inputs: Vec<String>) -> Node {
    Node { name: output.into(), op_type: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
}
