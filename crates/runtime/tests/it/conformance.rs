//! Every operation of the graph builder, in every operator set that it writes, on every backend that this machine has,
//! against numbers of PyTorch (`tests/fixtures/conformance.py`).
//!
//! A backend that cannot do a case has to refuse it when it loads the graph, and the case has to be listed in [`GAPS`].

use std::collections::BTreeMap;

use graph::builder::{Conv, Interpolation, Pool};
use graph::{Builder, DataType, Dim, Model, Tensor, Value};
use runtime::{Error, LoadOptions, compare};
use serde::Deserialize;

use crate::usable;
use crate::written::bytes;

/// What a backend is known to refuse: backend, case.
const GAPS: &[(&str, &str)] = &[
    // rten 0.27 reads `cubic` and computes linear interpolation.
    ("embedded", "resize_cubic"),
];

/// Name, inputs whose first dimension is the batch, and the graph.
type Case = (&'static str, &'static [usize], fn(&mut Builder, &[Value]) -> Vec<Value>);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("relu", &[0], |b, x| vec![b.relu(&x[0])]),
    ("sigmoid", &[0], |b, x| vec![b.sigmoid(&x[0])]),
    ("tanh", &[0], |b, x| vec![b.tanh(&x[0])]),
    ("erf", &[0], |b, x| vec![b.erf(&x[0])]),
    ("exp", &[0], |b, x| vec![b.exp(&x[0])]),
    ("log", &[0], |b, x| vec![b.log(&x[0])]),
    ("sqrt", &[0], |b, x| vec![b.sqrt(&x[0])]),
    ("neg", &[0], |b, x| vec![b.neg(&x[0])]),
    ("abs", &[0], |b, x| vec![b.abs(&x[0])]),
    ("floor", &[0], |b, x| vec![b.floor(&x[0])]),
    ("round", &[0], |b, x| vec![b.round(&x[0])]),
    ("sin", &[0], |b, x| vec![b.sin(&x[0])]),
    ("cos", &[0], |b, x| vec![b.cos(&x[0])]),
    ("softplus", &[0], |b, x| vec![b.softplus(&x[0])]),
    ("silu", &[0], |b, x| vec![b.silu(&x[0])]),
    ("gelu", &[0], |b, x| vec![b.gelu(&x[0])]),
    ("leaky_relu", &[0], |b, x| vec![b.leaky_relu(&x[0], 0.1)]),
    ("clip", &[0], |b, x| vec![b.clip(&x[0], -0.5, 1.25)]),
    ("cast_to_int64_and_back", &[0], |b, x| {
        let whole = b.cast(&x[0], DataType::I64);
        let back = b.cast(&whole, DataType::F32);
        let half = b.scalar(0.5);
        vec![b.mul(&back, &half)]
    }),
    ("add", &[0], |b, x| vec![b.add(&x[0], &x[1])]),
    ("sub", &[0], |b, x| vec![b.sub(&x[0], &x[1])]),
    ("mul", &[0], |b, x| vec![b.mul(&x[0], &x[1])]),
    ("div", &[0], |b, x| vec![b.div(&x[0], &x[1])]),
    ("maximum", &[0], |b, x| vec![b.maximum(&x[0], &x[1])]),
    ("minimum", &[0], |b, x| vec![b.minimum(&x[0], &x[1])]),
    ("pow", &[0], |b, x| vec![b.pow(&x[0], &x[1])]),
    ("greater_and_select", &[0, 1], |b, x| {
        let larger = b.greater(&x[0], &x[1]);
        let ten = b.scalar(10.0);
        let other = b.mul(&x[1], &ten);
        vec![b.select(&larger, &x[0], &other)]
    }),
    ("softmax_last", &[0], |b, x| vec![b.softmax(&x[0], -1)]),
    ("softmax_middle", &[0], |b, x| vec![b.softmax(&x[0], 1)]),
    ("matmul", &[0], |b, x| vec![b.matmul(&x[0], &x[1])]),
    ("matmul_stacked", &[0, 1], |b, x| vec![b.matmul(&x[0], &x[1])]),
    ("layer_norm", &[0], |b, x| vec![b.layer_norm(&x[0], &x[1], &x[2], 1e-5)]),
    ("reduce_mean_kept", &[0], |b, x| vec![b.reduce_mean(&x[0], &[1, 2], true)]),
    ("reduce_max", &[0], |b, x| vec![b.reduce_max(&x[0], &[-1], false)]),
    ("reduce_sum", &[0], |b, x| vec![b.reduce_sum(&x[0], &[1], false)]),
    ("top_k", &[0], |b, x| pair(b.top_k(&x[0], 4, -1))),
    ("top_k_rows", &[0], |b, x| pair(b.top_k(&x[0], 2, 1))),
    ("reshape", &[0], |b, x| vec![b.reshape(&x[0], &[0, 2, -1])]),
    ("flatten_from", &[0], |b, x| vec![b.flatten_from(&x[0], 2)]),
    ("transpose", &[0], |b, x| vec![b.transpose(&x[0], &[0, 2, 1])]),
    ("concat", &[0, 1], |b, x| vec![b.concat(&[&x[0], &x[1], &x[0]], 1)]),
    ("split", &[0], |b, x| b.split(&x[0], &[1, 3, 2], -1)),
    ("slice", &[0], |b, x| vec![b.slice(&x[0], 1, 1, 5)]),
    ("slice_by", &[0], |b, x| vec![b.slice_by(&x[0], 1, 1, 6, 2)]),
    ("unsqueeze", &[0], |b, x| vec![b.unsqueeze(&x[0], &[1, 3])]),
    ("squeeze", &[0], |b, x| vec![b.squeeze(&x[0], 1)]),
    ("take", &[0], |b, x| vec![b.take(&x[0], &[4, 0, 0], 1)]),
    ("gather_elements", &[0, 1], |b, x| vec![b.gather_elements(&x[0], &x[1], 1)]),
    ("gather_rows", &[0, 1], |b, x| vec![b.gather_rows(&x[0], &x[1])]),
    ("expand_batch", &[1], |b, x| vec![b.expand_batch(&x[0], &x[1])]),
    ("conv", &[0], |b, x| vec![b.conv(&x[0], &x[1], Some(&x[2]), Conv::new(2, 1))]),
    ("conv_depthwise", &[0], |b, x| {
        vec![b.conv(&x[0], &x[1], None, Conv { groups: 4, ..Conv::new(1, 1) })]
    }),
    ("conv_grouped_dilated", &[0], |b, x| {
        vec![b.conv(&x[0], &x[1], None, Conv { groups: 2, dilation: [2; 2], ..Conv::new(1, 2) })]
    }),
    ("conv_uneven", &[0], |b, x| {
        vec![b.conv(&x[0], &x[1], None, Conv { stride: [2, 1], padding: [0, 1, 2, 0], ..Conv::new(1, 0) })]
    }),
    ("conv_pointwise", &[0], |b, x| vec![b.conv(&x[0], &x[1], None, Conv::new(1, 0))]),
    ("batch_norm", &[0], |b, x| vec![b.batch_norm(&x[0], [&x[1], &x[2], &x[3], &x[4]], 1e-5)]),
    ("max_pool", &[0], |b, x| vec![b.max_pool(&x[0], pool(3, 2, 1, false))]),
    ("max_pool_ceil", &[0], |b, x| vec![b.max_pool(&x[0], pool(3, 2, 0, true))]),
    ("max_pool_ceil_padded", &[0], |b, x| vec![b.max_pool(&x[0], pool(2, 2, 1, true))]),
    ("average_pool", &[0], |b, x| vec![b.average_pool(&x[0], pool(2, 2, 0, false))]),
    ("average_pool_ceil", &[0], |b, x| vec![b.average_pool(&x[0], pool(2, 2, 0, true))]),
    ("average_pool_padded", &[0], |b, x| vec![b.average_pool(&x[0], pool(3, 2, 1, false))]),
    ("resize_nearest", &[0], |b, x| vec![b.resize(&x[0], 6, 8, Interpolation::Nearest)]),
    ("resize_nearest_down", &[0], |b, x| vec![b.resize(&x[0], 2, 4, Interpolation::Nearest)]),
    ("resize_linear", &[0], |b, x| vec![b.resize(&x[0], 6, 6, Interpolation::Linear)]),
    ("resize_linear_down", &[0], |b, x| vec![b.resize(&x[0], 3, 4, Interpolation::Linear)]),
    ("resize_cubic", &[0], |b, x| vec![b.resize(&x[0], 8, 6, Interpolation::Cubic)]),
    ("grid_sample", &[0, 1], |b, x| vec![b.grid_sample(&x[0], &x[1])]),
    ("attention", &[0], |b, x| {
        let heads = |b: &mut Builder, weight: &Value, order: &[usize]| {
            let mixed = b.matmul(&x[0], weight);
            let split = b.reshape(&mixed, &[0, 8, 2, 3]);
            b.transpose(&split, order)
        };
        let q = heads(b, &x[1], &[0, 2, 1, 3]);
        let k = heads(b, &x[2], &[0, 2, 3, 1]);
        let v = heads(b, &x[3], &[0, 2, 1, 3]);
        let scale = b.scalar(1.0 / 3.0_f32.sqrt());
        let scores = b.matmul(&q, &k);
        let scaled = b.mul(&scores, &scale);
        let weights = b.softmax(&scaled, -1);
        let mixed = b.matmul(&weights, &v);
        let joined = b.transpose(&mixed, &[0, 2, 1, 3]);
        vec![b.reshape(&joined, &[0, 8, 6])]
    }),
];

fn pool(kernel: usize, stride: usize, padding: usize, ceil: bool) -> Pool {
    Pool { kernel, stride, padding, ceil }
}

fn pair((a, b): (Value, Value)) -> Vec<Value> {
    vec![a, b]
}

#[derive(Deserialize)]
struct Expected {
    inputs: Vec<Stored>,
    outputs: Vec<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    dtype: DataType,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Stored {
    fn tensor(&self) -> Tensor {
        let shape = self.shape.clone();
        match self.dtype {
            DataType::I64 => Tensor::from_i64(shape, self.values.iter().map(|v| *v as i64).collect()),
            _ => Tensor::from_f32(shape, self.values.iter().map(|v| *v as f32).collect()),
        }
        .unwrap()
    }
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_str(include_str!("../fixtures/conformance.json")).unwrap()
}

/// The graph of a case. With `constants`, inputs without a batch are constants of the graph, as weights are.
fn build(case: &Case, expected: &Expected, opset: i64, constants: bool) -> Model {
    let (name, batched, graph) = case;
    let mut builder = Builder::new(name, opset);
    let values: Vec<Value> = expected
        .inputs
        .iter()
        .enumerate()
        .map(|(at, input)| {
            let mut shape: Vec<Dim> = input.shape.iter().map(|size| Dim::Fixed(*size)).collect();
            if batched.contains(&at) {
                shape[0] = Dim::batch();
            } else if constants {
                return builder.weight(&format!("w{at}"), input.tensor());
            }
            builder.input(&format!("x{at}"), input.dtype, shape)
        })
        .collect();
    for (at, value) in graph(&mut builder, &values).iter().enumerate() {
        builder.output(&format!("y{at}"), value);
    }
    builder.finish("conformance", "1").unwrap()
}

#[test]
fn every_backend_computes_what_pytorch_computes() {
    let expected = expected();
    assert_eq!(expected.len(), CASES.len(), "cases and numbers go together");
    let usable = usable::backends();
    assert!(!usable.is_empty());
    let mut failures = Vec::new();
    for case in CASES {
        let numbers = &expected[case.0];
        let inputs: Vec<(String, Tensor)> =
            numbers.inputs.iter().enumerate().map(|(at, input)| (format!("x{at}"), input.tensor())).collect();
        for backend in &usable {
            for opset in Builder::OPSETS {
                for constants in [false, true] {
                    let what = format!("{} {} opset {opset} constants {constants}", backend.name(), case.0);
                    let model = build(case, numbers, opset, constants);
                    let source = runtime::OnnxSource::Bytes(bytes(&model));
                    let session = backend.load(source, &LoadOptions { threads: Some(1) });
                    let mut session = match session {
                        Err(Error::Unsupported { .. }) if GAPS.contains(&(backend.name(), case.0)) => {
                            continue;
                        }
                        other => other.unwrap_or_else(|error| panic!("{what}: {error}")),
                    };
                    assert!(!GAPS.contains(&(backend.name(), case.0)), "{what}: is no gap any more");
                    let given: Vec<(&str, &Tensor)> = inputs
                        .iter()
                        .filter(|(name, _)| session.inputs().iter().any(|info| info.name == *name))
                        .map(|(name, tensor)| (name.as_str(), tensor))
                        .collect();
                    let outputs = session.run(&given).unwrap_or_else(|error| panic!("{what}: {error}"));
                    for ((name, output), stored) in outputs.iter().zip(&numbers.outputs) {
                        let wanted = stored.tensor();
                        assert_eq!(output.dtype(), wanted.dtype(), "{what} {name}");
                        let result =
                            compare(&wanted, output).unwrap_or_else(|error| panic!("{what}: {error}"));
                        let scale = stored.values.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
                        if !result.within(1e-5 * scale) {
                            failures.push(format!("{what} {name}: {result:?}"));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Writes the graphs for `conformance.py check`, which runs them with ONNX Runtime.
#[test]
#[ignore = "only for checking the fixtures with ONNX Runtime"]
fn write_the_graphs() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&folder).unwrap();
    for case in CASES {
        for opset in Builder::OPSETS {
            let model = build(case, &expected()[case.0], opset, false);
            std::fs::write(folder.join(format!("{}@{opset}.onnx", case.0)), bytes(&model)).unwrap();
        }
    }
    println!("{}", folder.display());
}
