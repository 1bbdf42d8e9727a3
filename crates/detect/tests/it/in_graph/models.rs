//! The dense detector of `examples` on its images: frames in, detections out, against the code around the graph.

use std::path::{Path, PathBuf};

use detect::in_graph::{Suppression, SuppressionForm, preprocess_in_graph, suppress_in_graph};
use detect::metrics::{Agreement, AgreementBounds};
use detect::{Detector, Frames, Image, Thresholds, preprocess};
use graph::Model;

use super::{run, run_suppressed};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn dense() -> (Model, Detector) {
    let bytes = std::fs::read(examples().join("shapes-dense/model.onnx")).unwrap();
    let model = graph::onnx::read(bytes.into(), &|_| Err("no external data".into())).unwrap();
    let detector = Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap();
    (model, detector)
}

fn images(count: usize) -> Vec<Image> {
    let folder = examples().join("shapes-rtdetr/val/images");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().take(count).map(|path| Image::decode(&std::fs::read(path).unwrap()).unwrap()).collect()
}

#[test]
fn frames_in_and_detections_out() {
    let (model, detector) = dense();
    let options = |form| Suppression { iou: 0.6, top_k: 300, ..Suppression::new(form) };
    let (framed, described) = preprocess_in_graph(model.clone(), &detector, Frames::Rgb).unwrap();
    let mut graphs = vec![("frames", framed.clone(), described.clone())];
    for form in [SuppressionForm::Onnx, SuppressionForm::TensorRt] {
        let (whole, about) = suppress_in_graph(framed.clone(), &described, &options(form)).unwrap();
        graphs.push(("frames, then suppression", whole, about));
        let (bare, about) = suppress_in_graph(model.clone(), &detector, &options(form)).unwrap();
        graphs.push(("suppression", bare.clone(), about.clone()));
        let (whole, about) = preprocess_in_graph(bare, &about, Frames::Bgr).unwrap();
        graphs.push(("suppression, then frames", whole, about));
    }
    let bounds =
        AgreementBounds { confidence: 0.25, same_iou: 0.9, moved_iou: 0.999, score_difference: 1e-4 };
    for image in images(6) {
        let fed = preprocess(&detector.input, &[&image]).unwrap();
        let thresholds = Thresholds { confidence: 0.25, iou: 0.6, max_detections: 300, clip: true };
        let raw = run(&model, &fed.inputs);
        let expected = detector.decode(&raw, &fed.geometries, &thresholds).unwrap();
        assert!(!expected[0].is_empty());
        for (name, graph, described) in &graphs {
            let fed = preprocess(&described.input, &[&image]).unwrap();
            let outputs = run_suppressed(graph, &fed.inputs);
            let found = described.decode(&outputs, &fed.geometries, &thresholds).unwrap();
            let agreement = Agreement::new(&expected[0], &found[0], &bounds);
            assert!(agreement.is_complete() && found[0].len() == expected[0].len(), "{name}: {agreement:?}");
        }
    }
}

#[test]
fn rows_of_a_batch_stay_apart() {
    let (model, detector) = dense();
    let (framed, described) = preprocess_in_graph(model, &detector, Frames::Rgb).unwrap();
    let options = Suppression::new(SuppressionForm::Onnx);
    let (whole, about) = suppress_in_graph(framed, &described, &options).unwrap();
    let all = images(24);
    let size = |image: &Image| (image.width(), image.height());
    let alike: Vec<&Image> = all.iter().filter(|image| size(image) == size(&all[0])).take(3).collect();
    let turned: Vec<Image> = alike
        .iter()
        .map(|image| {
            let pixels = image.pixels().as_chunks::<3>().0.iter().rev().flatten().copied().collect();
            Image::new(image.width(), image.height(), pixels).unwrap()
        })
        .collect();
    let batch: Vec<&Image> = alike.into_iter().chain(&turned).collect();
    assert!(batch.len() >= 2);
    let thresholds = Thresholds::for_head(&about.head);
    let found = |images: &[&Image]| {
        let fed = preprocess(&about.input, images).unwrap();
        about.decode(&run_suppressed(&whole, &fed.inputs), &fed.geometries, &thresholds).unwrap()
    };
    let bounds =
        AgreementBounds { confidence: 0.25, same_iou: 0.9, moved_iou: 0.999, score_difference: 1e-4 };
    let mut objects = 0;
    for (together, image) in found(&batch).iter().zip(&batch) {
        let alone = &found(&[image])[0];
        let agreement = Agreement::new(alone, together, &bounds);
        assert!(agreement.is_complete() && alone.len() == together.len(), "{agreement:?}");
        objects += alone.len();
    }
    assert!(objects > 3);
}
