//! Shapes of the values between nodes, for graphs that do not state them.
//!
//! One walk from front to back: what the file states comes first, then `rten-shape-inference`, a kept library. The batch
//! is fixed to a number beforehand, so nearly every size comes out as one; a shape that depends on anything else that is
//! only known at run time stays unknown. Best effort: an operator that is not understood makes what follows unknown.

mod operators;

use std::collections::{BTreeSet, HashMap};

use rten_shape_inference::{SymExpr, SymTensor, SymbolGen};

use crate::{DataType, Dim, Graph, Model, Node, Tensor, ValueInfo};

/// Vectors of integers are followed up to this length: longer ones are no shapes.
const LONGEST_VECTOR: usize = 1024;
/// No tensor of a detector has more dimensions.
const LARGEST_RANK: usize = 64;
/// How deep an expression of unknown sizes may grow before it becomes a new unknown.
const DEEPEST_EXPRESSION: u32 = 4;

/// The shapes of the values of a model's main graph, by name.
#[derive(Debug, Default)]
pub struct Shapes {
    known: HashMap<String, Vec<usize>>,
}

impl Shapes {
    /// Infers what can be, with `batch` for the symbol (or the unknown size) that inputs have in front.
    pub fn infer(model: &Model, batch: usize) -> Self {
        let mut walk = Walk {
            values: HashMap::new(),
            scales: HashMap::new(),
            batch: Some(i32::try_from(batch).unwrap_or(i32::MAX)),
            batch_symbols: batch_symbols(&model.graph),
            symbols: SymbolGen::new(),
            statements: true,
        };
        walk.graph(&model.graph, model.opset());
        let numbers = |value: &SymTensor| {
            let size = |size| match size {
                SymExpr::Value(size) => usize::try_from(size).ok(),
                _ => None,
            };
            value.shape()?.map(size).collect::<Option<Vec<usize>>>()
        };
        let known = walk.values.iter().filter_map(|(name, value)| Some((name.clone(), numbers(value)?)));
        Self { known: known.collect() }
    }

    /// The shape of the value called `name`, when every size is known.
    pub fn of(&self, name: &str) -> Option<&[usize]> {
        self.known.get(name).map(Vec::as_slice)
    }
}

/// What is known of shapes and of small integer values while every symbol of the inputs stays a symbol. What the file
/// states of values between nodes counts only when all inputs are of fixed size: a traced batch of 1 is no fact.
pub(crate) fn symbolic(model: &Model) -> HashMap<String, SymTensor> {
    let mut walk = Walk {
        values: HashMap::new(),
        scales: HashMap::new(),
        batch: None,
        batch_symbols: BTreeSet::new(),
        symbols: SymbolGen::new(),
        statements: model.graph.inputs.iter().all(|input| input.fixed_shape().is_some()),
    };
    walk.graph(&model.graph, model.opset());
    walk.values
}

/// The symbols that stand for the batch: those in front of the inputs.
fn batch_symbols(graph: &Graph) -> BTreeSet<String> {
    let fronts = graph.inputs.iter().filter_map(|input| input.shape.as_ref()?.first());
    fronts
        .filter_map(|dim| match dim {
            Dim::Symbol(name) => Some(name.clone()),
            _ => None,
        })
        .collect()
}

struct Walk {
    values: HashMap<String, SymTensor>,
    scales: HashMap<String, Vec<f32>>,
    /// The number that stands for the batch; `None` leaves it a symbol.
    batch: Option<i32>,
    batch_symbols: BTreeSet<String>,
    symbols: SymbolGen,
    /// Whether the file's own statements on values between nodes count.
    statements: bool,
}

impl Walk {
    fn graph(&mut self, graph: &Graph, opset: i64) {
        for (name, tensor) in &graph.initializers {
            self.values.insert(name.clone(), constant(tensor));
            self.note_scales(name, tensor);
        }
        for input in &graph.inputs {
            let shape = self.stated(input, true);
            self.values.insert(input.name.clone(), shape);
        }
        let outputs: HashMap<&str, &ValueInfo> =
            graph.outputs.iter().map(|info| (info.name.as_str(), info)).collect();
        for node in &graph.nodes {
            let inferred = self.node(node, opset);
            for (at, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let info = graph.values.get(name).or_else(|| outputs.get(name.as_str()).copied());
                let info = info.filter(|_| self.statements);
                let stated = info.map(|info| self.stated(info, false));
                self.values.insert(name.clone(), better(inferred.get(at).cloned(), stated));
            }
        }
    }

    /// What the library makes of a node, bounded in size.
    fn node(&mut self, node: &Node, opset: i64) -> Vec<SymTensor> {
        let value = |name: &String| match self.values.get(name) {
            _ if name.is_empty() => None,
            None => Some(unknown()),
            value => value.cloned(),
        };
        let inputs = node.inputs.iter().map(value).collect();
        if let (Some(tensor), Some(name)) = (node.tensor("value"), node.outputs.first()) {
            self.note_scales(name, tensor);
        }
        let scales =
            operators::scales_input(node, opset).and_then(|at| self.scales.get(node.inputs.get(at)?));
        let scales = scales.map(Vec::as_slice);
        let mut outputs =
            operators::infer(node, opset, inputs, scales, &mut self.symbols).unwrap_or_default();
        for output in &mut outputs {
            *output = std::mem::replace(output, SymTensor::unknown("")).simplify();
            output.replace_complex_expressions(DEEPEST_EXPRESSION, &mut self.symbols);
            if output.values().is_some_and(|values| values.len() > LONGEST_VECTOR) {
                *output = output.shape().map_or_else(unknown, |shape| SymTensor::from_shape(shape.collect()));
            }
            if output.ndim().is_some_and(|rank| rank > LARGEST_RANK) {
                *output = unknown();
            }
        }
        outputs
    }

    /// Keeps a short list of floats: it may be the scales of a `Resize`.
    fn note_scales(&mut self, name: &str, tensor: &Tensor) {
        if tensor.dtype() == DataType::F32
            && tensor.len() <= LARGEST_RANK
            && !tensor.is_deferred()
            && let Ok(values) = tensor.to_f32()
        {
            self.scales.insert(name.to_owned(), values);
        }
    }

    /// The shape that the file states, with the batch filled in.
    fn stated(&mut self, info: &ValueInfo, is_input: bool) -> SymTensor {
        let Some(dims) = info.shape.as_ref().filter(|dims| dims.len() <= LARGEST_RANK) else {
            return unknown();
        };
        let sizes = dims.iter().enumerate().map(|(at, dim)| match dim {
            Dim::Fixed(size) => {
                i32::try_from(*size).map_or_else(|_| self.symbols.gen_positive(), SymExpr::Value)
            }
            Dim::Symbol(text) => self.symbol(text),
            Dim::Unknown if is_input && at == 0 => {
                self.batch.map_or_else(|| self.symbols.gen_positive(), SymExpr::Value)
            }
            Dim::Unknown => self.symbols.gen_positive(),
        });
        SymTensor::from_shape(sizes.collect())
    }

    /// A size that is `batch`, `8*batch` or something else.
    fn symbol(&self, text: &str) -> SymExpr {
        let Some(batch) = self.batch else { return SymExpr::pos_var(text) };
        if self.batch_symbols.contains(text) {
            return SymExpr::Value(batch);
        }
        let multiple = text.split_once('*').and_then(|(factor, symbol)| {
            let factor: i32 = factor.trim().parse().ok()?;
            self.batch_symbols.contains(symbol.trim()).then(|| factor.checked_mul(batch))?
        });
        multiple.map_or_else(|| SymExpr::pos_var(text), SymExpr::Value)
    }
}

fn unknown() -> SymTensor {
    SymTensor::unknown("not inferred")
}

/// Whether every size is a number.
fn is_fixed(value: &SymTensor) -> bool {
    value.shape().is_some_and(|mut sizes| sizes.all(|size| matches!(size, SymExpr::Value(_))))
}

/// The more useful of what was inferred and what the file states.
fn better(inferred: Option<SymTensor>, stated: Option<SymTensor>) -> SymTensor {
    match (inferred, stated) {
        (Some(inferred), _) if inferred.values().is_some() => inferred,
        (_, Some(stated)) if is_fixed(&stated) => stated,
        (Some(inferred), _) if inferred.ndim().is_some() => inferred,
        (_, Some(stated)) => stated,
        (Some(inferred), None) => inferred,
        (None, None) => unknown(),
    }
}

/// A constant: its values when it may be part of a shape, otherwise its shape.
fn constant(tensor: &Tensor) -> SymTensor {
    let may_be_a_shape = matches!(tensor.dtype(), DataType::I64 | DataType::I32 | DataType::Bool)
        && tensor.shape().len() <= 1
        && tensor.len() <= LONGEST_VECTOR
        && !tensor.is_deferred();
    let values = may_be_a_shape.then(|| tensor.to_i64().ok()).flatten().map(|values| {
        // Slices end at the largest number that there is: clamping keeps that meaning.
        let narrow =
            |value: i64| SymExpr::Value(value.clamp(-i64::from(i32::MAX), i64::from(i32::MAX)) as i32);
        values.into_iter().map(narrow).collect::<Vec<_>>()
    });
    match values {
        Some(mut values) if tensor.shape().is_empty() && values.len() == 1 => {
            SymTensor::from_scalar(values.remove(0))
        }
        Some(values) if tensor.shape().len() == 1 => SymTensor::from_vec(values),
        _ => shape_of(tensor.shape()),
    }
}

fn shape_of(shape: &[usize]) -> SymTensor {
    if shape.len() > LARGEST_RANK || shape.iter().any(|size| i32::try_from(*size).is_err()) {
        return unknown();
    }
    SymTensor::from_fixed_shape(shape)
}
