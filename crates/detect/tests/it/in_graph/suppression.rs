//! Suppression of every head against decoding, on random outputs of several images.

use detect::in_graph::{MOST_ROWS, PluginCut, Suppression, SuppressionForm, suppress_in_graph};
use detect::{
    Activation, Background, BoxFormat, ChannelOrder, DenseLayout, Detection, Detections, Detector,
    ElementType, Error, Filter, Geometry, Head, ImageInput, Labels, Resize, Selection, Thresholds,
    suppress_all,
};
use graph::{Builder, DataType, Dim, Model, Tensor};

use super::{Named, noise, run, run_suppressed};

const CLASSES: usize = 5;
const IMAGES: usize = 3;
const FORMS: [SuppressionForm; 2] = [SuppressionForm::Onnx, SuppressionForm::TensorRt];

fn detector(head: Head) -> Detector {
    let input = ImageInput {
        tensor: "images".into(),
        width: 64,
        height: 64,
        channels: ChannelOrder::Rgb,
        resize: Resize::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: Some("sizes".into()),
        frames: None,
    };
    let labels = Labels::new((0..CLASSES as u32).map(|id| (id, format!("class {id}")))).unwrap();
    Detector::new("test", labels, input, head)
}

/// A network whose outputs are what it is fed.
fn network(outputs: &[(&str, Vec<usize>)], opset: i64) -> Model {
    let mut b = Builder::new("network", opset);
    for (name, shape) in outputs {
        let dims = std::iter::once(Dim::batch()).chain(shape.iter().map(|size| Dim::Fixed(*size)));
        let x = b.input(&format!("fed_{name}"), DataType::F32, dims.collect());
        let zero = b.scalar(0.0);
        let made = b.add(&x, &zero);
        b.output(name, &made);
    }
    b.finish("test", "1").unwrap()
}

/// Four numbers of a box among others, so that some overlap; in pixels of 64, or in units.
fn a_box(random: &mut impl Iterator<Item = f32>, format: BoxFormat) -> [f32; 4] {
    let mut next = |least: f32, most: f32| least + random.next().unwrap() * (most - least);
    let (x, y) = (next(4.0, 40.0).round(), next(4.0, 40.0));
    let (w, h) = (next(6.0, 24.0), next(6.0, 24.0).round());
    let numbers = match format {
        BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels => [x + w / 2.0, y + h / 2.0, w, h],
        _ => [x, y, x + w, y + h],
    };
    match format {
        BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized => numbers.map(|number| number / 64.0),
        _ => numbers,
    }
}

/// Outputs of all images under the network's own names, without `fed_`.
fn outputs(head: &Head, rows: usize, seed: u32) -> Vec<(String, Tensor)> {
    let mut random = noise(seed);
    let raw = |activation: Activation, value: f32| match activation {
        Activation::None => value,
        _ => (value - 0.5) * 8.0,
    };
    match head {
        Head::Queries { logits, boxes, activation, format, .. } => {
            let columns =
                CLASSES + usize::from(*activation == Activation::Softmax { background: Background::Last });
            let (mut scores, mut all) = (Vec::new(), Vec::new());
            for _ in 0..IMAGES * rows {
                scores.extend((0..columns).map(|_| raw(*activation, random.next().unwrap())));
                all.extend(a_box(&mut random, *format));
            }
            vec![
                (logits.clone(), Tensor::from_f32([IMAGES, rows, columns], scores).unwrap()),
                (boxes.clone(), Tensor::from_f32([IMAGES, rows, 4], all).unwrap()),
            ]
        }
        Head::Dense { output, layout, objectness, format, activation, .. } => {
            let columns = 4 + usize::from(*objectness) + CLASSES;
            let mut all = vec![0.0; IMAGES * rows * columns];
            for image in 0..IMAGES {
                for row in 0..rows {
                    let mut numbers = a_box(&mut random, *format).to_vec();
                    numbers.extend((4..columns).map(|_| raw(*activation, random.next().unwrap())));
                    for (column, number) in numbers.into_iter().enumerate() {
                        let at = match layout {
                            DenseLayout::ChannelsFirst => (image * columns + column) * rows + row,
                            DenseLayout::RowsFirst => (image * rows + row) * columns + column,
                        };
                        all[at] = number;
                    }
                }
            }
            let shape = match layout {
                DenseLayout::ChannelsFirst => [IMAGES, columns, rows],
                DenseLayout::RowsFirst => [IMAGES, rows, columns],
            };
            vec![(output.clone(), Tensor::from_f32(shape, all).unwrap())]
        }
        _ => panic!("no outputs for {head:?}"),
    }
}

fn geometries(detector: &Detector) -> Vec<Geometry> {
    vec![Geometry::new(&detector.input, (64, 64)); IMAGES]
}

/// What decoding leaves with these options.
fn expected(detector: &Detector, outputs: &Named, options: &Suppression) -> Vec<Detections> {
    let agnostic = options.class_agnostic && iou(&detector.head).is_some();
    let thresholds = Thresholds {
        confidence: options.confidence,
        // No box overlaps another by more than all of it.
        iou: if agnostic { 1.0 } else { options.iou },
        max_detections: if agnostic { usize::MAX } else { options.top_k },
        clip: false,
    };
    let mut all = detector.decode(outputs, &geometries(detector), &thresholds).unwrap();
    for found in all.iter_mut().filter(|_| agnostic) {
        *found = suppress_all(std::mem::take(found), options.iou);
        found.truncate(options.top_k);
    }
    all
}

fn iou(head: &Head) -> Option<f32> {
    match head {
        Head::Queries { iou, .. } | Head::Dense { iou, .. } => *iou,
        _ => None,
    }
}

fn assert_same(found: &[Detections], expected: &[Detections], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{case}: {found:?}\n{expected:?}");
        for (a, b) in found.iter().zip(expected) {
            let corners = |d: &Detection| [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2];
            let moved = corners(a).iter().zip(corners(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let same = a.label == b.label && (a.score - b.score).abs() < 2e-6 && moved < 1e-4;
            assert!(same, "{case}: {a:?} is not {b:?}");
        }
    }
}

/// Runs a head's outputs through the graph and compares with decoding.
fn check(head: &Head, rows: usize, options: &Suppression, opset: i64) -> usize {
    let detector = detector(head.clone());
    detector.validate().unwrap();
    let outputs = outputs(head, rows, rows as u32 + 7);
    let shapes: Vec<(&str, Vec<usize>)> =
        outputs.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()[1..].to_vec())).collect();
    let (model, described) = suppress_in_graph(network(&shapes, opset), &detector, options).unwrap();
    let fed: Named = outputs.iter().map(|(name, tensor)| (format!("fed_{name}"), tensor.clone())).collect();
    let made = run_suppressed(&model, &fed);
    let case = format!("{head:?} {options:?} {rows} rows, operator set {opset}");

    let names: Vec<&str> = model.graph.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["num_dets", "det_boxes", "det_scores", "det_classes"], "{case}");
    let k = made[2].1.shape()[1];
    assert!(k <= options.top_k, "{case}");
    for ((name, tensor), shape) in made.iter().zip([vec![1], vec![k, 4], vec![k], vec![k]]) {
        assert_eq!(tensor.shape(), [vec![IMAGES], shape].concat(), "{case} {name}");
        let stated = model.graph.outputs.iter().find(|output| output.name == *name).unwrap();
        assert_eq!(stated.dtype, Some(tensor.dtype()), "{case} {name}");
    }
    let counts = made[0].1.to_i64().unwrap();
    let scores = made[2].1.to_f32().unwrap();
    for (count, scores) in counts.iter().zip(scores.chunks(k)) {
        assert_eq!(scores.iter().filter(|score| **score > 0.0).count() as i64, *count, "{case}");
    }

    let thresholds = Thresholds { clip: false, ..Thresholds::for_head(&described.head) };
    assert_eq!(thresholds.confidence, options.confidence);
    let found = described.decode(&made, &geometries(&described), &thresholds).unwrap();
    let expected = expected(&detector, &outputs, options);
    assert_same(&found, &expected, &case);
    found.iter().map(Vec::len).sum()
}

fn dense(
    layout: DenseLayout,
    objectness: bool,
    format: BoxFormat,
    activation: Activation,
    iou: Option<f32>,
) -> Head {
    Head::Dense { output: "rows".into(), layout, objectness, format, activation, iou, confidence: 0.25 }
}

const FORMATS: [BoxFormat; 5] = [
    BoxFormat::CxcywhNormalized,
    BoxFormat::XyxyNormalized,
    BoxFormat::CxcywhPixels,
    BoxFormat::XyxyPixels,
    BoxFormat::XyxyOriginal,
];

#[test]
fn dense_heads_of_every_kind() {
    let mut found = 0;
    for form in FORMS {
        for layout in [DenseLayout::ChannelsFirst, DenseLayout::RowsFirst] {
            for objectness in [false, true] {
                for activation in [Activation::None, Activation::Sigmoid] {
                    for (at, format) in FORMATS.into_iter().enumerate() {
                        for iou in [Some(0.6), None] {
                            let options = Suppression {
                                class_agnostic: at % 2 == 1,
                                top_k: [100, 7][at / 2 % 2],
                                ..Suppression::new(form)
                            };
                            let head = dense(layout, objectness, format, activation, iou);
                            found += check(&head, 40, &options, 17);
                        }
                    }
                }
            }
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn queries_of_every_kind() {
    let mut found = 0;
    let activations = [
        Activation::None,
        Activation::Sigmoid,
        Activation::Softmax { background: Background::None },
        Activation::Softmax { background: Background::Last },
    ];
    for form in FORMS {
        for activation in activations {
            let selections =
                [Selection::PerQuery, Selection::TopK { count: 25 }, Selection::TopK { count: 1000 }];
            for selection in selections {
                if matches!((activation, selection), (Activation::Softmax { .. }, Selection::TopK { .. })) {
                    continue;
                }
                for iou in [None, Some(0.3)] {
                    for class_agnostic in [false, true] {
                        let head = Head::Queries {
                            logits: "logits".into(),
                            boxes: "boxes".into(),
                            format: BoxFormat::CxcywhNormalized,
                            activation,
                            selection,
                            iou,
                            confidence: 0.5,
                        };
                        let options = Suppression { class_agnostic, top_k: 20, ..Suppression::new(form) };
                        found += check(&head, 30, &options, 17);
                    }
                }
            }
        }
    }
    assert!(found > 500, "{found}");
}

#[test]
fn thresholds_are_those_of_the_options() {
    let layout = DenseLayout::ChannelsFirst;
    let head = dense(layout, false, BoxFormat::CxcywhPixels, Activation::None, Some(0.6));
    for form in FORMS {
        let mut counts = Vec::new();
        for (confidence, iou, top_k) in
            [(0.25, 0.45, 1000), (0.9, 0.45, 1000), (0.25, 0.05, 1000), (0.0, 1.0, 3)]
        {
            let options = Suppression { confidence, iou, top_k, ..Suppression::new(form) };
            counts.push(check(&head, 40, &options, 17));
        }
        assert!(counts[0] > counts[1] && counts[0] > counts[2] && counts[3] == 3 * IMAGES, "{counts:?}");
    }
}

#[test]
fn more_rows_than_tensorrt_sorts() {
    let head = dense(DenseLayout::ChannelsFirst, true, BoxFormat::XyxyPixels, Activation::Sigmoid, Some(0.6));
    for form in FORMS {
        let options = Suppression { confidence: 0.5, top_k: 300, ..Suppression::new(form) };
        assert!(check(&head, MOST_ROWS + 500, &options, 17) > 10);
    }
    let queries = Head::queries(Activation::Sigmoid, Selection::TopK { count: 9000 });
    let options = Suppression { top_k: 300, ..Suppression::new(SuppressionForm::Onnx) };
    check(&queries, 1000, &options, 17);
}

#[test]
fn every_operator_set_is_written() {
    for opset in Builder::OPSETS {
        for form in FORMS {
            let head =
                dense(DenseLayout::RowsFirst, true, BoxFormat::CxcywhPixels, Activation::Sigmoid, Some(0.6));
            check(&head, 40, &Suppression::new(form), opset);
            check(
                &Head::queries(Activation::Softmax { background: Background::Last }, Selection::PerQuery),
                40,
                &Suppression::new(form),
                opset,
            );
        }
    }
}

#[test]
fn the_plug_in_is_what_tensorrt_reads() {
    let head = dense(DenseLayout::ChannelsFirst, false, BoxFormat::CxcywhPixels, Activation::None, Some(0.6));
    let model = network(&[("rows", vec![4 + CLASSES, 40])], 17);
    let options = Suppression { class_agnostic: true, ..Suppression::new(SuppressionForm::TensorRt) };
    let (model, described) = suppress_in_graph(model, &detector(head), &options).unwrap();
    let node = model.graph.nodes.last().unwrap();
    assert_eq!((node.op_type.as_str(), node.domain.as_str()), ("EfficientNMS_TRT", "TRT"));
    assert_eq!(model.opsets.get("TRT"), Some(&1));
    assert_eq!(node.outputs, ["num_dets", "det_boxes", "det_scores", "det_classes"]);
    let attributes: Vec<&str> = node.attributes.keys().map(String::as_str).collect();
    assert_eq!(
        attributes,
        [
            "background_class",
            "box_coding",
            "class_agnostic",
            "iou_threshold",
            "max_output_boxes",
            "plugin_namespace",
            "plugin_version",
            "score_activation",
            "score_threshold"
        ]
    );
    assert_eq!(node.text("plugin_version"), Some("1"));
    assert_eq!(node.int("max_output_boxes"), Some(40));
    let shape = |name: &String| model.graph.values[name].shape.clone().unwrap();
    assert_eq!(shape(&node.inputs[0]), [Dim::batch(), 40.into(), 4.into()]);
    assert_eq!(shape(&node.inputs[1]), [Dim::batch(), 40.into(), CLASSES.into()]);
    assert!(matches!(described.head, Head::EndToEndParts { clip: true, .. }));
    assert!(PluginCut::new(&model).unwrap().unwrap().after.is_none());
}

#[test]
fn a_head_that_is_end_to_end_stays() {
    let head = Head::EndToEnd { output: "rows".into(), format: BoxFormat::XyxyPixels };
    let (model, detector) = (network(&[("rows", vec![9, 6])], 17), detector(head));
    let options = Suppression::new(SuppressionForm::Onnx);
    let (after, described) = suppress_in_graph(model.clone(), &detector, &options).unwrap();
    assert_eq!((after, described), (model, detector));
}

#[test]
fn other_outputs_go_and_shared_values_stay() {
    let head = Head::queries(Activation::Sigmoid, Selection::TopK { count: 10 });
    let mut model =
        network(&[("logits", vec![8, CLASSES]), ("pred_boxes", vec![8, 4]), ("more", vec![2])], 17);
    model.graph.outputs.rotate_left(1);
    let (model, _) =
        suppress_in_graph(model, &detector(head.clone()), &Suppression::new(SuppressionForm::Onnx)).unwrap();
    assert_eq!(model.graph.outputs.len(), 4);
    let fed: Named = outputs(&head, 8, 3)
        .into_iter()
        .map(|(name, tensor)| (format!("fed_{name}"), tensor))
        .chain([("fed_more".to_owned(), Tensor::from_f32([IMAGES, 2], vec![0.0; 2 * IMAGES]).unwrap())])
        .collect();
    run(&model, &fed);
}

#[test]
fn what_does_not_fit_is_refused() {
    let head =
        || dense(DenseLayout::ChannelsFirst, false, BoxFormat::CxcywhPixels, Activation::None, Some(0.6));
    let usual = Suppression::new(SuppressionForm::Onnx);
    let fits = || network(&[("rows", vec![4 + CLASSES, 40])], 17);
    let told =
        |model: Model, options: Suppression| match suppress_in_graph(model, &detector(head()), &options) {
            Err(error @ Error::InGraph { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
    assert!(told(fits(), Suppression { top_k: 0, ..usual }).contains("0 detections"));
    assert!(told(fits(), Suppression { top_k: 4000, ..usual }).contains("4000 detections"));
    assert!(told(fits(), Suppression { iou: f32::NAN, ..usual }).contains("IoU"));
    assert!(told(fits(), Suppression { confidence: 1.5, ..usual }).contains("confidence"));
    assert!(told(network(&[("rows", vec![4 + CLASSES - 1, 40])], 17), usual).contains("4 classes"));
    assert!(told(network(&[("rows", vec![3, 40])], 17), usual).contains("0 classes"));
    assert!(told(network(&[("rows", vec![9, 40, 1])], 17), usual).contains("4 dimensions"));
    assert!(told(network(&[("other", vec![9, 40])], 17), usual).contains("`rows`"));
    let mut unknown = fits();
    unknown.graph.outputs[0].shape = Some(vec![Dim::Unknown; 3]);
    unknown.graph.inputs[0].shape = Some(vec![Dim::Unknown; 3]);
    unknown.graph.values.clear();
    assert!(told(unknown, usual).contains("not a known number"));
    let mut old = fits();
    old.opsets.insert(String::new(), 11);
    assert!(told(old, usual).contains("operator set 11"));
}
