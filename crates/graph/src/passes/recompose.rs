//! Operators that an exporter took apart become one node again, where the operator set has it.
//!
//! Layer normalization (operator set 17):
//!
//! ```text
//! input x float32[n,5,4]
//! const two float32[] = 2
//! const eps float32[] = 0.001
//! const g float32[4] = 1 2 3 4
//! const b float32[4] = 4 3 2 1
//! m = ReduceMean(x) {axes=[-1]}
//! d = Sub(x, m)
//! p = Pow(d, two)
//! v = ReduceMean(p) {axes=[2]}
//! e = Add(v, eps)
//! s = Sqrt(e)
//! n = Div(d, s)
//! w = Mul(n, g)
//! y = Add(w, b)
//! output y float32[n,5,4]
//! ```
//!
//! ```text
//! input x float32[n,5,4]
//! const g float32[4] = 1 2 3 4
//! const b float32[4] = 4 3 2 1
//! y = LayerNormalization(x, g, b) {axis=-1; epsilon=0.001}
//! output y float32[n,5,4]
//! ```

use super::edit::{Index, integers, is, scalar};
use super::known::Known;
use crate::{Attribute, DataType, Graph, Model, Node};

/// Recomposes layer normalization and GELU; gives the number of nodes that went.
pub(super) fn apply(model: &mut Model, known: &Known) -> usize {
    let opset = model.opset();
    let graph = &mut model.graph;
    let before = graph.nodes.len();
    let index = Index::of(graph);
    for at in 0..graph.nodes.len() {
        let made = match opset {
            ..17 => None,
            17..20 => layer_norm(graph, &index, known, at),
            _ => layer_norm(graph, &index, known, at).or_else(|| gelu(graph, &index, known, at)),
        };
        if let Some(node) = made {
            graph.nodes[at] = node;
        }
    }
    graph.drop_dead_parts();
    before - graph.nodes.len()
}

/// Follows the pattern from its last node to its first.
struct Pattern<'a> {
    graph: &'a Graph,
    index: &'a Index,
}

impl<'a> Pattern<'a> {
    /// The node of this operator that makes `value`, which is read `readers` times and by nothing around the graph.
    fn inner(&self, value: &str, op: &str, readers: usize) -> Option<&'a Node> {
        let node = &self.graph.nodes[self.index.maker(value)?];
        let read = self.index.readers(value).len() == readers && !self.index.is_pinned(value);
        (read && is(node, op) && node.outputs.len() == 1).then_some(node)
    }

    fn scalar(&self, name: &str) -> Option<f32> {
        scalar(self.graph, name)
    }
}

/// Both ways to see a node of two operands that may be swapped.
fn operands(node: &Node) -> Vec<(&str, &str)> {
    match node.inputs.as_slice() {
        [a, b] => vec![(a, b), (b, a)],
        _ => Vec::new(),
    }
}

fn layer_norm(graph: &Graph, index: &Index, known: &Known, at: usize) -> Option<Node> {
    let last = &graph.nodes[at];
    if !is(last, "Add") {
        return None;
    }
    let pattern = Pattern { graph, index };
    operands(last).into_iter().find_map(|(scaled, shift)| {
        let product = pattern.inner(scaled, "Mul", 1)?;
        operands(product).into_iter().find_map(|(normal, scale)| {
            let (x, epsilon) = normalized(&pattern, known, normal)?;
            let size = known.shape(x)?.last().and_then(super::known::number)?;
            let width = |name: &str| {
                let tensor = graph.initializers.get(name).filter(|tensor| tensor.dtype() == DataType::F32)?;
                (tensor.shape().len() == 1 && i64::try_from(tensor.len()) == Ok(size)).then_some(())
            };
            width(scale)?;
            width(shift)?;
            Some(Node {
                name: last.name.clone(),
                op_type: "LayerNormalization".into(),
                inputs: vec![x.to_owned(), scale.to_owned(), shift.to_owned()],
                outputs: last.outputs.clone(),
                attributes: [
                    ("axis".to_owned(), Attribute::Int(-1)),
                    ("epsilon".to_owned(), Attribute::Float(epsilon)),
                ]
                .into(),
                ..Node::default()
            })
        })
    })
}

/// The value that is normalized over its last dimension, and the epsilon.
fn normalized<'a>(pattern: &Pattern<'a>, known: &Known, normal: &str) -> Option<(&'a str, f32)> {
    let quotient = pattern.inner(normal, "Div", 1)?;
    let [difference, deviation] = quotient.inputs.as_slice() else { return None };
    let root = pattern.inner(deviation, "Sqrt", 1)?;
    let sum = pattern.inner(root.inputs.first()?, "Add", 1)?;
    let (variance, epsilon) = operands(sum)
        .into_iter()
        .find_map(|(variance, epsilon)| Some((variance, pattern.scalar(epsilon)?)))?;
    let mean_square = pattern.inner(variance, "ReduceMean", 1)?;
    let square = mean_square.inputs.first()?;
    let subtraction = if let Some(power) = pattern.inner(square, "Pow", 1) {
        let [base, exponent] = power.inputs.as_slice() else { return None };
        if base != difference || (number_of(pattern.graph, exponent)? - 2.0).abs() > f32::EPSILON {
            return None;
        }
        pattern.inner(difference, "Sub", 2)?
    } else {
        let product = pattern.inner(square, "Mul", 1)?;
        if product.inputs.iter().any(|input| input != difference) {
            return None;
        }
        pattern.inner(difference, "Sub", 3)?
    };
    let [x, mean] = subtraction.inputs.as_slice() else { return None };
    let mean = pattern.inner(mean, "ReduceMean", 1)?;
    let last = known.rank(x)?.checked_sub(1)?;
    let over_last = |node: &Node| {
        let axes = match node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => integers(pattern.graph, node.inputs.get(1)?)?,
        };
        let last = matches!(axes.as_slice(), [axis] if *axis == -1 || usize::try_from(*axis) == Ok(last));
        (last && node.int("keepdims").unwrap_or(1) == 1).then_some(())
    };
    over_last(mean)?;
    over_last(mean_square)?;
    (mean.inputs.first()? == x && known.dtype(x) == Some(DataType::F32)).then_some((x.as_str(), epsilon))
}

/// A single number of any type.
fn number_of(graph: &Graph, name: &str) -> Option<f32> {
    let tensor = graph.initializers.get(name).filter(|tensor| tensor.len() == 1)?;
    tensor.to_f32().ok()?.first().copied()
}

fn close(value: f32, to: f32) -> bool {
    (value - to).abs() < to * 1e-5
}

/// The `x` of `1 + erf(x / √2)`.
fn gated<'a>(pattern: &Pattern<'a>, name: &str) -> Option<&'a str> {
    let sum = pattern.inner(name, "Add", 1)?;
    operands(sum).into_iter().find_map(|(erf, one)| {
        pattern.scalar(one).filter(|one| close(*one, 1.0))?;
        let inside = pattern.inner(erf, "Erf", 1)?.inputs.first()?;
        if let Some(quotient) = pattern.inner(inside, "Div", 1) {
            let [x, root] = quotient.inputs.as_slice() else { return None };
            pattern.scalar(root).filter(|root| close(*root, std::f32::consts::SQRT_2))?;
            return Some(x.as_str());
        }
        let product = pattern.inner(inside, "Mul", 1)?;
        operands(product).into_iter().find_map(|(x, factor)| {
            pattern.scalar(factor).filter(|factor| close(*factor, std::f32::consts::FRAC_1_SQRT_2))?;
            Some(x)
        })
    })
}

/// `x · (1 + erf(x / √2)) · ½`, in any order of the products.
fn gelu(graph: &Graph, index: &Index, known: &Known, at: usize) -> Option<Node> {
    let last = &graph.nodes[at];
    if !is(last, "Mul") {
        return None;
    }
    let pattern = Pattern { graph, index };
    let half = |name: &str| pattern.scalar(name).filter(|value| close(*value, 0.5)).map(drop);
    let gate = |name: &str| gated(&pattern, name);
    let x = operands(last).into_iter().find_map(|(a, b)| {
        // (x · gate) · ½
        if half(b).is_some() {
            let product = pattern.inner(a, "Mul", 1)?;
            return operands(product).into_iter().find(|(x, g)| gate(g) == Some(x)).map(|(x, _)| x);
        }
        // (x · ½) · gate
        if let Some(x) = gate(b) {
            let product = pattern.inner(a, "Mul", 1)?;
            let halved = |(y, number): &(&str, &str)| *y == x && half(number).is_some();
            return operands(product).into_iter().find(halved).map(|(x, _)| x);
        }
        // x · (gate · ½)
        let product = pattern.inner(b, "Mul", 1)?;
        let fits = |(g, number): &(&str, &str)| gate(g) == Some(a) && half(number).is_some();
        operands(product).into_iter().find(fits).map(|_| a)
    })?;
    (known.dtype(x) == Some(DataType::F32)).then(|| Node {
        name: last.name.clone(),
        op_type: "Gelu".into(),
        inputs: vec![x.to_owned()],
        outputs: last.outputs.clone(),
        ..Node::default()
    })
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
        example::check(include_str!("recompose.rs"), 17, run);
    }

    #[test]
    fn gelu_in_every_order_from_its_operator_set_on() {
        let head = "input x float32[n,4]\nconst r float32[] = 1.4142135\nconst o float32[] = 1\nconst h float32[] = 0.5\nd = Div(x, r)\ne = Erf(d)\ng = Add(e, o)\n";
        let orders =
            ["p = Mul(x, g)\ny = Mul(p, h)", "p = Mul(x, h)\ny = Mul(p, g)", "p = Mul(g, h)\ny = Mul(x, p)"];
        for order in orders {
            let text = format!("{head}{order}\noutput y float32[n,4]");
            let mut model = example::parse(&text, 20);
            assert_eq!(run(&mut model), 4, "{order}");
            assert_eq!(model.graph.nodes[0].operator(), "Gelu");
            model.check().unwrap();
            assert_eq!(run(&mut example::parse(&text, 19)), 0);
            let other = text.replace("1.4142135", "1.5");
            assert_eq!(run(&mut example::parse(&other, 20)), 0);
        }
    }
}
