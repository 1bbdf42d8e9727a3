//! `manifest.json` and `measurements.json`: what is written reads back, and nothing else is accepted.

use deploy::{Error, Manifest, Measurements, Precision, Verdict, config_files, paths};

use crate::data;

#[test]
fn files_read_back() {
    for data in [data::plain(), data::complete()] {
        let manifest = data.manifest.to_json();
        assert_eq!(Manifest::from_json(&manifest).unwrap(), data.manifest);
        assert_eq!(manifest, data.manifest.clone().to_json(), "the same bytes twice");
        let measurements = data.measurements.to_json();
        assert_eq!(Measurements::from_json(&measurements).unwrap(), data.measurements);
    }
}

#[test]
fn nothing_of_a_run_is_in_the_manifest() {
    // Both packages have the same manifest although one was measured on another machine.
    assert_eq!(data::plain().manifest.to_json(), data::complete().manifest.to_json());
    let manifest = data::plain().manifest.to_json();
    for word in ["seconds", "_ms", "cpu", "2026", "cores"] {
        assert!(!manifest.contains(word), "{word}");
    }
}

#[test]
fn other_forms_are_refused() {
    let manifest = data::plain().manifest.to_json();
    let newer = manifest.replacen("\"schema\": 1", "\"schema\": 2", 1);
    assert!(matches!(Manifest::from_json(&newer), Err(Error::Schema { found: 2, expected: 1, .. })));
    assert!(matches!(Manifest::from_json("{"), Err(Error::Json { file: "manifest.json", .. })));
    let renamed = manifest.replacen("\"shapes-rtdetr\"", "\"../shapes\"", 1);
    assert!(matches!(Manifest::from_json(&renamed), Err(Error::Json { .. })));
    let misfit = manifest.replacen("\"width\": 320", "\"width\": 0", 1);
    assert!(matches!(Manifest::from_json(&misfit), Err(Error::Json { .. })));
    assert!(matches!(Measurements::from_json("[]"), Err(Error::Json { file: "measurements.json", .. })));
}

#[test]
fn a_failed_check_fails_the_package() {
    let mut manifest = data::plain().manifest;
    assert!(manifest.passed(), "a check that did not run is no failure");
    manifest.checks[0].verdict = Verdict::Fail;
    assert!(!manifest.passed());
}

#[test]
fn config_and_paths_follow_the_layout() {
    let data = data::plain();
    let tree = config_files(&data.manifest.detector).unwrap();
    assert_eq!(tree.bytes("config/labels.txt").unwrap(), data.manifest.detector.labels.to_lines().as_bytes());
    let detector = std::str::from_utf8(tree.bytes("config/detector.json").unwrap()).unwrap();
    assert_eq!(detect::Detector::from_json(detector).unwrap(), data.manifest.detector);
    let name = &data.manifest.name;
    let models =
        [Precision::Fp32, Precision::Fp16, Precision::Int8].map(|precision| paths::model(name, precision));
    assert_eq!(
        models,
        ["model/shapes-rtdetr.onnx", "model/shapes-rtdetr_fp16.onnx", "model/shapes-rtdetr_int8.onnx"]
    );
    assert_eq!(paths::engine(name, 64), "benchmarks/engines/shapes-rtdetr_dynamic_b64.engine");
    assert_eq!(paths::pdf_report(name), "reports/benchmark_report_shapes-rtdetr.pdf");
}
