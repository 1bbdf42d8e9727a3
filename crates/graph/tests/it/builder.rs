//! The builder's bookkeeping: names, outputs, dead parts, shapes and the first failure. Numbers are compared with
//! PyTorch by `tests/fixtures/check_builder_ops.py`.

use graph::builder::{Conv, Interpolation, Pool};
use graph::{Builder, DataType, Dim, Error, Model, Tensor, Value};

use crate::again;

fn image(b: &mut Builder, height: usize, width: usize) -> Value {
    b.input("x", DataType::F32, vec![Dim::batch(), 4.into(), height.into(), width.into()])
}

fn finished(build: impl FnOnce(&mut Builder)) -> Result<Model, Error> {
    let mut b = Builder::new("test", 17);
    build(&mut b);
    b.finish("test", "1")
}

#[test]
fn an_output_can_be_used_after_it_was_declared_and_under_two_names() {
    let model = finished(|b| {
        let x = image(b, 2, 2);
        let y = b.relu(&x);
        b.output("first", &y);
        b.output("second", &y);
        let z = b.sigmoid(&y);
        b.output("third", &z);
        b.output("same", &x);
        let constant = b.scalar(1.0);
        b.output("one", &constant);
    })
    .unwrap();
    let made: Vec<(&str, &str, &str)> = model
        .graph
        .nodes
        .iter()
        .map(|node| (node.op_type.as_str(), node.inputs[0].as_str(), node.outputs[0].as_str()))
        .collect();
    let expected = [
        ("Relu", "x", "first"),
        ("Sigmoid", "first", "third"),
        ("Identity", "first", "second"),
        ("Identity", "x", "same"),
        ("Identity", "constant", "one"),
    ];
    assert_eq!(made, expected);
    assert_eq!(again(&model), model);
}

#[test]
fn what_no_output_needs_is_left_out() {
    let model = finished(|b| {
        let x = image(b, 2, 2);
        let weight = b.weight("unused", Tensor::from_f32([1], vec![1.0]).unwrap());
        let dead = b.mul(&x, &weight);
        b.relu(&dead);
        b.weight("never used", Tensor::from_f32([1], vec![2.0]).unwrap());
        let y = b.relu(&x);
        b.output("y", &y);
    })
    .unwrap();
    assert_eq!(
        (model.graph.nodes.len(), model.graph.initializers.len(), model.graph.values.len()),
        (1, 0, 0)
    );
}

#[test]
fn equal_constants_are_stored_once_and_names_never_collide() {
    let model = finished(|b| {
        let x = image(b, 2, 2);
        let taken = b.weight("relu_1", Tensor::from_f32([1], vec![3.0]).unwrap());
        let mut y = b.mul(&x, &taken);
        for _ in 0..2 {
            let [half, same] = [0.5, 0.5].map(|value| b.scalar(value));
            assert_eq!(half, same);
            y = b.add(&y, &half);
        }
        for _ in 0..2 {
            let weight = b.weight("relu", Tensor::from_f32([1], vec![2.0]).unwrap());
            y = b.mul(&y, &weight);
        }
        b.output("y", &y);
    })
    .unwrap();
    let names: Vec<&String> = model.graph.initializers.keys().collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn what_computes_the_same_is_there_once() {
    let pool = |kernel| Pool { kernel, stride: 1, padding: 0, ceil: false };
    let model = finished(|b| {
        let x = image(b, 4, 4);
        let [y, same] = ["a", "b"].map(|scope| b.scoped(scope, |b| b.max_pool(&x, pool(2))));
        assert_eq!(y, same);
        let other = b.max_pool(&x, pool(3));
        let (y, other) = (b.flatten_from(&y, 2), b.flatten_from(&other, 2));
        let joined = b.concat(&[&y, &other, &y], 2);
        b.output("y", &joined);
    })
    .unwrap();
    let ops: Vec<&str> = model.graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(ops, ["MaxPool", "MaxPool", "Reshape", "Reshape", "Concat"]);
}

#[test]
fn sizes_follow_pytorch() {
    let pool = |kernel, stride, padding, ceil| Pool { kernel, stride, padding, ceil };
    let cases: [(&str, usize, Pool, usize); 6] = [
        ("plain", 9, pool(3, 2, 1, false), 5),
        ("ceil, hangs over", 9, pool(2, 2, 0, true), 5),
        ("ceil, comes out even", 8, pool(2, 2, 0, true), 4),
        ("ceil, last window outside", 11, pool(2, 3, 1, true), 4),
        ("ceil, padded", 10, pool(3, 2, 1, true), 6),
        ("window as large as the image", 7, pool(7, 1, 0, false), 1),
    ];
    for (what, size, pool, expected) in cases {
        let mut b = Builder::new("pool", 17);
        let x = image(&mut b, size, size);
        let y = b.max_pool(&x, pool);
        assert_eq!((y.size(2), y.size(3)), (expected, expected), "{what}");
        b.output("y", &y);
        let model = b.finish("test", "1").unwrap();
        let node = &model.graph.nodes[0];
        assert_eq!(node.int("ceil_mode"), None, "{what}");
        // The rule without `ceil_mode`, on which everyone agrees, gives the same number.
        let pads = node.ints("pads").unwrap();
        let windows = (size as i64 + pads[0] + pads[2] - pool.kernel as i64) / pool.stride as i64 + 1;
        assert_eq!(windows, expected as i64, "{what}");
        assert!(pads.iter().all(|pad| *pad < pool.kernel as i64), "{what}: {pads:?}");
    }
}

#[test]
fn scales_reach_the_size_asked_for() {
    for (from, to) in [(11, 25), (3, 7), (7, 3), (80, 160), (13, 20), (640, 427), (9, 9)] {
        let model = finished(|b| {
            let x = image(b, from, from);
            let y = b.resize(&x, to, to, Interpolation::Linear);
            b.output("y", &y);
        })
        .unwrap();
        let scales = model.graph.initializers.values().next().unwrap().to_f32().unwrap();
        assert_eq!((from as f32 * scales[2]).floor() as usize, to, "{from} to {to} in float32");
        assert_eq!((from as f64 * f64::from(scales[3])).floor() as usize, to, "{from} to {to} in float64");
    }
}

#[test]
fn the_first_thing_that_does_not_fit_is_named_with_its_place() {
    type Case = (&'static str, fn(&mut Builder, &Value) -> Value, &'static str);
    let cases: [Case; 12] = [
        ("reshape", |b, x| b.reshape(x, &[0, 7]), "cannot become"),
        ("transpose", |b, x| b.transpose(x, &[0, 1, 1, 2]), "does not order"),
        ("split", |b, x| b.split(x, &[1, 2], 1)[0].clone(), "does not split"),
        ("split beyond", |b, x| b.split(x, &[usize::MAX, 5], 1)[0].clone(), "does not split"),
        ("slice", |b, x| b.slice(x, 1, 2, 9), "2..9"),
        ("unsqueeze twice", |b, x| b.unsqueeze(x, &[1, 1]), "[1, 1]"),
        ("softmax", |b, x| b.softmax(x, 4), "do not fit"),
        ("matmul", |b, x| b.matmul(x, x), "do not fit"),
        ("take", |b, x| b.take(x, &[4], 1), "[4]"),
        ("top_k", |b, x| b.top_k(x, 5, 1).0, "5 of"),
        (
            "types",
            |b, x| {
                let other = b.cast(x, DataType::F16);
                b.add(x, &other)
            },
            "do not mix",
        ),
        (
            "conv",
            |b, x| {
                let weight = b.floats(&[1, 3, 1, 1], vec![0.0; 3]);
                b.conv(x, &weight, None, Conv::new(1, usize::MAX))
            },
            "[1, 3, 1, 1]",
        ),
    ];
    for (what, build, expected) in cases {
        let error = finished(|b| {
            let x = image(b, 5, 6);
            let y = b.scoped("model", |b| b.scoped("head", |b| build(b, &x)));
            b.output("y", &y);
        })
        .unwrap_err();
        assert!(matches!(&error, Error::BadNode { node, .. } if node == "/model/head"), "{what}: {error}");
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
}

#[test]
fn names_of_inputs_and_outputs_are_not_given_twice() {
    let twice = finished(|b| {
        let x = image(b, 2, 2);
        let y = b.relu(&x);
        b.output("x", &y);
    });
    assert!(twice.unwrap_err().to_string().contains("`x` is taken"));
    assert!(finished(|_| {}).unwrap_err().to_string().contains("no outputs"));
    assert!(Builder::new("old", 12).finish("test", "1").unwrap_err().to_string().contains("opset 12"));
}
