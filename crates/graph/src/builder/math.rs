//! Arithmetic, activations, matrix products, reductions.

use super::{Builder, Extent, Value, extent::broadcast};
use crate::{Attribute, DataType, Dim};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $op:literal;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self, x: &Value) -> Value {
            self.node($op, &[x], [])
        })*
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $op:literal;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self, a: &Value, b: &Value) -> Value {
            self.elementwise($op, a, b, a.dtype())
        })*
    };
}

impl Builder {
    unary! {
        /// `max(x, 0)`.
        relu = "Relu";
        /// `1 / (1 + exp(-x))`.
        sigmoid = "Sigmoid";
        /// Hyperbolic tangent.
        tanh = "Tanh";
        /// Gauss' error function.
        erf = "Erf";
        /// `e^x`.
        exp = "Exp";
        /// Natural logarithm.
        log = "Log";
        /// Square root.
        sqrt = "Sqrt";
        /// `-x`.
        neg = "Neg";
        /// `|x|`.
        abs = "Abs";
        /// The largest integer that is not larger.
        floor = "Floor";
        /// The nearest integer, halves to even.
        round = "Round";
        /// Sine.
        sin = "Sin";
        /// Cosine.
        cos = "Cos";
        /// `ln(1 + e^x)`.
        softplus = "Softplus";
    }

    binary! {
        /// `a + b`, broadcast.
        add = "Add";
        /// `a - b`, broadcast.
        sub = "Sub";
        /// `a × b`, broadcast.
        mul = "Mul";
        /// `a / b`, broadcast.
        div = "Div";
        /// `a ^ b`, broadcast.
        pow = "Pow";
        /// The larger of each pair, broadcast.
        maximum = "Max";
        /// The smaller of each pair, broadcast.
        minimum = "Min";
    }

    /// `x × sigmoid(x)` (`SiLU`, swish).
    pub fn silu(&mut self, x: &Value) -> Value {
        let gate = self.sigmoid(x);
        self.mul(x, &gate)
    }

    /// The exact (erf) Gaussian error linear unit: one node from opset 20 on, `x/2 × (1 + erf(x/√2))` before.
    pub fn gelu(&mut self, x: &Value) -> Value {
        if self.opset() >= 20 {
            return self.node("Gelu", &[x], []);
        }
        let root = self.scalar(std::f32::consts::SQRT_2);
        let (one, half) = (self.scalar(1.0), self.scalar(0.5));
        let scaled = self.div(x, &root);
        let erf = self.erf(&scaled);
        let shifted = self.add(&erf, &one);
        let product = self.mul(x, &shifted);
        self.mul(&product, &half)
    }

    /// `x` where it is positive, else `e^x − 1`.
    pub fn elu(&mut self, x: &Value) -> Value {
        self.node("Elu", &[x], [])
    }

    /// `max(x, 0) + slope × min(x, 0)`.
    pub fn leaky_relu(&mut self, x: &Value, slope: f32) -> Value {
        self.node("LeakyRelu", &[x], [("alpha", slope.into())])
    }

    /// Softmax along `axis`.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        if x.axis(axis).is_none() {
            return self.mismatch("Softmax", &[x]);
        }
        self.node("Softmax", &[x], [("axis", axis.into())])
    }

    /// `x` (`float32`) kept between two bounds.
    pub fn clip(&mut self, x: &Value, min: f32, max: f32) -> Value {
        if x.dtype != DataType::F32 {
            self.fail("Clip", format!("{} and float32 do not mix", x.dtype));
        }
        let (min, max) = (self.scalar(min), self.scalar(max));
        self.node("Clip", &[x, &min, &max], [])
    }

    /// `x` (`float32`), or `min` where it is below.
    pub fn at_least(&mut self, x: &Value, min: f32) -> Value {
        let min = self.scalar(min);
        self.node("Clip", &[x, &min], [])
    }

    /// `x` (`float32`), or `max` where it is above.
    pub fn at_most(&mut self, x: &Value, max: f32) -> Value {
        let absent = Value { name: String::new(), dtype: x.dtype, shape: Vec::new() };
        let max = self.scalar(max);
        self.node("Clip", &[x, &absent, &max], [])
    }

    /// `x` as another element type.
    pub fn cast(&mut self, x: &Value, to: DataType) -> Value {
        if x.dtype == to {
            return x.clone();
        }
        let to_number = i64::from(to.to_onnx());
        self.node_of("Cast", &[x], [("to", to_number.into())], to, x.shape.clone())
    }

    /// `a > b` as booleans, broadcast.
    pub fn greater(&mut self, a: &Value, b: &Value) -> Value {
        self.elementwise("Greater", a, b, DataType::Bool)
    }

    /// Whether both hold, broadcast.
    pub fn and(&mut self, a: &Value, b: &Value) -> Value {
        if a.dtype != DataType::Bool {
            return self.mismatch("And", &[a, b]);
        }
        self.elementwise("And", a, b, DataType::Bool)
    }

    /// `a` where `condition` holds, else `b`, broadcast.
    pub fn select(&mut self, condition: &Value, a: &Value, b: &Value) -> Value {
        let shape = broadcast(&a.shape, &b.shape).and_then(|shape| broadcast(&shape, &condition.shape));
        let (Some(shape), DataType::Bool) = (shape, condition.dtype) else {
            return self.mismatch("Where", &[condition, a, b]);
        };
        if a.dtype != b.dtype {
            self.fail("Where", format!("{} and {} do not mix", a.dtype, b.dtype));
        }
        self.node_of("Where", &[condition, a, b], [], a.dtype, shape)
    }

    /// The matrix product over the last two dimensions, the others broadcast.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        let (Some((a_rows, a_inner)), Some((b_inner, b_columns))) = (last_two(a), last_two(b)) else {
            return self.mismatch("MatMul", &[a, b]);
        };
        let front = broadcast(&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]);
        let (Some(mut shape), true) = (front, a_inner == b_inner && a.dtype == b.dtype) else {
            return self.mismatch("MatMul", &[a, b]);
        };
        shape.extend([a_rows, b_columns]);
        self.node_of("MatMul", &[a, b], [], a.dtype, shape)
    }

    /// Layer normalization over the last dimension, one node from opset 17 on (in pieces it overflows in fp16).
    pub fn layer_norm(&mut self, x: &Value, scale: &Value, bias: &Value, epsilon: f32) -> Value {
        if scale.rank() != 1 || scale.shape.last() != x.shape.last() || scale.shape != bias.shape {
            return self.mismatch("LayerNormalization", &[x, scale, bias]);
        }
        if self.opset() >= 17 {
            let attributes = [("axis", Attribute::Int(-1)), ("epsilon", epsilon.into())];
            return self.node("LayerNormalization", &[x, scale, bias], attributes);
        }
        let mean = self.reduce_mean(x, &[-1], true);
        let centred = self.sub(x, &mean);
        let square = self.mul(&centred, &centred);
        let variance = self.reduce_mean(&square, &[-1], true);
        let epsilon = self.scalar(epsilon);
        let stable = self.add(&variance, &epsilon);
        let deviation = self.sqrt(&stable);
        let normal = self.div(&centred, &deviation);
        let scaled = self.mul(&normal, scale);
        self.add(&scaled, bias)
    }

    /// The mean along `axes`.
    pub fn reduce_mean(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.reduce("ReduceMean", 18, x, axes, keep)
    }

    /// The maximum along `axes`.
    pub fn reduce_max(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.reduce("ReduceMax", 18, x, axes, keep)
    }

    /// The minimum along `axes`.
    pub fn reduce_min(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.reduce("ReduceMin", 18, x, axes, keep)
    }

    /// The sum along `axes`.
    pub fn reduce_sum(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.reduce("ReduceSum", 13, x, axes, keep)
    }

    /// The root of the sum of squares along `axes`.
    pub fn reduce_l2(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        self.reduce("ReduceL2", 18, x, axes, keep)
    }

    /// The `count` largest values along `axis` in falling order, and where they were (`int64`).
    pub fn top_k(&mut self, x: &Value, count: usize, axis: i64) -> (Value, Value) {
        let (Some(position), Ok(k)) = (x.axis(axis), i64::try_from(count)) else {
            let value = self.mismatch("TopK", &[x]);
            return (value.clone(), value);
        };
        if x.shape[position].fixed().is_some_and(|size| size < count) {
            self.fail("TopK", format!("{count} of {:?} along {axis}", x.shape));
        }
        let mut shape = x.shape.clone();
        shape[position] = Dim::Fixed(count);
        let k = self.ints(&[k]);
        let outputs = vec![(x.dtype, shape.clone()), (DataType::I64, shape)];
        let mut values = self.nodes_of("TopK", &[x, &k], [("axis", axis.into())], outputs).into_iter();
        match (values.next(), values.next()) {
            (Some(largest), Some(positions)) => (largest, positions),
            _ => (x.clone(), x.clone()),
        }
    }

    /// A reduction; from opset `axes_are_input` on the axes are an input instead of an attribute.
    fn reduce(&mut self, op: &str, axes_are_input: i64, x: &Value, axes: &[i64], keep: bool) -> Value {
        let Some(positions) = axes.iter().map(|axis| x.axis(*axis)).collect::<Option<Vec<_>>>() else {
            return self.mismatch(op, &[x]);
        };
        let shape = x.shape.iter().enumerate().filter_map(|(axis, dim)| {
            let reduced = positions.contains(&axis);
            if reduced { keep.then_some(Dim::Fixed(1)) } else { Some(dim.clone()) }
        });
        let shape = shape.collect();
        let keep = ("keepdims", Attribute::Int(i64::from(keep)));
        if self.opset() >= axes_are_input {
            let axes = self.ints(axes);
            self.node_of(op, &[x, &axes], [keep], x.dtype, shape)
        } else {
            self.node_of(op, &[x], [keep, ("axes", axes.into())], x.dtype, shape)
        }
    }

    pub(super) fn elementwise(&mut self, op: &str, a: &Value, b: &Value, dtype: DataType) -> Value {
        let Some(shape) = broadcast(&a.shape, &b.shape) else {
            return self.mismatch(op, &[a, b]);
        };
        if a.dtype != b.dtype {
            self.fail(op, format!("{} and {} do not mix", a.dtype, b.dtype));
        }
        self.node_of(op, &[a, b], [], dtype, shape)
    }

    /// Remembers that these shapes do not fit `op`; the value returned only keeps the exporter going.
    pub(super) fn mismatch(&mut self, op: &str, inputs: &[&Value]) -> Value {
        let shapes: Vec<String> = inputs
            .iter()
            .map(|value| {
                let sizes: Vec<String> = value.shape.iter().map(ToString::to_string).collect();
                format!("`{}` [{}]", value.name, sizes.join(", "))
            })
            .collect();
        self.fail(op, format!("shapes do not fit: {}", shapes.join(", ")));
        inputs
            .first()
            .map_or(Value { name: String::new(), dtype: DataType::F32, shape: Vec::new() }, |first| {
                (*first).clone()
            })
    }
}

/// The last two dimensions of a matrix or a stack of matrices.
fn last_two(value: &Value) -> Option<(Dim, Dim)> {
    match value.shape.as_slice() {
        [.., rows, columns] => Some((Dim::from(&Extent::from(rows)), Dim::from(&Extent::from(columns)))),
        _ => None,
    }
}
