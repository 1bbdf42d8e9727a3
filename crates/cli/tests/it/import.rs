//! The main job: a package that is whole, a second run that reuses, a manifest that does not depend on the run.

use std::fs;

use crate::program::{Ran, import_arguments, sightline};

/// Files that every package of this import holds.
const FILES: &[&str] = &[
    "model/shapes.onnx",
    "config/labels.txt",
    "config/detector.json",
    "onnxruntime/python/detect.py",
    "onnxruntime/rust/src/main.rs",
    "reports/benchmark_report.md",
    "reports/benchmark_report.html",
    "reports/benchmark_report_shapes.pdf",
    "reports/benchmark_data.json",
    "samples/000000.jpg",
    "manifest.json",
    "measurements.json",
];

#[test]
fn an_import_leaves_a_whole_package_and_a_second_one_reuses_every_step() {
    let home = tempfile::tempdir().unwrap();
    let first = Ran::of(sightline(home.path()).args(import_arguments()));
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let package = home.path().join("models/shapes");
    for file in FILES {
        assert!(package.join(file).metadata().is_ok_and(|meta| meta.len() > 0), "{file}");
    }
    let html = fs::read_to_string(package.join("reports/benchmark_report.html")).unwrap();
    assert_eq!(html.matches("data:image/png").count(), 5);
    let manifest = fs::read(package.join("manifest.json")).unwrap();

    let second = Ran::of(sightline(home.path()).args(import_arguments()));
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    for step in ["acquire", "export", "verify", "evaluate", "deliver", "measure", "report"] {
        let said =
            second.stderr.lines().any(|line| line.trim_start().starts_with(step) && line.ends_with("reused"));
        assert!(said, "{step} in:\n{}", second.stderr);
    }
    assert_eq!(fs::read(package.join("manifest.json")).unwrap(), manifest);

    let planned = Ran::of(sightline(home.path()).args(import_arguments()).arg("--dry-run"));
    assert_eq!(planned.stdout.matches("reuse").count(), 7, "{}", planned.stdout);
    let changed =
        Ran::of(sightline(home.path()).args(import_arguments()).args(["--dry-run", "--opset", "18"]));
    assert!(changed.stdout.contains("opset was null, is 18"), "{}", changed.stdout);
    assert!(changed.stdout.contains("after export"), "{}", changed.stdout);
}

#[test]
fn two_imports_of_the_same_input_give_the_same_manifest() {
    let manifests = [(); 2].map(|()| {
        let home = tempfile::tempdir().unwrap();
        let ran = Ran::of(sightline(home.path()).args(import_arguments()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        fs::read(home.path().join("models/shapes/manifest.json")).unwrap()
    });
    assert!(manifests[0] == manifests[1]);
}

#[test]
fn what_a_user_adds_survives_and_a_damaged_store_mends() {
    let home = tempfile::tempdir().unwrap();
    let run = || {
        let ran = Ran::of(sightline(home.path()).args(import_arguments()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    };
    run();
    let package = home.path().join("models/shapes");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(package.join("manifest.json")).unwrap()).unwrap();
    let model =
        manifest["artefacts"].as_array().unwrap().iter().find(|one| one["path"] == "model/shapes.onnx");
    let blob = home.path().join("models/.sightline/blobs").join(model.unwrap()["sha256"].as_str().unwrap());
    let whole = fs::read(&blob).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&blob, damaged).unwrap();
    fs::write(package.join("model/mine.engine"), "built since").unwrap();
    run();
    assert!(fs::read(package.join("model/shapes.onnx")).unwrap() == whole);
    let cleaned = Ran::of(sightline(home.path()).arg("clean"));
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
    run();
    assert_eq!(fs::read_to_string(package.join("model/mine.engine")).unwrap(), "built since");

    let model = package.join("model/shapes.onnx");
    let mut changed = whole;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::remove_file(&model).unwrap();
    fs::write(&model, changed).unwrap();
    let verified = Ran::of(sightline(home.path()).args(["verify", "models/shapes", "--limit", "1"]));
    assert_eq!(verified.code, Some(40), "{}", verified.stdout);
    assert!(verified.stdout.contains("differ from the manifest"), "{}", verified.stdout);
}

#[test]
fn the_summary_is_one_json_document() {
    let home = tempfile::tempdir().unwrap();
    let json = Ran::of(sightline(home.path()).args(import_arguments()).arg("--json")).json();
    assert_eq!(json["passed"], true);
    assert_eq!(json["manifest"]["licence"]["id"], "apache-2.0");
    let map = json["manifest"]["accuracy"][0]["metrics"]["map"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&map), "{map}");
}
