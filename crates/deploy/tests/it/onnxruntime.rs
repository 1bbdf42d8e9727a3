//! The target `onnxruntime`: its files as stored, and its Python program run on real ONNX Runtime.

use std::process::Command;

use detect::{BoxFormat, Frames, Head, Matrix};
use serde::Deserialize;

use crate::{golden, variants};

#[test]
fn the_tree_is_the_stored_one() {
    for name in variants::NAMES {
        let tree = variants::tree(name);
        let files: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        let model = format!("onnxruntime/{name}.onnx");
        let mut expected = vec![
            "onnxruntime/README.md",
            "onnxruntime/detector.json",
            "onnxruntime/python/detect.py",
            "onnxruntime/rust/Cargo.toml",
            "onnxruntime/rust/src/main.rs",
            &model,
        ];
        expected.sort_unstable();
        assert_eq!(files, expected);
        for file in ["README.md", "rust/Cargo.toml", "rust/src/main.rs"] {
            let text = std::str::from_utf8(tree.bytes(&format!("onnxruntime/{file}")).unwrap()).unwrap();
            let left =
                ["NAME", "MODEL", "WIDTH", "DECODE", "INPUT"].map(|key| text.contains(&format!("@{key}@")));
            assert_eq!(left, [false; 5], "{name}: {file} has an unfilled place");
            golden::check(&format!("onnxruntime/{name}/{file}"), text);
        }
    }
}

/// The detector `parts` with preprocessing in its graph.
#[test]
fn graphs_that_take_raw_frames_are_fed_them() {
    let cases = [("rgb", Frames::Rgb), ("bgr", Frames::Bgr), ("nv12", Frames::nv12(Matrix::Bt709))];
    for (name, frames) in cases {
        let mut detector = variants::detector("parts");
        detector.input.tensor = frames.tensor().into();
        (detector.input.mask, detector.input.image_size) = (None, None);
        detector.input.frames = Some(frames);
        if let Head::EndToEndParts { format, .. } = &mut detector.head {
            *format = BoxFormat::XyxyOriginal;
        }
        detector.validate().unwrap();
        let tree = variants::tree_of(name, &detector);
        for file in ["README.md", "rust/src/main.rs"] {
            let text = std::str::from_utf8(tree.bytes(&format!("onnxruntime/{file}")).unwrap()).unwrap();
            golden::check(&format!("onnxruntime/frames_{name}/{file}"), text);
        }
    }
}

#[derive(Deserialize)]
struct Found {
    detections: Vec<FoundDetection>,
}

#[derive(Deserialize)]
struct FoundDetection {
    label: u32,
    name: String,
    score: f32,
    #[serde(rename = "box")]
    corners: [f32; 4],
}

#[test]
fn the_python_program_finds_the_same_boxes() {
    let probe = Command::new("python3").args(["-c", "import onnxruntime, numpy, PIL"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: the_python_program_finds_the_same_boxes: no `python3` with onnxruntime, numpy and Pillow"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pictures = variants::pictures();
    for (file, picture) in &pictures {
        picture.save(folder.path().join(file)).unwrap();
    }
    for name in variants::NAMES {
        let root = folder.path().join(name);
        variants::write(name, &root);
        let output = Command::new("python3")
            .arg(root.join("onnxruntime/python/detect.py"))
            .arg("--json")
            .args(pictures.iter().map(|(file, _)| folder.path().join(file)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let results: Vec<Found> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results.len(), pictures.len());
        for (result, (file, picture)) in results.iter().zip(&pictures) {
            let expected = variants::expected(name, picture);
            assert!(expected.len() > 2, "{name} on {file} finds too little to compare: {}", expected.len());
            assert_eq!(result.detections.len(), expected.len(), "{name} on {file}");
            let labels = variants::detector(name).labels;
            for (found, expected) in result.detections.iter().zip(&expected) {
                assert_eq!(found.label, expected.label, "{name} on {file}");
                assert_eq!(found.name, labels.display(expected.label));
                assert!(
                    (found.score - expected.score).abs() < 2e-3,
                    "{name} on {file}: {} {}",
                    found.score,
                    expected.score
                );
                let bbox = expected.bbox;
                for (a, b) in found.corners.iter().zip([bbox.x1, bbox.y1, bbox.x2, bbox.y2]) {
                    assert!((a - b).abs() < 0.02, "{name} on {file}: {:?} {bbox:?}", found.corners);
                }
            }
        }
    }
}
