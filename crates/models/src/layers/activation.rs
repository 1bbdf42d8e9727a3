//! Activation functions by the names that configurations call them.
//!
//! `gelu` is the exact one (with erf); `gelu_new` and its relatives are the tanh approximation, which differs in the
//! third decimal.

use std::fmt;

use graph::{Builder, Value};

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    Relu,
    Relu6,
    LeakyRelu,
    Silu,
    Gelu,
    GeluTanh,
    QuickGelu,
    Sigmoid,
    Tanh,
    Mish,
}

const NAMES: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("mish", Activation::Mish),
    ("linear", Activation::Identity),
];

impl Activation {
    /// The function of this name; the error lists the names.
    pub(crate) fn by_name(name: &str) -> Result<Self, String> {
        NAMES.iter().find(|row| row.0 == name).map(|row| row.1).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|row| row.0).collect();
            format!("one of {}", names.join(", "))
        })
    }

    pub(crate) fn apply(self, b: &mut Builder, x: &Value) -> Value {
        match self {
            Self::Identity => x.clone(),
            Self::Relu => b.relu(x),
            Self::Relu6 => b.clip(x, 0.0, 6.0),
            Self::LeakyRelu => b.leaky_relu(x, 0.01),
            Self::Silu => b.silu(x),
            Self::Gelu => b.gelu(x),
            Self::GeluTanh => gelu_tanh(b, x),
            Self::QuickGelu => {
                let factor = b.scalar(1.702);
                let steep = b.mul(x, &factor);
                let gate = b.sigmoid(&steep);
                b.mul(x, &gate)
            }
            Self::Sigmoid => b.sigmoid(x),
            Self::Tanh => b.tanh(x),
            Self::Mish => {
                let soft = b.softplus(x);
                let gate = b.tanh(&soft);
                b.mul(x, &gate)
            }
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|row| row.1 == *self).map_or("identity", |row| row.0))
    }
}

/// `x/2 × (1 + tanh(√(2/π) × (x + 0.044715 x³)))`.
fn gelu_tanh(b: &mut Builder, x: &Value) -> Value {
    let (cubic, root) = (b.scalar(0.044_715), b.scalar((2.0 / std::f32::consts::PI).sqrt()));
    let (one, half) = (b.scalar(1.0), b.scalar(0.5));
    let square = b.mul(x, x);
    let cube = b.mul(&square, x);
    let cube = b.mul(&cube, &cubic);
    let sum = b.add(x, &cube);
    let inner = b.mul(&sum, &root);
    let tanh = b.tanh(&inner);
    let shifted = b.add(&tanh, &one);
    let product = b.mul(x, &shifted);
    b.mul(&product, &half)
}
