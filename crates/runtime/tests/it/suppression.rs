//! Graphs with `NonMaxSuppression` inside, on every backend that this machine has: one that the embedded backend runs in
//! parts gives what the others give.

use graph::{Builder, DataType, Dim, Model, Tensor, ValueInfo};
use runtime::backends::embedded::{Embedded, Observer};
use runtime::{Backend, Error, LoadOptions};

use crate::usable;
use crate::written::source;

/// Boxes of ten pixels at these places from the left, two images of three; two classes.
const LEFT: [[f32; 3]; 2] = [[0.0, 1.0, 50.0], [0.0, 4.0, 8.0]];
const SCORES: [[[f32; 3]; 2]; 2] = [[[0.9, 0.8, 0.3], [0.1, 0.7, 0.6]], [[0.5, 0.6, 0.7], [0.0, 0.0, 0.35]]];

/// Suppression between other nodes, once or twice: what the second one gets was raised by what the first one kept.
fn model(twice: bool) -> Model {
    let mut b = Builder::new("suppressed", 17);
    let boxes = b.input("boxes", DataType::F32, vec![Dim::batch(), 3.into(), 4.into()]);
    let scores = b.input("scores", DataType::F32, vec![Dim::batch(), 2.into(), 3.into()]);
    let two = b.scalar(2.0);
    // Nothing that suppression sees, but read by nodes before and behind it.
    let (larger, doubled) = (b.mul(&boxes, &two), b.mul(&scores, &two));
    let shape = vec![Dim::Symbol("kept".into()), 3.into()];
    let suppress = |b: &mut Builder, scores: &graph::Value, iou: f32| {
        let most = b.ints(&[2]);
        let (iou, least) = (b.floats(&[1], vec![iou]), b.floats(&[1], vec![0.5]));
        let fed = [&larger, scores, &most, &iou, &least];
        b.operator("NonMaxSuppression", &fed, [], DataType::I64, shape.clone())
    };
    let first = suppress(&mut b, &doubled, 0.5);
    let place = b.take(&first, &[0, 2], 1);
    let found = b.operator(
        "GatherND",
        &[&larger, &place],
        [],
        DataType::F32,
        vec![Dim::Symbol("kept".into()), 4.into()],
    );
    b.output("first", &first);
    b.output("found", &found);
    if twice {
        let count = b.shape_of(&first);
        let zero = b.whole(0, DataType::I64);
        let count = b.gather(&count, &zero, 0);
        let count = b.cast(&count, DataType::F32);
        let raised = b.mul(&doubled, &count);
        let second = suppress(&mut b, &raised, 0.2);
        b.output("second", &second);
    }
    b.output("doubled", &doubled);
    b.finish("test", "1").unwrap()
}

fn inputs() -> [(&'static str, Tensor); 2] {
    let boxes = LEFT.as_flattened().iter().flat_map(|left| [0.0, *left, 10.0, left + 10.0]).collect();
    let scores = SCORES.as_flattened().as_flattened().to_vec();
    [
        ("boxes", Tensor::from_f32([2, 3, 4], boxes).unwrap()),
        ("scores", Tensor::from_f32([2, 2, 3], scores).unwrap()),
    ]
}

/// Image, class and box. Overlaps: 9/11 of neighbours in the first image; 6/14 and 2/18 in the second.
const FIRST: [i64; 21] = [0, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 2, 1, 0, 2, 1, 0, 1, 1, 1, 2];
/// The same less than 0.2 apart, where the threshold no longer drops anything.
const SECOND: [i64; 21] = [0, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 2, 1, 0, 2, 1, 0, 0, 1, 1, 2];

#[test]
fn every_backend_suppresses_as_onnx_says() {
    for backend in usable::backends() {
        for twice in [false, true] {
            let model = model(twice);
            let mut session = backend.load(source(&model), &LoadOptions::default()).unwrap();
            let inputs = inputs();
            let outputs = session.run(&[("boxes", &inputs[0].1), ("scores", &inputs[1].1)]).unwrap();
            let named: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            let expected: &[&str] =
                if twice { &["first", "found", "second", "doubled"] } else { &["first", "found", "doubled"] };
            assert_eq!(named, expected, "{}", backend.name());
            let value = |name: &str| &outputs.iter().find(|(own, _)| own == name).unwrap().1;
            assert_eq!(value("first").to_i64().unwrap(), FIRST, "{}", backend.name());
            let doubled: Vec<f32> =
                SCORES.as_flattened().as_flattened().iter().map(|score| score * 2.0).collect();
            assert_eq!(value("doubled").to_f32().unwrap(), doubled);
            let rows = FIRST.as_chunks::<3>().0.iter();
            let found: Vec<f32> = rows
                .flat_map(|[image, _, at]| {
                    let left = LEFT[*image as usize][*at as usize];
                    [0.0, left, 10.0, left + 10.0].map(|side| side * 2.0)
                })
                .collect();
            assert_eq!(value("found").to_f32().unwrap(), found);
            if twice {
                assert_eq!(value("second").to_i64().unwrap(), SECOND, "{}", backend.name());
            }
        }
    }
}

#[test]
fn what_is_kept_is_seen_on_the_way() {
    let mut observer = Observer::load(source(&model(true)), &LoadOptions::default()).unwrap();
    let inputs = inputs();
    let mut seen = Vec::new();
    observer
        .run(&[("boxes", &inputs[0].1), ("scores", &inputs[1].1)], |name, tensor| {
            seen.push((name.to_owned(), tensor));
            Ok(())
        })
        .unwrap();
    for (name, expected) in [("first", FIRST), ("second", SECOND)] {
        let (_, tensor) = seen.iter().find(|(own, _)| own == name).unwrap();
        assert_eq!(tensor.to_i64().unwrap(), expected, "{name}");
    }
}

#[test]
fn an_output_may_be_an_input_beside_suppression() {
    let mut model = model(false);
    model.graph.outputs.push(ValueInfo::tensor(
        "boxes",
        DataType::F32,
        vec![Dim::batch(), 3.into(), 4.into()],
    ));
    let mut session = Embedded.load(source(&model), &LoadOptions::default()).unwrap();
    let inputs = inputs();
    let outputs = session.run(&[("boxes", &inputs[0].1), ("scores", &inputs[1].1)]).unwrap();
    assert_eq!(outputs.last().unwrap().1, inputs[0].1);
}

#[test]
fn suppression_of_shapes_that_do_not_fit_is_an_error() {
    let mut session = Embedded.load(source(&model(false)), &LoadOptions::default()).unwrap();
    let inputs = inputs();
    let one = inputs[0].1.row(0).unwrap();
    let error = session.run(&[("boxes", &one), ("scores", &inputs[1].1)]).unwrap_err();
    assert!(matches!(error, Error::Run { .. } | Error::WrongInput { .. }), "{error}");
}
