//! The embedded backend: element types, threads, errors, values on the way.

use graph::{Attribute, Builder, DataType, Dim, Model, Node, Tensor, ValueInfo};
use runtime::backends::embedded::{Embedded, Observer, RTEN_VERSION, record_shapes};
use runtime::{Backend, Error, LoadOptions, OnnxSource, Session};

use crate::written::{bytes, source};

fn load(model: &Model) -> Result<Box<dyn Session>, Error> {
    Embedded.load(source(model), &LoadOptions::default())
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::from_f32([values.len()], values.to_vec()).unwrap()
}

/// `y = x + 1` on vectors of this type.
fn add_one(dtype: DataType, one: Tensor) -> Model {
    let mut builder = Builder::new("add", 17);
    let x = builder.input("x", dtype, vec![Dim::Symbol("n".into())]);
    let one = builder.constant(one);
    let y = builder.add(&x, &one);
    builder.output("y", &y);
    builder.finish("test", "1").unwrap()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    Node {
        op_type: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: outputs.iter().map(|name| (*name).to_owned()).collect(),
        ..Node::default()
    }
}

#[test]
fn the_version_is_the_one_that_is_built() {
    let lock = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    let line = format!("name = \"rten\"\nversion = \"{RTEN_VERSION}\"");
    assert!(lock.contains(&line), "`RTEN_VERSION` has to follow the lock file");
    assert!(Embedded.probe().unwrap().version.ends_with(RTEN_VERSION));
}

#[test]
fn outputs_have_the_declared_type() {
    let half = |value: f32| bytes::Bytes::copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
    let double = |value: f64| bytes::Bytes::copy_from_slice(&value.to_le_bytes());
    let of = |dtype, bytes| Tensor::new(dtype, [1], bytes).unwrap();
    let cases = [
        (floats(&[1.0]), floats(&[2.5]), floats(&[3.5])),
        (of(DataType::F16, half(1.0)), of(DataType::F16, half(2.5)), of(DataType::F16, half(3.5))),
        (of(DataType::F64, double(1.0)), of(DataType::F64, double(2.5)), of(DataType::F64, double(3.5))),
        (
            Tensor::from_i64([1], vec![1]).unwrap(),
            Tensor::from_i64([1], vec![-7]).unwrap(),
            Tensor::from_i64([1], vec![-6]).unwrap(),
        ),
        (
            Tensor::from_i32([1], vec![1]).unwrap(),
            Tensor::from_i32([1], vec![41]).unwrap(),
            Tensor::from_i32([1], vec![42]).unwrap(),
        ),
    ];
    for (one, x, y) in cases {
        let mut session = load(&add_one(one.dtype(), one.clone())).unwrap();
        assert_eq!(session.run(&[("x", &x)]).unwrap(), [("y".to_owned(), y)], "{}", one.dtype());
    }
}

#[test]
fn booleans_come_out_as_booleans() {
    let mut builder = Builder::new("greater", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::Fixed(2)]);
    let zero = builder.scalar(0.0);
    let y = builder.greater(&x, &zero);
    builder.output("y", &y);
    let mut session = load(&builder.finish("test", "1").unwrap()).unwrap();
    let (_, y) = session.run(&[("x", &floats(&[-1.0, 1.0]))]).unwrap().remove(0);
    assert_eq!(y, Tensor::new(DataType::Bool, [2], bytes::Bytes::from_static(&[0, 1])).unwrap());
}

#[test]
fn wrong_inputs_are_named_before_anything_runs() {
    let mut session = load(&add_one(DataType::I64, Tensor::from_i64([1], vec![1]).unwrap())).unwrap();
    let wide = Tensor::from_i64([1], vec![1 << 40]).unwrap();
    let flat = Tensor::from_i64([1, 1], vec![1]).unwrap();
    let cases: [(&[(&str, &Tensor)], &str); 5] = [
        (&[], "input `x` (int64 [n]) is missing"),
        (&[("y", &wide)], "the graph has no input `y`, it has `x`"),
        (&[("x", &flat)], "input `x` is int64 [1, 1], the graph takes int64 [n]"),
        (&[("x", &floats(&[1.0]))], "input `x` is float32 [1], the graph takes int64 [n]"),
        (&[("x", &wide)], "input `x` holds 1099511627776, backend `embedded` computes integers in 32 bits"),
    ];
    for (given, expected) in cases {
        assert_eq!(session.run(given).unwrap_err().to_string(), expected);
    }
    assert!(session.run(&[("x", &Tensor::from_i64([1], vec![1]).unwrap())]).is_ok());
}

#[test]
fn an_operator_that_is_not_there_is_named_with_its_node() {
    let mut named = add_one(DataType::F32, floats(&[1.0]));
    named.graph.nodes[0] = Node { name: "/head/Magic".into(), ..node("Magic", &["x"], &["y"]) };
    let mut nameless = named.clone();
    nameless.graph.nodes[0] = Node { domain: "org.example".into(), ..node("Spell", &["x"], &["y"]) };
    let mut attribute = named.clone();
    attribute.graph.nodes[0] = Node {
        name: "/grid/GridSample".into(),
        attributes: [("mode".to_owned(), Attribute::from("nearest"))].into(),
        ..node("GridSample", &["x", "x"], &["y"])
    };
    for (model, node, op) in [
        (named, "/head/Magic", "Magic"),
        (nameless, "y", "Spell"),
        (attribute, "/grid/GridSample", "GridSample"),
    ] {
        let error = load(&model).err().unwrap();
        assert!(error.is_backend_limit() && error.hint().is_some());
        let Error::Unsupported { node: found, op: found_op, reason, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((found.as_str(), found_op.as_str()), (node, op), "{reason}");
    }
}

#[test]
fn threads_are_what_was_asked_for() {
    let model = add_one(DataType::F32, floats(&[1.0]));
    for (asked, expected) in [(Some(3), Some(3)), (Some(1), Some(1))] {
        let session = Embedded.load(source(&model), &LoadOptions { threads: asked }).unwrap();
        assert_eq!(session.threads(), expected);
    }
    assert!(load(&model).unwrap().threads().is_some_and(|count| count > 0));
}

#[test]
fn a_file_and_its_bytes_are_the_same_graph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("add.onnx");
    let model = add_one(DataType::F32, floats(&[1.0]));
    std::fs::write(&path, bytes(&model)).unwrap();
    let mut from_file = Embedded.load(OnnxSource::File(&path), &LoadOptions::default()).unwrap();
    let x = floats(&[1.0, 2.0]);
    assert_eq!(from_file.run(&[("x", &x)]).unwrap(), load(&model).unwrap().run(&[("x", &x)]).unwrap());
    assert_eq!(from_file.inputs(), model.graph.inputs);
    assert_eq!(from_file.outputs(), model.graph.outputs);
}

#[test]
fn a_file_without_the_suffix_is_loaded_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, bytes(&add_one(DataType::F32, floats(&[1.0])))).unwrap();
    assert!(Embedded.load(OnnxSource::File(&path), &LoadOptions::default()).is_ok());
}

#[test]
fn files_that_are_no_graph_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let load = || Embedded.load(OnnxSource::File(&path), &LoadOptions::default()).err();
    assert!(matches!(load(), Some(Error::Read { .. })));
    std::fs::write(&path, "").unwrap();
    assert!(load().is_some());
    std::fs::write(&path, "not a graph at all").unwrap();
    assert!(matches!(load(), Some(Error::Graph(_))));
    let directory = Embedded.load(OnnxSource::File(folder.path()), &LoadOptions::default());
    assert!(matches!(directory.err(), Some(Error::Read { .. })));
}

#[test]
fn an_output_may_be_an_input_or_a_constant() {
    let mut model = add_one(DataType::F32, floats(&[1.0]));
    let constant = model.graph.initializers.keys().next().unwrap().clone();
    model.graph.outputs.push(ValueInfo::tensor("x", DataType::F32, vec![Dim::Symbol("n".into())]));
    model.graph.outputs.push(ValueInfo::tensor(constant, DataType::F32, vec![Dim::Fixed(1)]));
    let outputs = load(&model).unwrap().run(&[("x", &floats(&[5.0]))]).unwrap();
    let values: Vec<f32> = outputs.iter().flat_map(|(_, tensor)| tensor.to_f32().unwrap()).collect();
    assert_eq!(values, [6.0, 5.0, 1.0]);
}

/// The library panics on a constant step of 0 while it infers shapes.
#[test]
fn a_panic_in_the_library_is_an_error() {
    let mut builder = Builder::new("slice", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::Fixed(4)]);
    let y = builder.slice(&x, 0, 0, 4);
    builder.output("y", &y);
    let mut model = builder.finish("test", "1").unwrap();
    model.graph.initializers.insert("none".into(), Tensor::from_i64([1], vec![0]).unwrap());
    model.graph.nodes[0].inputs[4] = "none".into();
    let error = load(&model).err().unwrap();
    assert_eq!(error.to_string(), "backend `embedded` broke off: Slice step cannot be 0");
}

/// Quantizes to `int8` and back, as our INT8 graphs do: halves to even, saturated, with a scale for each channel.
#[test]
fn quantized_graphs_round_as_onnx_says() {
    let mut builder = Builder::new("quantized", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::Fixed(2), Dim::Fixed(4)]);
    let y = builder.relu(&x);
    builder.output("y", &y);
    let mut model = builder.finish("test", "1").unwrap();
    let scales = Tensor::from_f32([2], vec![0.5, 2.0]).unwrap();
    let zeros = Tensor::new(DataType::I8, [2], bytes::Bytes::from_static(&[0, 0])).unwrap();
    model.graph.initializers.insert("scale".into(), scales);
    model.graph.initializers.insert("zero".into(), zeros);
    let axis = || [("axis".to_owned(), Attribute::Int(0))].into();
    model.graph.nodes = vec![
        Node { attributes: axis(), ..node("QuantizeLinear", &["x", "scale", "zero"], &["q"]) },
        Node { attributes: axis(), ..node("DequantizeLinear", &["q", "scale", "zero"], &["y"]) },
    ];
    let x = Tensor::from_f32([2, 4], vec![0.25, 0.75, -1.3, 1e6, 1.0, 3.0, -1e6, 5.1]).unwrap();
    let (_, y) = load(&model).unwrap().run(&[("x", &x)]).unwrap().remove(0);
    assert_eq!(y.to_f32().unwrap(), [0.0, 1.0, -1.5, 63.5, 0.0, 4.0, -256.0, 6.0]);
}

/// Forty convolutions with connections across, so that values have to outlive many stretches.
fn deep() -> Model {
    let mut builder = Builder::new("deep", 17);
    let x =
        builder.input("x", DataType::F32, vec![Dim::batch(), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)]);
    let weight = |at: usize| (0..27).map(|v| ((v * 7 + at) % 11) as f32 * 0.02 - 0.09).collect::<Vec<_>>();
    let mut value = x.clone();
    let mut early = None;
    for at in 0..40 {
        let tensor = Tensor::from_f32([3, 1, 3, 3], weight(at)).unwrap();
        let weight = builder.weight(&format!("w{at}"), tensor);
        let conv = graph::builder::Conv { groups: 3, ..graph::builder::Conv::new(1, 1) };
        let mixed = builder.conv(&value, &weight, None, conv);
        value = builder.relu(&mixed);
        early.get_or_insert_with(|| value.clone());
    }
    let sum = builder.add(&value, &early.unwrap_or(x));
    let pieces = builder.split(&sum, &[1, 2], 1);
    builder.output("y", &pieces[0]);
    builder.output("z", &pieces[1]);
    builder.finish("test", "1").unwrap()
}

#[test]
fn every_value_can_be_seen_on_the_way() {
    let model = deep();
    let values = (0..2 * 3 * 64).map(|at| (at % 17) as f32 * 0.1 - 0.7).collect();
    let x = Tensor::from_f32([2, 3, 8, 8], values).unwrap();
    let shapes = record_shapes(source(&model), &[("x", &x)]).unwrap();
    assert_eq!(shapes.len(), 83);
    for info in model.graph.values.values().chain(&model.graph.outputs) {
        let declared = info.shape.as_ref().unwrap();
        let expected: Vec<usize> = declared.iter().map(|dim| dim.fixed().unwrap_or(2)).collect();
        assert_eq!(shapes[&info.name], (DataType::F32, expected), "{}", info.name);
    }

    let mut seen = Vec::new();
    let mut observer = Observer::load(source(&model), &LoadOptions::default()).unwrap();
    observer
        .run(&[("x", &x)], |name, tensor| {
            seen.push((name.to_owned(), tensor));
            Ok(())
        })
        .unwrap();
    let in_order: Vec<&str> =
        model.graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), in_order);
    for (name, expected) in load(&model).unwrap().run(&[("x", &x)]).unwrap() {
        let (_, actual) = seen.iter().find(|(other, _)| *other == name).unwrap();
        assert!(runtime::compare(&expected, actual).unwrap().within(1e-6), "{name}");
    }
}

#[test]
fn an_observer_checks_inputs_and_passes_errors_on() {
    let model = deep();
    let mut observer = Observer::load(source(&model), &LoadOptions::default()).unwrap();
    assert_eq!(observer.inputs(), model.graph.inputs);
    assert!(matches!(observer.shapes(&[]), Err(Error::MissingInput { .. })));
    let x = Tensor::from_f32([1, 3, 8, 8], vec![0.5; 192]).unwrap();
    let stop = observer.run(&[("x", &x)], |_, _| Err(Error::NoSamples));
    assert!(matches!(stop, Err(Error::NoSamples)));
    assert_eq!(observer.shapes(&[("x", &x)]).unwrap().len(), 83);
}

#[test]
fn values_inside_a_branch_keep_what_they_capture_alive() {
    let mut builder = Builder::new("branch", 17);
    let x = builder.input("x", DataType::F32, vec![Dim::Fixed(2)]);
    let mut early = builder.relu(&x);
    let kept = early.name().to_owned();
    for _ in 0..40 {
        early = builder.neg(&early);
    }
    builder.output("y", &early);
    let mut model = builder.finish("test", "1").unwrap();
    let branch = |op: &str| {
        let out = ValueInfo::tensor("out", DataType::F32, vec![Dim::Fixed(2)]);
        let nodes = vec![node(op, &[&kept], &["out"])];
        Attribute::Graph(Box::new(graph::Graph {
            name: op.into(),
            nodes,
            outputs: vec![out],
            ..Default::default()
        }))
    };
    let truth = Tensor::new(DataType::Bool, Vec::new(), bytes::Bytes::from_static(&[1])).unwrap();
    model.graph.initializers.insert("truth".into(), truth);
    model.graph.nodes.push(Node {
        attributes: [("then_branch".to_owned(), branch("Exp")), ("else_branch".to_owned(), branch("Neg"))]
            .into(),
        ..node("If", &["truth"], &["z"])
    });
    model.graph.outputs.push(ValueInfo::tensor("z", DataType::F32, vec![Dim::Fixed(2)]));
    let shapes = record_shapes(source(&model), &[("x", &floats(&[0.0, 1.0]))]).unwrap();
    assert_eq!(shapes["z"], (DataType::F32, vec![2]));
}
