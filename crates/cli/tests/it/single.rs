//! The single jobs: inspect, export, detect, eval, bench.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ran, example, sightline};

/// The example's ONNX file, exported.
fn exported(home: &Path) -> String {
    let source = example();
    let json =
        Ran::of(sightline(home).args(["export", source.to_str().unwrap(), "--out", ".", "--json"])).json();
    assert_eq!(json["outputs"][0]["name"], "logits");
    json["path"].as_str().unwrap().to_owned()
}

#[test]
fn inspect_tells_what_a_file_is() {
    let home = tempfile::tempdir().unwrap();
    let onnx = exported(home.path());
    let inspect = |file: &str| Ran::of(sightline(home.path()).args(["inspect", file, "--json"])).json();
    let json = inspect(&onnx);
    assert_eq!(json["kind"], "onnx");
    assert_eq!((json["opset"].as_i64(), json["ir_version"].as_i64()), (Some(17), Some(8)));
    assert_eq!(json["inputs"][0]["shape"], serde_json::json!(["batch", 3, 320, 320]));
    assert!(json["flops"].as_u64().unwrap() > 1_000_000_000);
    let weights = example().join("model.safetensors");
    let json = inspect(weights.to_str().unwrap());
    assert_eq!(json["kind"], "checkpoint");
    assert!(json["parameters"].as_u64().unwrap() > 5_000_000);
    fs::write(home.path().join("cache"), "TRT-100300-EntropyCalibration2\nimages: 3c010a14\n").unwrap();
    assert_eq!(inspect("cache")["kind"], "calibration_cache");
    fs::write(home.path().join("notes.txt"), "nothing to see").unwrap();
    let unknown = Ran::of(sightline(home.path()).args(["inspect", "notes.txt"]));
    assert_eq!(unknown.code, Some(11), "{}", unknown.stderr);
}

#[test]
fn detect_finds_and_draws() {
    let home = tempfile::tempdir().unwrap();
    let onnx = exported(home.path());
    let image = example().join("val/images/000001.jpg");
    let arguments = ["detect", &onnx, image.to_str().unwrap(), "--draw", "drawn", "--json"];
    let json = Ran::of(sightline(home.path()).args(arguments)).json();
    let found = json[0]["detections"].as_array().unwrap();
    assert!(
        found.iter().any(|one| one["label"] == "square" && one["score"].as_f64().unwrap() > 0.9),
        "{json}"
    );
    assert!(fs::metadata(home.path().join("drawn/000001.jpg")).unwrap().len() > 10_000);
    let missing = Ran::of(sightline(home.path()).args(["detect", &onnx, "no.jpg"]));
    assert_eq!(missing.code, Some(10), "{}", missing.stderr);
}

#[test]
fn eval_gives_the_twelve_numbers() {
    let home = tempfile::tempdir().unwrap();
    let onnx = exported(home.path());
    let (annotations, images) = (example().join("val/instances.json"), example().join("val/images"));
    let mut command = sightline(home.path());
    command.args(["eval", &onnx, "--json", "--annotations"]).arg(annotations).arg("--images").arg(images);
    let json = Ran::of(&mut command).json();
    let keys = ["map", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"];
    for key in keys.iter().chain(&["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]) {
        assert!(json[key].as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)), "{key} in {json}");
    }
    // PyTorch's own score on these 24 scenes, by the Hugging Face processor and pycocotools.
    assert!((json["map"].as_f64().unwrap() - 0.732).abs() < 0.002, "{}", json["map"]);
}

#[test]
fn bench_states_its_protocol() {
    let home = tempfile::tempdir().unwrap();
    let onnx = exported(home.path());
    let arguments = ["bench", &onnx, "--json", "--batch", "1,2", "--count", "2", "--warm-up", "1"];
    let json: Value = Ran::of(sightline(home.path()).args(arguments)).json();
    let batches: Vec<i64> = json["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["protocol"]["batch"].as_i64().unwrap())
        .collect();
    assert_eq!(batches, [1, 2]);
    assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
}
