//! Which rule of the library belongs to which operator, and the older forms of operators brought into the newest one.
//!
//! Axes, sizes and pads were attributes before they were inputs: the library knows inputs only, so attributes are
//! appended as constants. Attributes are foreign numbers: those that the library would divide by are checked here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rten_shape_inference::{
    BinaryOp, InferShapes, InferShapesContext, ReductionOp, SymExpr, SymTensor, SymbolGen, UnaryOp,
    VariadicOp, ops,
};

use super::{LARGEST_RANK, LONGEST_VECTOR, constant, unknown};
use crate::{Attribute, DataType, Node};

type Inputs = Vec<Option<SymTensor>>;

/// Operators whose first output has the shape of their first input.
const SAME_SHAPE: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BatchNormalization",
    "Bernoulli",
    "BitwiseNot",
    "Celu",
    "Ceil",
    "Clip",
    "Cos",
    "Cosh",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "EyeLike",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Mish",
    "Not",
    "PRelu",
    "QuantizeLinear",
    "RMSNormalization",
    "RandomNormalLike",
    "RandomUniformLike",
    "Reciprocal",
    "Relu",
    "ReverseSequence",
    "RotaryEmbedding",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Trilu",
];

/// Operators on two inputs that broadcast; those that may make shapes have rules of their own.
const BROADCAST: &[&str] = &[
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Or",
    "Pow",
    "Xor",
];

/// The shapes (and small integer values) of a node's outputs; `None` when they cannot be told. `scales` are the values
/// of the input that [`scales_input`] names.
pub(super) fn infer(
    node: &Node,
    opset: i64,
    inputs: Inputs,
    scales: Option<&[f32]>,
    symbols: &mut SymbolGen,
) -> Option<Vec<SymTensor>> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    // The numbers are foreign and the library's arithmetic is its own.
    catch_unwind(AssertUnwindSafe(|| dispatch(node, opset, inputs, scales, symbols))).ok()?
}

fn dispatch(
    node: &Node,
    opset: i64,
    mut inputs: Inputs,
    scales: Option<&[f32]>,
    symbols: &mut SymbolGen,
) -> Option<Vec<SymTensor>> {
    let op = node.op_type.as_str();
    if SAME_SHAPE.contains(&op) {
        return run(&UnaryOp, inputs, symbols);
    }
    if BROADCAST.contains(&op) {
        return run(&BinaryOp, inputs, symbols);
    }
    let axis = |default: i64| i32::try_from(node.int("axis").unwrap_or(default)).ok();
    match op {
        "Add" => run(&ops::Add, inputs, symbols),
        "Sub" => run(&ops::Sub, inputs, symbols),
        "Mul" => run(&ops::Mul, inputs, symbols),
        "Div" => run(&ops::Div, inputs, symbols),
        "Mod" => modulo(node, inputs, symbols),
        "Equal" => run(&ops::Equal, inputs, symbols),
        "Neg" => run(&ops::Neg, inputs, symbols),
        "Where" => run(&ops::Where, inputs, symbols),
        "Max" | "Min" | "Mean" | "Sum" => run(&VariadicOp, inputs, symbols),
        "Identity" => run(&ops::Identity, inputs, symbols),
        "Cast" => cast(node, inputs, symbols),
        "Constant" => Some(vec![constant_node(node)?]),
        "ConstantOfShape" => constant_of_shape(node, inputs, symbols),
        "Range" => run(&ops::Range, inputs, symbols),
        "OneHot" => run(&ops::OneHot { axis: axis(-1)? }, inputs, symbols),
        "Shape" => {
            let bound = |name: &str| node.int(name).and_then(|value| i32::try_from(value).ok());
            run(&ops::Shape { start: bound("start"), end: bound("end") }, inputs, symbols)
        }
        "Size" => run(&ops::Size, inputs, symbols),
        "Concat" => run(&ops::Concat { axis: axis(1)? }, inputs, symbols),
        "Tile" => run(&ops::Tile, inputs, symbols),
        "Expand" => run(&ops::Expand, bounded_shape(inputs)?, symbols),
        "Flatten" => run(&ops::Flatten { axis: axis(1)? }, inputs, symbols),
        "Reshape" => {
            attribute_as_input(node, "shape", 1, &mut inputs);
            let allow_zero = node.int("allowzero") == Some(1);
            run(&ops::Reshape { allow_zero }, bounded_shape(inputs)?, symbols)
        }
        "Squeeze" | "Unsqueeze" => {
            attribute_as_input(node, "axes", 1, &mut inputs);
            if repeats(inputs.get(1)) {
                return None;
            }
            let rule: &dyn InferShapes = if op == "Squeeze" { &ops::Squeeze } else { &ops::Unsqueeze };
            run(rule, inputs, symbols)
        }
        "Transpose" => {
            let perm = node.ints("perm").map(sizes).map_or(Some(None), |perm| perm.map(Some))?;
            run(&ops::Transpose { perm: perm.as_deref() }, inputs, symbols)
        }
        "DepthToSpace" => {
            let block_size =
                u32::try_from(node.int("blocksize")?).ok().filter(|size| (1..4096).contains(size))?;
            run(&ops::DepthToSpace { block_size }, inputs, symbols)
        }
        "Slice" => {
            for (at, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
                attribute_as_input(node, name, at + 1, &mut inputs);
            }
            let stands = inputs.get(4).is_some_and(|steps| holds(steps.as_ref(), 0));
            if stands { None } else { run(&ops::Slice, inputs, symbols) }
        }
        "Split" => split(node, axis(0)?, inputs, symbols),
        "Gather" => run(&ops::Gather { axis: axis(0)? }, inputs, symbols),
        "GatherElements" => run(&ops::GatherElements, inputs, symbols),
        "GatherND" => {
            let batch_dims = usize::try_from(node.int("batch_dims").unwrap_or(0)).ok()?;
            run(&ops::GatherND { batch_dims }, inputs, symbols)
        }
        "Pad" => {
            attribute_as_input(node, "pads", 1, &mut inputs);
            run(&ops::Pad, inputs, symbols)
        }
        "TopK" => {
            if let (Some(k), 1) = (node.int("k"), inputs.len()) {
                inputs.push(Some(vector(&[k])));
            }
            run(&ops::TopK { axis: Some(axis(-1)?) }, inputs, symbols)
        }
        "NonZero" => run(&ops::NonZero, inputs, symbols),
        "NonMaxSuppression" => run(&ops::NonMaxSuppression, inputs, symbols),
        "Resize" | "Upsample" => resize(node, opset, &inputs, scales),
        "GridSample" => run(&ops::GridSample, inputs, symbols),
        "RoiAlign" => roi_align(node, &inputs),
        "MatMul" | "MatMulInteger" => run(&ops::MatMul, inputs, symbols),
        "QLinearMatMul" => run(&ops::MatMul, picked(&inputs, &[0, 3]), symbols),
        "Gemm" => {
            let [transpose_a, transpose_b] = ["transA", "transB"].map(|name| node.int(name) == Some(1));
            run(&ops::Gemm { transpose_a, transpose_b }, inputs, symbols)
        }
        "Einsum" => run(&ops::Einsum { equation: node.text("equation")? }, inputs, symbols),
        "DynamicQuantizeLinear" => run(&ops::DynamicQuantizeLinear, inputs, symbols),
        "Conv" | "ConvInteger" | "ConvTranspose" => convolve(node, inputs, symbols),
        "QLinearConv" => convolve(node, picked(&inputs, &[0, 3]), symbols),
        "MaxPool" | "AveragePool" | "LpPool" => pool(node, inputs, symbols),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => run(&ops::GlobalPool, inputs, symbols),
        "ArgMax" | "ArgMin" => reduce(node, &[axis(0)?], inputs, symbols),
        _ if op.starts_with("Reduce") => {
            let axes = node.ints("axes").unwrap_or_default();
            reduce(node, &axes.iter().map(|axis| narrow(*axis)).collect::<Vec<_>>(), inputs, symbols)
        }
        _ => None,
    }
}

fn run(rule: &dyn InferShapes, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    rule.infer_shapes(InferShapesContext::from(inputs), symbols).ok()
}

fn narrow(value: i64) -> i32 {
    value.clamp(-i64::from(i32::MAX), i64::from(i32::MAX)) as i32
}

fn vector(values: &[i64]) -> SymTensor {
    SymTensor::from_vec(values.iter().map(|value| SymExpr::Value(narrow(*value))).collect())
}

/// Whether a vector of integers is known to hold `value`.
fn holds(vector: Option<&SymTensor>, value: i32) -> bool {
    let values = vector.and_then(SymTensor::values).unwrap_or_default();
    values.contains(&SymExpr::Value(value))
}

/// Whether a vector of axes names one twice.
fn repeats(axes: Option<&Option<SymTensor>>) -> bool {
    let axes = axes.and_then(Option::as_ref).and_then(SymTensor::values).unwrap_or_default();
    (1..axes.len()).any(|at| axes[..at].contains(&axes[at]))
}

/// Sizes from an attribute: none negative, none too large for the library.
fn sizes(values: &[i64]) -> Option<Vec<usize>> {
    values.iter().map(|value| usize::try_from(i32::try_from(*value).ok()?).ok()).collect()
}

/// Appends the attribute `name` as input `at`, when the node has no such input.
fn attribute_as_input(node: &Node, name: &str, at: usize, inputs: &mut Inputs) {
    if let Some(values) = node.ints(name)
        && inputs.len() <= at
        && values.len() <= LONGEST_VECTOR
    {
        inputs.resize(at, None);
        inputs.push(Some(vector(values)));
    }
}

fn picked(inputs: &Inputs, at: &[usize]) -> Inputs {
    at.iter().map(|at| inputs.get(*at).cloned().flatten()).collect()
}

/// The inputs, unless the second one asks for more dimensions than any tensor has.
fn bounded_shape(inputs: Inputs) -> Option<Inputs> {
    let rank = match inputs.get(1)?.as_ref()?.size(0) {
        Some(SymExpr::Value(rank)) => usize::try_from(rank).ok()?,
        _ => 0,
    };
    (rank <= LARGEST_RANK).then_some(inputs)
}

/// The remainder of two known integers is known: exporters wrap a negative axis with it.
fn modulo(node: &Node, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    let number = |at: usize| match inputs.get(at)?.as_ref()?.values()? {
        [SymExpr::Value(value)] => Some(*value),
        _ => None,
    };
    let known = number(0).zip(number(1)).filter(|(_, by)| *by > 0);
    let Some((value, by)) = known else { return run(&BinaryOp, inputs, symbols) };
    let rest = if node.int("fmod") == Some(1) { value % by } else { value.rem_euclid(by) };
    let is_scalar = inputs.iter().flatten().all(|input| input.ndim() == Some(0));
    let rest = SymExpr::Value(rest);
    Some(vec![if is_scalar { SymTensor::from_scalar(rest) } else { SymTensor::from_vec(vec![rest]) }])
}

/// Integers survive a cast among integers; a cast to floats keeps the shape only.
fn cast(node: &Node, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    let to = DataType::from_onnx(i32::try_from(node.int("to")?).ok()?)?;
    match to {
        DataType::I64 | DataType::I32 => run(&ops::Identity, inputs, symbols),
        _ => run(&UnaryOp, inputs, symbols),
    }
}

fn constant_node(node: &Node) -> Option<SymTensor> {
    let (name, value) = node.attributes.iter().find(|(name, _)| name.starts_with("value"))?;
    Some(match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => constant(tensor),
        ("value_int", Attribute::Int(value)) => SymTensor::from_scalar(SymExpr::Value(narrow(*value))),
        ("value_ints", Attribute::Ints(values)) if values.len() <= LONGEST_VECTOR => vector(values),
        ("value_float", _) => SymTensor::from_fixed_shape(&[]),
        ("value_floats", Attribute::Floats(values)) => super::shape_of(&[values.len()]),
        _ => return None,
    })
}

fn constant_of_shape(node: &Node, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    let inputs = inputs.into_iter().next()??;
    let short = match inputs.values() {
        Some([SymExpr::Value(len)]) => usize::try_from(*len).is_ok_and(|len| len <= LONGEST_VECTOR),
        Some(values) => values.len() <= LARGEST_RANK,
        None => matches!(inputs.size(0), Some(SymExpr::Value(rank)) if rank <= LARGEST_RANK as i32),
    };
    let fill = node.tensor("value").filter(|tensor| tensor.len() == 1 && !tensor.dtype().is_float());
    let value = fill.and_then(|tensor| tensor.to_i64().ok()).and_then(|values| values.first().copied());
    let value = value.map(narrow).filter(|_| short);
    let fits = short || inputs.values().is_some_and(|values| values.len() <= LARGEST_RANK);
    if !fits {
        return None;
    }
    run(&ops::ConstantOfShape { value }, vec![Some(inputs)], symbols)
}

fn split(node: &Node, axis: i32, mut inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    attribute_as_input(node, "split", 1, &mut inputs);
    if inputs.get(1).is_none_or(Option::is_none) {
        // Equal parts, the last one smaller when it does not come out even.
        let rank = inputs.first()?.as_ref()?.ndim()?;
        let position = place(i64::from(axis), rank)?;
        let SymExpr::Value(size) = inputs.first()?.as_ref()?.size(position)? else {
            return None;
        };
        let count = i64::try_from(node.outputs.len()).ok().filter(|count| (1..=4096).contains(count))?;
        let part = (i64::from(size) + count - 1) / count;
        let parts: Vec<i64> = (0..count).map(|at| part.min(i64::from(size) - at * part).max(0)).collect();
        inputs.truncate(1);
        inputs.push(Some(vector(&parts)));
    }
    run(&ops::Split { axis, num_outputs: None }, inputs, symbols)
}

/// Which input holds the scales of a `Resize` or `Upsample`.
pub(super) fn scales_input(node: &Node, opset: i64) -> Option<usize> {
    match node.op_type.as_str() {
        "Resize" if opset >= 11 => Some(2),
        "Resize" | "Upsample" => Some(1),
        _ => None,
    }
}

/// The library multiplies by whole numbers only: sizes are computed here.
fn resize(node: &Node, opset: i64, inputs: &Inputs, scales: Option<&[f32]>) -> Option<Vec<SymTensor>> {
    let data = inputs.first()?.as_ref()?;
    let mut shape: Vec<SymExpr> = data.shape()?.collect();
    let stretches = node.text("keep_aspect_ratio_policy").is_none_or(|policy| policy == "stretch");
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|axis| place(*axis, shape.len())).collect::<Option<Vec<_>>>()?,
        None => (0..shape.len()).collect(),
    };
    let sizes = inputs.get(3).and_then(|sizes| sizes.as_ref()?.as_vector());
    let stated = sizes.filter(|sizes| !sizes.is_empty() && stretches && opset >= 11);
    if let Some(sizes) = stated.filter(|sizes| sizes.len() == axes.len()) {
        for (axis, size) in axes.into_iter().zip(sizes) {
            shape[axis] = size.clone();
        }
        return Some(vec![SymTensor::from_shape(shape)]);
    }
    let scales = scales.or_else(|| match node.attributes.get("scales") {
        Some(Attribute::Floats(scales)) => Some(scales),
        _ => None,
    });
    for (axis, scale) in axes.iter().zip(scales.filter(|scales| scales.len() == axes.len())?) {
        let SymExpr::Value(size) = shape[*axis] else {
            return None;
        };
        shape[*axis] = SymExpr::Value((size as f32 * scale).floor() as i32);
    }
    Some(vec![SymTensor::from_shape(shape)])
}

/// The dimension that `axis` means, counted from the back when negative.
fn place(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let place = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(place).ok().filter(|_| place < rank)
}

fn roi_align(node: &Node, inputs: &Inputs) -> Option<Vec<SymTensor>> {
    let channels = inputs.first()?.as_ref()?.size(1)?;
    let count = inputs.get(1)?.as_ref()?.size(0)?;
    let side = |name: &str| Some(SymExpr::Value(i32::try_from(node.int(name).unwrap_or(1)).ok()?));
    Some(vec![SymTensor::from_shape(vec![count, channels, side("output_height")?, side("output_width")?])])
}

/// Strides, dilations and padding of a convolution or a pooling window over `rank` directions.
struct Window {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Option<Vec<usize>>,
}

impl Window {
    fn of(node: &Node, rank: usize) -> Option<Self> {
        let list = |name: &str, default: Vec<usize>| node.ints(name).map_or(Some(default), sizes);
        let window = Self {
            strides: list("strides", vec![1; rank])?,
            dilations: list("dilations", vec![1; rank])?,
            pads: match node.text("auto_pad") {
                Some("SAME_UPPER" | "SAME_LOWER") => None,
                Some("VALID") => Some(vec![0; rank * 2]),
                _ => Some(list("pads", vec![0; rank * 2])?),
            },
        };
        let positive = |values: &[usize]| values.len() == rank && values.iter().all(|value| *value > 0);
        let fits = window.pads.as_ref().is_none_or(|pads| pads.len() == rank * 2);
        (positive(&window.strides) && positive(&window.dilations) && fits).then_some(window)
    }

    fn padding(&self) -> ops::Padding<'_> {
        self.pads.as_deref().map_or(ops::Padding::Same, ops::Padding::Fixed)
    }
}

/// The directions an image tensor has beside batch and channels; the library knows one and two.
fn directions(inputs: &Inputs) -> Option<usize> {
    inputs.first()?.as_ref()?.ndim()?.checked_sub(2).filter(|rank| (1..=2).contains(rank))
}

fn convolve(node: &Node, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    let window = Window::of(node, directions(&inputs)?)?;
    if node.op_type != "ConvTranspose" {
        let rule =
            ops::Conv { dilations: &window.dilations, padding: window.padding(), strides: &window.strides };
        return run(&rule, inputs, symbols);
    }
    if node.attributes.contains_key("output_shape") {
        return None;
    }
    let output_padding = match node.ints("output_padding") {
        Some(values) => Some(sizes(values)?),
        None => None,
    };
    let rule = ops::ConvTranspose {
        groups: usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|groups| *groups > 0)?,
        padding: window.padding(),
        strides: &window.strides,
        dilations: &window.dilations,
        output_padding: output_padding.as_deref(),
    };
    run(&rule, inputs, symbols)
}

fn pool(node: &Node, inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    let rank = directions(&inputs)?;
    let window = Window::of(node, rank)?;
    let kernel_size = sizes(node.ints("kernel_shape")?).filter(|kernel| kernel.len() == rank)?;
    let rule = ops::Pool {
        dilations: &window.dilations,
        kernel_size: &kernel_size,
        padding: window.padding(),
        strides: &window.strides,
        ceil_mode: node.int("ceil_mode") == Some(1),
    };
    run(&rule, inputs, symbols)
}

fn reduce(node: &Node, axes: &[i32], mut inputs: Inputs, symbols: &mut SymbolGen) -> Option<Vec<SymTensor>> {
    inputs.truncate(2);
    if inputs.get(1).is_some_and(Option::is_none) {
        inputs.truncate(1);
    }
    let nothing = axes.is_empty() && inputs.len() == 1 && node.int("noop_with_empty_axes") == Some(1);
    if nothing {
        return run(&UnaryOp, inputs, symbols);
    }
    let axes = Some(axes).filter(|axes| !axes.is_empty());
    let rule = ReductionOp { axes, keep_dims: node.int("keepdims").unwrap_or(1) == 1 };
    let mut outputs = run(&rule, inputs, symbols)?;
    if outputs.is_empty() {
        outputs.push(unknown());
    }
    Some(outputs)
}
