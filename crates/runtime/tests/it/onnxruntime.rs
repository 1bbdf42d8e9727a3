//! ONNX Runtime: element types, errors, threads, external data. Skipped, and said so, where it is not installed.

use bytes::Bytes;
use graph::{Attribute, Builder, DataType, Dim, Model, Node, Tensor, ValueInfo};
use half::{bf16, f16};
use runtime::backends::onnxruntime::{CUDA_BACKEND, TENSORRT_BACKEND, library, use_library};
use runtime::{Backend, Error, LoadOptions, OnnxSource, Session};

use crate::usable;
use crate::written::{bytes, source};

/// ONNX Runtime on the processor, where it is installed.
fn onnxruntime() -> Option<&'static dyn Backend> {
    usable::backends().into_iter().find(|backend| backend.name() == "onnxruntime")
}

fn load(model: &Model) -> Option<Result<Box<dyn Session>, Error>> {
    Some(onnxruntime()?.load(source(model), &LoadOptions::default()))
}

/// `y = x + x` on vectors of this type, or `y = not x`.
fn doubled(dtype: DataType) -> Model {
    let shape = vec![Dim::Symbol("n".into())];
    let op = if dtype == DataType::Bool { "Not" } else { "Add" };
    let mut model = graph_of(op, &["x", "x"][..if op == "Not" { 1 } else { 2 }], 14);
    model.graph.inputs = vec![ValueInfo::tensor("x", dtype, shape.clone())];
    model.graph.outputs = vec![ValueInfo::tensor("y", dtype, shape)];
    model
}

/// One node from `x` to `y`, both `float32 [n]`.
fn graph_of(op: &str, inputs: &[&str], opset: i64) -> Model {
    let mut builder = Builder::new("one", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::Symbol("n".into())]);
    let y = builder.relu(&x);
    builder.output("y", &y);
    let mut model = builder.finish("test", "1").unwrap();
    model.opsets.insert(String::new(), opset);
    model.graph.values.clear();
    model.graph.nodes = vec![Node {
        name: "/the/node".into(),
        op_type: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec!["y".into()],
        ..Node::default()
    }];
    model
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::from_f32([values.len()], values.to_vec()).unwrap()
}

#[test]
fn every_type_goes_in_and_comes_out() {
    macro_rules! of {
        ($dtype:ident, $values:expr) => {{
            let bytes: Vec<u8> = $values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor::new(DataType::$dtype, [$values.len()], bytes.into()).unwrap()
        }};
    }
    macro_rules! case {
        ($dtype:ident, $x:expr, $y:expr) => {
            (of!($dtype, $x), of!($dtype, $y))
        };
    }
    let truth = |bytes: &'static [u8]| Tensor::new(DataType::Bool, [2], Bytes::from_static(bytes)).unwrap();
    let cases = [
        case!(F32, [1.5_f32, -2.0], [3.0_f32, -4.0]),
        case!(F64, [1e300_f64, 0.1], [2e300_f64, 0.2]),
        case!(F16, [f16::from_f32(1.5), f16::from_f32(-2.0)], [f16::from_f32(3.0), f16::from_f32(-4.0)]),
        // Beyond 32 bits, where the embedded backend stops.
        case!(I64, [1_i64 << 40, -7], [2_i64 << 40, -14]),
        case!(U64, [1_u64 << 63, 3], [0_u64, 6]),
        case!(I32, [i32::MAX, 1], [-2_i32, 2]),
        case!(U32, [7_u32, 1], [14_u32, 2]),
        case!(I8, [-128_i8, 3], [0_i8, 6]),
        case!(U8, [200_u8, 3], [144_u8, 6]),
        (truth(&[0, 1]), truth(&[1, 0])),
    ];
    let Some(backend) = onnxruntime() else { return };
    for (x, y) in cases {
        let mut session = backend.load(source(&doubled(x.dtype())), &LoadOptions::default()).unwrap();
        assert_eq!(session.run(&[("x", &x)]).unwrap(), [("y".to_owned(), y)], "{}", x.dtype());
        let none = Tensor::new(x.dtype(), [0], Bytes::new()).unwrap();
        assert_eq!(session.run(&[("x", &none)]).unwrap(), [("y".to_owned(), none)], "{}", x.dtype());
    }
    // Types that `Add` does not take.
    let cast = [
        (of!(Bf16, [bf16::from_f32(1.5)]), 1.5),
        (of!(I16, [-300_i16]), -300.0),
        (of!(U16, [60_000_u16]), 60_000.0),
    ];
    for (x, expected) in cast {
        let mut model = doubled(x.dtype());
        model.graph.nodes[0].op_type = "Cast".into();
        model.graph.nodes[0].inputs.truncate(1);
        model.graph.nodes[0].attributes =
            [("to".to_owned(), Attribute::Int(DataType::F32.to_onnx().into()))].into();
        model.graph.outputs[0].dtype = Some(DataType::F32);
        let mut session = backend.load(source(&model), &LoadOptions::default()).unwrap();
        let (_, y) = session.run(&[("x", &x)]).unwrap().remove(0);
        assert_eq!(y.to_f32().unwrap(), [expected], "{}", x.dtype());
    }
}

#[test]
fn wrong_inputs_are_refused_with_the_words_of_every_backend() {
    let Some(session) = load(&doubled(DataType::I64)) else { return };
    let mut session = session.unwrap();
    let flat = Tensor::from_i64([1, 1], vec![1]).unwrap();
    let cases: [(&[(&str, &Tensor)], &str); 4] = [
        (&[], "input `x` (int64 [n]) is missing"),
        (&[("y", &flat)], "the graph has no input `y`, it has `x`"),
        (&[("x", &flat)], "input `x` is int64 [1, 1], the graph takes int64 [n]"),
        (&[("x", &floats(&[1.0]))], "input `x` is float32 [1], the graph takes int64 [n]"),
    ];
    for (given, expected) in cases {
        assert_eq!(session.run(given).unwrap_err().to_string(), expected);
    }
    assert!(session.run(&[("x", &Tensor::from_i64([1], vec![1]).unwrap())]).is_ok());
}

#[test]
fn what_cannot_be_loaded_names_its_node() {
    let Some(backend) = onnxruntime() else { return };
    let named = graph_of("Magic", &["x"], 17);
    let mut foreign = named.clone();
    foreign.graph.nodes[0] = Node {
        name: String::new(),
        domain: "org.example".into(),
        op_type: "Spell".into(),
        ..named.graph.nodes[0].clone()
    };
    foreign.opsets.insert("org.example".into(), 1);
    let mut attribute = graph_of("Concat", &["x", "x"], 17);
    attribute.graph.nodes[0].attributes = [("axis".to_owned(), Attribute::Int(5))].into();
    for (model, node, op) in
        [(named, "/the/node", "Magic"), (foreign, "y", "Spell"), (attribute, "/the/node", "Concat")]
    {
        let error = backend.load(source(&model), &LoadOptions::default()).err().unwrap();
        assert!(error.is_backend_limit() && error.hint().is_some(), "{error}");
        let Error::Unsupported { node: found, op: found_op, reason, backend } = error else {
            panic!("{error}");
        };
        assert_eq!((found.as_str(), found_op.as_str(), backend), (node, op, "onnxruntime"), "{reason}");
    }
}

#[test]
fn files_that_are_no_graph_are_errors() {
    let Some(backend) = onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let load = || backend.load(OnnxSource::File(&path), &LoadOptions::default()).err();
    assert!(matches!(load(), Some(Error::Read { .. })));
    std::fs::write(&path, "").unwrap();
    assert!(load().is_some());
    std::fs::write(&path, "not a graph at all").unwrap();
    assert!(matches!(load(), Some(Error::Graph(_))));
    let whole = bytes(&doubled(DataType::F32));
    for length in 1..whole.len() {
        let cut = OnnxSource::Bytes(whole[..length].to_vec());
        let _ = backend.load(cut, &LoadOptions::default());
    }
}

#[test]
fn a_run_that_fails_names_the_node() {
    let mut model = graph_of("Reshape", &["x", "shape"], 17);
    model.graph.initializers.insert("shape".into(), Tensor::from_i64([2], vec![2, 3]).unwrap());
    model.graph.outputs[0].shape = Some(vec![Dim::Fixed(2), Dim::Fixed(3)]);
    let Some(session) = load(&model) else { return };
    let error = session.unwrap().run(&[("x", &floats(&[0.0; 5]))]).unwrap_err();
    assert!(matches!(&error, Error::Run { backend: "onnxruntime", .. }), "{error}");
    assert!(error.to_string().contains("/the/node"), "{error}");
}

#[test]
fn an_output_may_be_an_input_or_a_constant_and_outlives_the_session() {
    let mut model = graph_of("Relu", &["x"], 17);
    model.graph.initializers.insert("c".into(), floats(&[4.5]));
    model.graph.outputs.push(ValueInfo::tensor("x", DataType::F32, vec![Dim::Symbol("n".into())]));
    model.graph.outputs.push(ValueInfo::tensor("c", DataType::F32, vec![Dim::Fixed(1)]));
    let Some(session) = load(&model) else { return };
    let mut session = session.unwrap();
    let x = floats(&[5.0]);
    let outputs = session.run(&[("x", &x)]).unwrap();
    drop((session, x));
    let values: Vec<f32> = outputs.iter().flat_map(|(_, tensor)| tensor.to_f32().unwrap()).collect();
    assert_eq!(values, [5.0, 5.0, 4.5]);
}

/// Releases before 1.32 take the zeros of a `Pad` for minus infinity when a `MaxPool` follows.
#[test]
fn zeros_before_a_pool_count_as_zeros() {
    let mut model = graph_of("Pad", &["x", "pads"], 17);
    let shape = |side| vec![Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(side), Dim::Fixed(side)];
    model.graph.inputs[0].shape = Some(shape(2));
    model.graph.outputs[0].shape = Some(shape(2));
    let pads = Tensor::from_i64([8], vec![0, 0, 0, 0, 0, 0, 1, 1]).unwrap();
    model.graph.initializers.insert("pads".into(), pads);
    model.graph.nodes[0].outputs = vec!["padded".into()];
    let mut pool = graph_of("MaxPool", &["padded"], 17).graph.nodes.remove(0);
    pool.name = "/the/pool".into();
    pool.attributes = [
        ("kernel_shape".to_owned(), Attribute::Ints(vec![2, 2])),
        ("strides".to_owned(), Attribute::Ints(vec![1, 1])),
    ]
    .into();
    model.graph.nodes.push(pool);
    let x = Tensor::from_f32([1, 1, 2, 2], vec![-4.0, -3.0, -2.0, -1.0]).unwrap();
    for backend in usable::backends() {
        let mut session = backend.load(source(&model), &LoadOptions::default()).unwrap();
        let (_, y) = session.run(&[("x", &x)]).unwrap().remove(0);
        assert_eq!(y.to_f32().unwrap(), [-1.0, 0.0, 0.0, 0.0], "{}", backend.name());
    }
}

#[test]
fn weights_may_lie_in_another_file() {
    let Some(backend) = onnxruntime() else { return };
    let mut builder = Builder::new("external", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::batch(), Dim::Fixed(2)]);
    let weight = builder.weight("w", Tensor::from_f32([2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap());
    let y = builder.matmul(&x, &weight);
    builder.output("y", &y);
    let mut model = builder.finish("test", "1").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let name = model.graph.initializers.keys().next().unwrap().clone();
    let values: Vec<u8> = model.graph.initializers[&name].bytes().to_vec();
    std::fs::write(folder.path().join("weights.bin"), values).unwrap();
    let place = graph::External { location: "weights.bin".into(), offset: 0, length: Some(16) };
    let outside = Tensor::unresolved(DataType::F32, [2, 2], place).unwrap();
    model.graph.initializers.insert(name, outside);
    let path = folder.path().join("model.onnx");
    let mut file = Vec::new();
    graph::onnx::write_referring(&model, &mut file).unwrap();
    std::fs::write(&path, file).unwrap();
    let mut session = backend.load(OnnxSource::File(&path), &LoadOptions::default()).unwrap();
    let x = Tensor::from_f32([1, 2], vec![1.0, 1.0]).unwrap();
    let (_, y) = session.run(&[("x", &x)]).unwrap().remove(0);
    assert_eq!(y.to_f32().unwrap(), [4.0, 6.0]);
}

#[test]
fn threads_are_what_was_asked_for() {
    let Some(backend) = onnxruntime() else { return };
    let model = doubled(DataType::F32);
    let threads = |threads| backend.load(source(&model), &LoadOptions { threads }).unwrap().threads();
    assert_eq!(threads(Some(3)), Some(3));
    assert!(threads(None).is_some_and(|count| count > 0));
    assert_eq!(threads(Some(0)), threads(None));
}

#[test]
fn a_process_has_one_library() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libonnxruntime.so");
    if onnxruntime().is_none() {
        return;
    }
    let error = use_library(&other).unwrap_err();
    assert!(matches!(&error, Error::SecondLibrary { second, .. } if *second == other), "{error}");
    assert!(error.is_backend_limit());
    assert!(use_library(library().unwrap()).is_ok());
}

#[test]
fn a_provider_that_is_not_there_is_an_error_and_never_another_device() {
    if onnxruntime().is_none() {
        return;
    }
    for backend in [&CUDA_BACKEND, &TENSORRT_BACKEND] {
        let Err(error) = backend.probe() else { continue };
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("onnxruntime-gpu")), "{error}");
        let loaded = backend.load(source(&doubled(DataType::F32)), &LoadOptions::default());
        assert!(loaded.err().is_some_and(|error| error.is_backend_limit()));
    }
}
