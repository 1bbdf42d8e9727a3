//! What scales and shifts the channels of a convolution moves into its weights: batch norm, and constants that are
//! multiplied, divided, added or subtracted.
//!
//! ```text
//! input x float32[n,1,4,4]
//! const w float32[2,1,1,1] = 1 2
//! const scale float32[2] = 2 4
//! const shift float32[2] = 1 0
//! const mean float32[2] = 0.5 0
//! const var float32[2] = 4 1
//! const more float32[1,2,1,1] = 1 3
//! a = Conv(x, w)
//! b = BatchNormalization(a, scale, shift, mean, var) {epsilon=0.0}
//! y = Add(b, more)
//! output y float32[n,2,4,4]
//! ```
//!
//! ```text
//! input x float32[n,1,4,4]
//! const w.fused float32[2,1,1,1] = 1 8
//! const w.fused.bias.fused_2 float32[2] = 1.5 3
//! y = Conv(x, w.fused, w.fused.bias.fused_2)
//! output y float32[n,2,4,4]
//! ```

use std::borrow::Cow;

use super::edit::{Index, add_constant, is};
use super::known::Known;
use crate::{Attribute, DataType, Graph, Model, Node, Tensor};

/// For each channel: what it is multiplied by, then what is added.
struct Affine {
    scale: Option<Vec<f64>>,
    shift: Option<Vec<f64>>,
}

/// Moves them; gives the number of nodes that went.
pub(super) fn apply(model: &mut Model, _: &Known) -> usize {
    let graph = &mut model.graph;
    let mut fused = 0;
    // Each round takes one node after each convolution.
    loop {
        let index = Index::of(graph);
        let mut gone = vec![false; graph.nodes.len()];
        for at in 0..graph.nodes.len() {
            if let Some(after) = fuse_after(graph, &index, at) {
                gone[after] = true;
            }
        }
        let count = gone.iter().filter(|gone| **gone).count();
        if count == 0 {
            return fused;
        }
        fused += count;
        let mut gone = gone.into_iter();
        graph.nodes.retain(|_| !gone.next().unwrap_or(false));
        graph.drop_dead_parts();
    }
}

/// The place of the node after the convolution at `at` that is now in its weights.
fn fuse_after(graph: &mut Graph, index: &Index, at: usize) -> Option<usize> {
    let conv = &graph.nodes[at];
    if !is(conv, "Conv") || conv.outputs.len() != 1 {
        return None;
    }
    let after = index.only_reader(conv.outputs.first()?)?;
    let weight = graph.initializers.get(conv.inputs.get(1)?)?;
    let channels = *weight.shape().first()?;
    if weight.dtype() != DataType::F32
        || weight.external().is_some()
        || weight.shape().len() < 3
        || channels == 0
    {
        return None;
    }
    let bias = match conv.inputs.get(2).filter(|name| !name.is_empty()) {
        Some(name) => Some(floats(graph, name, channels)?),
        None => None,
    };
    let affine = affine(graph, &graph.nodes[after], conv.outputs.first()?, channels, weight.shape().len())?;
    let scaled = match &affine.scale {
        Some(scale) => Some(scaled(weight, scale)?),
        None => None,
    };
    let moved: Vec<f32> = (0..channels)
        .map(|channel| {
            let bias = bias.as_ref().map_or(0.0, |bias| bias[channel]);
            let scale = affine.scale.as_ref().map_or(1.0, |scale| scale[channel]);
            (bias * scale + affine.shift.as_ref().map_or(0.0, |shift| shift[channel])) as f32
        })
        .collect();
    let has_bias = bias.is_some() || affine.shift.is_some();
    let moved = Tensor::from_f32([channels], moved).ok()?;
    let (weight_name, bias_name) =
        (graph.nodes[at].inputs[1].clone(), graph.nodes[at].inputs.get(2).cloned());
    let weight_name = match scaled {
        Some(tensor) => add_constant(graph, &suffixed(&weight_name, ".fused"), tensor),
        None => weight_name,
    };
    let mut inputs = vec![graph.nodes[at].inputs[0].clone(), weight_name.clone()];
    if has_bias {
        let base = bias_name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("{weight_name}.bias"));
        inputs.push(add_constant(graph, &suffixed(&base, ".fused"), moved));
    }
    let outputs = vec![graph.nodes[after].outputs.first()?.clone()];
    let conv = &mut graph.nodes[at];
    (conv.inputs, conv.outputs) = (inputs, outputs);
    Some(after)
}

fn suffixed(base: &str, suffix: &str) -> String {
    if base.ends_with(suffix) { base.to_owned() } else { format!("{base}{suffix}") }
}

fn floats(graph: &Graph, name: &str, count: usize) -> Option<Vec<f64>> {
    let tensor = graph.initializers.get(name).filter(|tensor| tensor.len() == count)?;
    Some(tensor.as_f32().ok()?.iter().map(|value| f64::from(*value)).collect())
}

/// What a node does to the channels of `value`, a tensor of `rank` dimensions.
fn affine(graph: &Graph, node: &Node, value: &str, channels: usize, rank: usize) -> Option<Affine> {
    if is(node, "BatchNormalization") {
        return batch_norm(graph, node, value, channels);
    }
    let op = ["Mul", "Div", "Add", "Sub"].into_iter().find(|op| is(node, op))?;
    let [first, second] = node.inputs.as_slice() else { return None };
    let constant = match op {
        "Mul" | "Add" if second == value => first,
        _ if first == value => second,
        _ => return None,
    };
    let values = per_channel(graph, constant, channels, rank)?;
    Some(match op {
        "Mul" => Affine { scale: Some(values), shift: None },
        "Div" => {
            let inverse: Vec<f64> = values.iter().map(|value| value.recip()).collect();
            Affine {
                scale: Some(inverse).filter(|values| values.iter().all(|value| value.is_finite())),
                shift: None,
            }
        }
        "Add" => Affine { scale: None, shift: Some(values) },
        _ => Affine { scale: None, shift: Some(values.iter().map(|value| -value).collect()) },
    })
    .filter(|affine| affine.scale.is_some() || affine.shift.is_some())
}

fn batch_norm(graph: &Graph, node: &Node, value: &str, channels: usize) -> Option<Affine> {
    let training = node.int("training_mode").unwrap_or(0) != 0;
    let further = node.outputs.iter().skip(1).any(|output| !output.is_empty());
    if training || further || node.inputs.first().is_none_or(|input| input != value) {
        return None;
    }
    let epsilon = match node.attributes.get("epsilon") {
        Some(Attribute::Float(epsilon)) => f64::from(*epsilon),
        Some(_) => return None,
        None => 1e-5,
    };
    let part = |at: usize| floats(graph, node.inputs.get(at)?, channels);
    let (gamma, beta, mean, variance) = (part(1)?, part(2)?, part(3)?, part(4)?);
    let scale: Vec<f64> =
        gamma.iter().zip(&variance).map(|(gamma, var)| gamma / (var + epsilon).sqrt()).collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((beta, mean), scale)| beta - mean * scale).collect();
    let sound = scale.iter().all(|scale| scale.is_finite());
    sound.then_some(Affine { scale: Some(scale), shift: Some(shift) })
}

/// A constant that gives each channel one number and makes nothing larger: `[1, C, 1, 1]`, `[C, 1, 1]` or one number.
fn per_channel(graph: &Graph, name: &str, channels: usize, rank: usize) -> Option<Vec<f64>> {
    let shape = graph.initializers.get(name)?.shape();
    if shape.len() > rank {
        return None;
    }
    if shape.iter().product::<usize>() == 1 {
        return Some(vec![*floats(graph, name, 1)?.first()?; channels]);
    }
    let axis = shape.len().checked_sub(rank - 1)?;
    let fits =
        shape.iter().enumerate().all(|(at, size)| if at == axis { *size == channels } else { *size == 1 });
    if fits { floats(graph, name, channels) } else { None }
}

fn scaled(weight: &Tensor, scale: &[f64]) -> Option<Tensor> {
    let values: Cow<'_, [f32]> = weight.as_f32().ok()?;
    let each = values.len() / scale.len();
    let scaled =
        values.iter().enumerate().map(|(at, value)| (f64::from(*value) * scale[at / each.max(1)]) as f32);
    Tensor::from_f32(weight.shape(), scaled.collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::example;

    fn run(model: &mut Model) -> usize {
        let known = Known::of(model);
        apply(model, &known)
    }

    #[test]
    fn the_example_holds() {
        example::check(include_str!("fuse_conv.rs"), 17, run);
    }

    #[test]
    fn what_others_read_or_what_grows_stays() {
        let head = "input x float32[n,1,4,4]\nconst w float32[1,1,1,1] = 2\nconst c float32[1,2,1,1] = 1 3\na = Conv(x, w)";
        let stays = [
            format!("{head}\ny = Add(a, c)\noutput y float32[n,2,4,4]"),
            format!("{head}\ny = Mul(a, w)\noutput y float32[n,1,4,4]\noutput a float32[n,1,4,4]"),
        ];
        for text in stays {
            assert_eq!(run(&mut example::parse(&text, 17)), 0, "{text}");
        }
    }
}
