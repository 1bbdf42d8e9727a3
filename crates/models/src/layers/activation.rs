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
    ClippedGelu,
    Sigmoid,
    Tanh,
    Mish,
    HardSwish,
    SquaredRelu,
    Laplace,
    RootSoftplus,
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
    ("gelu_10", Activation::ClippedGelu),
    ("hardswish", Activation::HardSwish),
    ("relu2", Activation::SquaredRelu),
    ("laplace", Activation::Laplace),
    ("sqrtsoftplus", Activation::RootSoftplus),
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
            Self::ClippedGelu => {
                let y = b.gelu(x);
                b.clip(&y, -10.0, 10.0)
            }
            Self::HardSwish => {
                let (three, six) = (b.scalar(3.0), b.scalar(6.0));
                let shifted = b.add(x, &three);
                let gate = b.clip(&shifted, 0.0, 6.0);
                let product = b.mul(x, &gate);
                b.div(&product, &six)
            }
            Self::SquaredRelu => {
                let y = b.relu(x);
                b.mul(&y, &y)
            }
            Self::Laplace => laplace(b, x),
            Self::RootSoftplus => {
                let soft = b.softplus(x);
                b.sqrt(&soft)
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

/// The integral of a Laplace distribution's neighbour, a normal one: `(1 + erf((x − μ) / (σ √2))) / 2`, with the constants
/// of <https://arxiv.org/abs/2209.10655>.
fn laplace(b: &mut Builder, x: &Value) -> Value {
    let (middle, width) = (b.scalar(707_107e-6), b.scalar(0.282_095 * std::f32::consts::SQRT_2));
    let (one, half) = (b.scalar(1.0), b.scalar(0.5));
    let shifted = b.sub(x, &middle);
    let scaled = b.div(&shifted, &width);
    let erf = b.erf(&scaled);
    let shifted = b.add(&erf, &one);
    b.mul(&shifted, &half)
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

#[cfg(test)]
mod tests {
    use graph::DataType;
    use rten_tensor::prelude::*;
    use rten_tensor::{NdTensor, Tensor};

    use super::*;

    #[test]
    fn functions_have_the_numbers_of_the_original() {
        // transformers.activations.ACT2FN
        let x = [-4.0, -0.5, 0.25, 12.0];
        let tanh_gelu = [-7.021_427e-5, -0.154_286, 0.149_675_4, 12.0];
        let cases: [(&str, [f32; 4]); 19] = [
            ("relu", [0.0, 0.0, 0.25, 12.0]),
            ("relu6", [0.0, 0.0, 0.25, 6.0]),
            ("leaky_relu", [-0.04, -0.005, 0.25, 12.0]),
            ("silu", [-0.071_944_84, -0.188_770_3, 0.140_544_1, 11.999_93]),
            ("gelu", [-0.000_126_481_1, -0.154_268_8, 0.149_676_6, 12.0]),
            ("gelu_new", tanh_gelu),
            ("gelu_fast", tanh_gelu),
            ("gelu_accurate", tanh_gelu),
            ("gelu_pytorch_tanh", tanh_gelu),
            ("quick_gelu", [-0.004_414_724, -0.149_611_6, 0.151_199_7, 12.0]),
            ("gelu_10", [-0.000_126_481_1, -0.154_268_8, 0.149_676_6, 10.0]),
            ("sigmoid", [0.017_986_21, 0.377_540_7, 0.562_176_5, 0.999_993_8]),
            ("tanh", [-0.999_329_3, -0.462_117_2, 0.244_918_7, 1.0]),
            ("mish", [-0.072_591_75, -0.220_743_8, 0.169_572_4, 12.0]),
            ("linear", x),
            ("hardswish", [0.0, -0.208_333_3, 0.135_416_7, 12.0]),
            ("relu2", [0.0, 0.0, 0.0625, 144.0]),
            ("laplace", [0.0, 9.387_732e-6, 0.052_573_11, 1.0]),
            ("sqrtsoftplus", [0.134_721_7, 0.688_532_5, 0.908_812_1, 3.464_103]),
        ];
        for (name, expected) in cases {
            let mut b = Builder::new("activation", 17);
            let input = b.input("x", DataType::F32, vec![4.into()]);
            let y = Activation::by_name(name).unwrap().apply(&mut b, &input);
            b.output("y", &y);
            let mut bytes = Vec::new();
            graph::onnx::write(&b.finish("test", "1").unwrap(), &mut bytes).unwrap();
            let model = rten::Model::load(bytes).unwrap();
            let [input, output] = ["x", "y"].map(|name| model.node_id(name).unwrap());
            let fed = NdTensor::from_data([4], x.to_vec());
            let [found] = model.run_n(vec![(input, fed.into())], [output], None).unwrap();
            let found: Tensor<f32> = found.try_into().unwrap();
            for (found, expected) in found.to_vec().into_iter().zip(expected) {
                let allowed = 3e-6 * expected.abs().max(0.1);
                assert!((found - expected).abs() < allowed, "{name}: {found}, expected {expected}");
            }
        }
        assert!(Activation::by_name("prelu").is_err());
    }
}
