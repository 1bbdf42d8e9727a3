//! Decoding against the post-processing of transformers and Ultralytics' rule (`fixtures/make_decode.py`).

use std::collections::BTreeMap;

use detect::{
    BoxFormat, ChannelOrder, Detection, Detector, ElementType, Error, Filter, Geometry, Head, ImageInput,
    Labels, Resize, Thresholds, Xyxy,
};
use graph::Tensor;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    head: Head,
    resize: Resize,
    labels: usize,
    outputs: BTreeMap<String, Values>,
    /// Height and width of each original image.
    sizes: Vec<(u32, u32)>,
    thresholds: Thresholds,
    expected: Vec<Vec<Row>>,
}

/// Label, score, corners.
type Row = (u32, f32, f32, f32, f32, f32);

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn detector(head: Head, resize: Resize, labels: usize) -> Detector {
    let labels = Labels::new((0..labels as u32).map(|id| (id, format!("class {id}")))).unwrap();
    let input = ImageInput {
        tensor: "images".into(),
        width: 640,
        height: 640,
        channels: ChannelOrder::Rgb,
        resize,
        filter: Filter::Bilinear,
        antialias: true,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: Some("orig_target_sizes".into()),
        frames: None,
    };
    let detector = Detector::new("test", labels, input, head);
    detector.validate().unwrap();
    detector
}

#[test]
fn detections_equal_the_references() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../fixtures/decode/cases.json")).unwrap();
    for case in cases {
        let detector = detector(case.head, case.resize, case.labels);
        let outputs: Vec<(String, Tensor)> = case
            .outputs
            .into_iter()
            .map(|(name, values)| (name, Tensor::from_f32(values.shape, values.values).unwrap()))
            .collect();
        let geometries: Vec<Geometry> =
            case.sizes.iter().map(|&(h, w)| Geometry::new(&detector.input, (w, h))).collect();
        let found = detector.decode(&outputs, &geometries, &case.thresholds).unwrap();
        assert_eq!(found.len(), case.expected.len());
        for (found, expected) in found.iter().zip(&case.expected) {
            let mut expected = expected.clone();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1));
            assert_eq!(found.len(), expected.len(), "{}", case.name);
            for (found, &(label, score, x1, y1, x2, y2)) in found.iter().zip(&expected) {
                assert_eq!(found.label, label, "{}", case.name);
                assert!((found.score - score).abs() < 1e-5, "{}: {} is not {score}", case.name, found.score);
                let corners = [found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2];
                for (found, expected) in corners.into_iter().zip([x1, y1, x2, y2]) {
                    assert!((found - expected).abs() < 2e-3, "{}: {found} is not {expected}", case.name);
                }
            }
        }
        println!("{:<20} {} detections", case.name, found.iter().map(Vec::len).sum::<usize>());
    }
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values.to_vec()).unwrap()
}

fn thresholds(confidence: f32) -> Thresholds {
    Thresholds { confidence, iou: 0.7, max_detections: 300, clip: false }
}

#[test]
fn heads_that_suppress_in_the_graph_lose_their_padding() {
    let rows = [
        [1.0, 2.0, 3.0, 4.0, 0.5, 1.0],
        [1.0, 2.0, 3.0, 4.0, 0.9, 0.0],
        [0.0; 6],
        [1.0, 2.0, 3.0, 4.0, 0.8, -1.0],
        [1.0, f32::NAN, 3.0, 4.0, 0.8, 1.0],
        [1.0, 2.0, 3.0, 4.0, f32::NAN, 1.0],
    ];
    let flat = rows.concat();
    let boxes: Vec<f32> = rows.iter().flat_map(|row| row[..4].to_vec()).collect();
    let scored: Vec<f32> = rows.iter().flat_map(|row| row[..5].to_vec()).collect();
    let scores: Vec<f32> = rows.iter().map(|row| row[4]).collect();
    let classes: Vec<i64> = rows.iter().map(|row| row[5] as i64).collect();
    let classes = Tensor::from_i64([1, 6], classes).unwrap();
    let outputs = [
        ("rows".to_owned(), tensor(&[1, 6, 6], &flat)),
        ("boxes".to_owned(), tensor(&[1, 6, 4], &boxes)),
        ("dets".to_owned(), tensor(&[1, 6, 5], &scored)),
        ("scores".to_owned(), tensor(&[1, 6, 1], &scores)),
        ("classes".to_owned(), classes),
        ("count".to_owned(), Tensor::from_i32([1, 1], vec![1]).unwrap()),
        ("absurd count".to_owned(), Tensor::from_i32([1], vec![-7]).unwrap()),
    ];
    let format = BoxFormat::XyxyOriginal;
    let parts = |count: Option<&str>, boxes: &str, scores: Option<&str>| Head::EndToEndParts {
        count: count.map(str::to_owned),
        boxes: boxes.into(),
        scores: scores.map(str::to_owned),
        classes: "classes".into(),
        format,
        confidence: 0.5,
        clip: false,
    };
    let all = vec![(0.9, 0), (0.5, 1)];
    let cases = [
        ("rows", Head::EndToEnd { output: "rows".into(), format }, 0.0, all.clone()),
        ("a threshold", Head::EndToEnd { output: "rows".into(), format }, 0.5, vec![(0.9, 0)]),
        ("below zero", Head::EndToEnd { output: "rows".into(), format }, -1.0, all.clone()),
        ("parts", parts(None, "boxes", Some("scores")), 0.0, all.clone()),
        ("parts with a count", parts(Some("count"), "boxes", Some("scores")), 0.0, vec![(0.5, 1)]),
        ("parts with an absurd count", parts(Some("absurd count"), "boxes", Some("scores")), 0.0, vec![]),
        ("scores in the boxes", parts(None, "dets", None), 0.0, all),
    ];
    for (name, head, confidence, expected) in cases {
        let detector = detector(head, Resize::Stretch, 2);
        let geometry = Geometry::new(&detector.input, (100, 50));
        let found = detector.decode(&outputs, &[geometry], &thresholds(confidence)).unwrap();
        let pairs: Vec<(f32, u32)> =
            found[0].iter().map(|detection| (detection.score, detection.label)).collect();
        assert_eq!(pairs, expected, "{name}");
        assert!(found[0].iter().all(|detection| detection.bbox == Xyxy::new(1.0, 2.0, 3.0, 4.0)), "{name}");
    }
}

#[test]
fn every_box_format_reaches_the_original_image() {
    // An image of 1280 × 320 in a letterbox of 640 × 640: half size, 240 rows above.
    let letterbox = Resize::Letterbox { fill: 114, centred: true, upscale: true };
    let cases = [
        (BoxFormat::CxcywhPixels, [320.0, 320.0, 64.0, 32.0]),
        (BoxFormat::XyxyPixels, [288.0, 304.0, 352.0, 336.0]),
        (BoxFormat::CxcywhNormalized, [0.5, 0.5, 0.1, 0.05]),
        (BoxFormat::XyxyNormalized, [0.45, 0.475, 0.55, 0.525]),
        (BoxFormat::XyxyOriginal, [576.0, 128.0, 704.0, 192.0]),
    ];
    for (format, numbers) in cases {
        let detector = detector(Head::EndToEnd { output: "rows".into(), format }, letterbox, 1);
        let row = [numbers[0], numbers[1], numbers[2], numbers[3], 0.9, 0.0];
        let geometry = Geometry::new(&detector.input, (1280, 320));
        let outputs = [("rows".to_owned(), tensor(&[1, 1, 6], &row))];
        let found = detector.decode(&outputs, &[geometry], &thresholds(0.5)).unwrap();
        let [Detection { bbox, .. }] = found[0][..] else { panic!("one detection") };
        let expected = [576.0, 128.0, 704.0, 192.0];
        for (found, expected) in [bbox.x1, bbox.y1, bbox.x2, bbox.y2].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{format:?}: {bbox:?}");
        }
    }
}

#[test]
fn outputs_of_another_shape_are_named() {
    let queries: Head = serde_json::from_str(
        r#"{"kind":"queries","logits":"logits","boxes":"boxes","format":"cxcywh_normalized",
            "activation":{"function":"softmax","background":"last"},"selection":{"rule":"per_query"}}"#,
    )
    .unwrap();
    let detector = detector(queries, Resize::Stretch, 3);
    let geometry = Geometry::new(&detector.input, (10, 10));
    let zeros = |shape: &[usize]| tensor(shape, &vec![0.0; shape.iter().product()]);
    let cases = [
        ("nothing", None, None, "no output `logits`"),
        (
            "two dimensions",
            Some(zeros(&[5, 4])),
            Some(zeros(&[1, 5, 4])),
            "expected [batch, queries, classes]",
        ),
        (
            "no classes",
            Some(zeros(&[1, 5, 0])),
            Some(zeros(&[1, 5, 4])),
            "expected [batch, queries, classes]",
        ),
        ("too few rows", Some(zeros(&[0, 5, 4])), Some(zeros(&[0, 5, 4])), "batch of at least 1"),
        ("other queries", Some(zeros(&[1, 5, 4])), Some(zeros(&[1, 6, 4])), "expected [batch, 5, 4]"),
        ("too few classes", Some(zeros(&[1, 5, 3])), Some(zeros(&[1, 5, 4])), "at least the 3 classes"),
        (
            "text",
            Some(zeros(&[1, 5, 4])),
            Some(
                Tensor::new(graph::DataType::Complex64, [1, 5, 4], bytes::Bytes::from(vec![0; 160])).unwrap(),
            ),
            "tensor `boxes`",
        ),
    ];
    for (name, logits, boxes, expected) in cases {
        let named = [("logits", logits), ("boxes", boxes)];
        let outputs: Vec<(String, Tensor)> =
            named.into_iter().filter_map(|(name, tensor)| Some((name.to_owned(), tensor?))).collect();
        let error = detector.decode(&outputs, &[geometry], &thresholds(0.5)).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        if matches!(error, Error::OutputShape { .. } | Error::MissingOutput { .. }) {
            assert!(error.hint().is_some());
        }
    }
    // More rows than images: a batch padded to a fixed size.
    let outputs = [("logits".to_owned(), zeros(&[4, 5, 4])), ("boxes".to_owned(), zeros(&[4, 5, 4]))];
    assert_eq!(detector.decode(&outputs, &[geometry], &thresholds(0.1)).unwrap().len(), 1);
}

#[test]
fn undefined_numbers_are_left_out() {
    let head = |activation: &str, rule: &str| -> Head {
        serde_json::from_str(&format!(
            r#"{{"kind":"queries","logits":"logits","boxes":"boxes","format":"xyxy_pixels",
                "activation":{activation},"selection":{rule}}}"#
        ))
        .unwrap()
    };
    let nan = f32::NAN;
    let logits = tensor(&[1, 4, 2], &[nan, nan, 9.0, 1.0, 9.0, nan, f32::INFINITY, 0.0]);
    let boxes =
        tensor(&[1, 4, 4], &[0.0, 0.0, 5.0, 5.0, 0.0, 0.0, 5.0, nan, 0.0, 0.0, 5.0, 5.0, 1.0, 1.0, 5.0, 5.0]);
    let outputs = [("logits".to_owned(), logits), ("boxes".to_owned(), boxes)];
    let cases = [
        (r#"{"function":"sigmoid"}"#, r#"{"rule":"top_k","count":10}"#, 2),
        (r#"{"function":"sigmoid"}"#, r#"{"rule":"per_query"}"#, 2),
        (r#"{"function":"softmax","background":"none"}"#, r#"{"rule":"per_query"}"#, 0),
    ];
    for (activation, rule, count) in cases {
        let detector = detector(head(activation, rule), Resize::Stretch, 2);
        let geometry = Geometry::new(&detector.input, (10, 10));
        let found = detector.decode(&outputs, &[geometry], &thresholds(0.6)).unwrap();
        assert_eq!(found[0].len(), count, "{activation} {rule}: {found:?}");
        assert!(found[0].iter().all(|detection| detection.score <= 1.0 && detection.bbox.is_finite()));
    }
}
