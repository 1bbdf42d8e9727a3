//! INT8 as a user asks for it, on the two trained detectors of the examples.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ran, example, sightline};

fn quantize(home: &Path, model: &str, out: &str, more: &[&str]) -> Ran {
    let images = example().join("val/images");
    let mut command = sightline(home);
    command.args(["quantize", model, "--out", out, "--json", "--calibrate"]).arg(images);
    if !more.contains(&"--count") {
        command.args(["--count", "12"]);
    }
    Ran::of(command.args(more))
}

fn map(home: &Path, model: &str) -> f64 {
    let (annotations, images) = (example().join("val/instances.json"), example().join("val/images"));
    let mut command = sightline(home);
    command.args(["eval", model, "--json", "--annotations"]).arg(annotations).arg("--images").arg(images);
    Ran::of(&mut command).json()["map"].as_f64().unwrap()
}

#[test]
fn eight_bits_keep_the_accuracy() {
    let home = tempfile::tempdir().unwrap();
    let source = example();
    let exported =
        Ran::of(sightline(home.path()).args(["export", source.to_str().unwrap(), "--out", ".", "--json"]))
            .json();
    let queries = exported["path"].as_str().unwrap().to_owned();
    let dense = example().join("../shapes-dense/model.onnx").to_str().unwrap().to_owned();
    for (model, out) in [(queries, "queries"), (dense, "dense")] {
        let json = quantize(home.path(), &model, out, &[]).json();
        let (before, after) = (map(home.path(), &model), map(home.path(), json["path"].as_str().unwrap()));
        assert!(before > 0.7 && after > before - 0.01, "{out}: {before} became {after}");
        assert_eq!(json["images"].as_array().unwrap().len(), 12);
        let cache = fs::read_to_string(home.path().join(out).join("calibration.cache")).unwrap();
        assert!(cache.starts_with("TRT-100300-EntropyCalibration2\n"), "{cache:.60}");
        let facts =
            Ran::of(sightline(home.path()).args(["inspect", json["path"].as_str().unwrap(), "--json"]));
        let precisions: Vec<Value> = facts.json()["precisions"].as_array().unwrap().clone();
        let int8 = precisions.iter().find(|share| share["dtype"] == "int8").unwrap();
        assert!(int8["parameter_share"].as_f64().unwrap() > 0.75, "{int8}");
        if out == "queries" {
            assert!(json["flops_share"].as_f64().unwrap() > 0.9, "{json}");
        }
    }
}

#[test]
fn the_same_images_give_the_same_file_and_wrong_ones_none() {
    let home = tempfile::tempdir().unwrap();
    let dense = example().join("../shapes-dense/model.onnx").to_str().unwrap().to_owned();
    let twice = ["one", "two"].map(|out| {
        let json = quantize(home.path(), &dense, out, &["--count", "2", "--seed", "3"]).json();
        fs::read(home.path().join(json["path"].as_str().unwrap())).unwrap()
    });
    assert!(twice[0] == twice[1]);
    let refused: [(&[&str], i32); 3] =
        [(&["--method", "guess"], 2), (&["--float", "no_such_layer"], 2), (&["--backend", "abacus"], 30)];
    for (more, code) in refused {
        let ran = quantize(home.path(), &dense, "refused", more);
        assert_eq!(ran.code, Some(code), "{more:?}: {}", ran.stderr);
        assert_eq!(fs::read_dir(home.path().join("refused")).map_or(0, Iterator::count), 0, "{more:?}");
    }
    let again = quantize(home.path(), "one/model_int8.onnx", "again", &[]);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
}
