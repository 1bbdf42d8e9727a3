//! `optimize` as a user runs it, on the trained detectors of the examples.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ran, example, sightline};

fn dense() -> String {
    example().join("../shapes-dense/model.onnx").to_str().unwrap().to_owned()
}

fn optimize(home: &Path, model: &str, more: &[&str]) -> Ran {
    Ran::of(sightline(home).args(["optimize", model, "--json"]).args(more))
}

fn inspect(home: &Path, model: &str) -> Value {
    Ran::of(sightline(home).args(["inspect", model, "--json"])).json()
}

#[test]
fn simpler_graphs_give_the_same_outputs() {
    let home = tempfile::tempdir().unwrap();
    let source = example();
    let exported =
        Ran::of(sightline(home.path()).args(["export", source.to_str().unwrap(), "--out", ".", "--json"]))
            .json();
    for model in [dense(), exported["path"].as_str().unwrap().to_owned()] {
        let made = optimize(home.path(), &model, &["--out", "new/simple.onnx"]).json();
        assert!(made["nodes_after"].as_u64() <= made["nodes_before"].as_u64(), "{made}");
        assert_eq!(made["check"]["verdict"], "same", "{made}");
        let facts = inspect(home.path(), "new/simple.onnx");
        assert_eq!(facts["nodes"], made["nodes_after"]);
        assert_eq!(facts["inputs"], inspect(home.path(), &model)["inputs"]);
        assert_eq!(facts["metadata"], inspect(home.path(), &model)["metadata"]);
        let again = optimize(home.path(), "new/simple.onnx", &["--out", "again.onnx"]).json();
        assert_eq!(again["nodes_after"], made["nodes_after"], "a second run finds more");
    }
}

#[test]
fn batch_operator_set_names_and_weights_are_set() {
    let home = tempfile::tempdir().unwrap();
    let input = inspect(home.path(), &dense())["inputs"][0]["name"].as_str().unwrap().to_owned();
    let rename = format!("{input}=pixels");
    let options =
        ["--batch", "2", "--opset", "18", "--rename", &rename, "--external-data", "split", "--out", "b.onnx"];
    let made = optimize(home.path(), &dense(), &options).json();
    assert_eq!(made["check"]["verdict"], "same", "{made}");
    let facts = inspect(home.path(), "b.onnx");
    assert_eq!((&facts["opset"], &facts["inputs"][0]["name"]), (&18.into(), &"pixels".into()));
    assert_eq!(facts["inputs"][0]["shape"][0], 2);
    assert!(home.path().join("b.onnx.data").metadata().unwrap().len() > 1000);
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        names.iter().filter(|name| name.to_string_lossy().starts_with(".partial")).count(),
        0,
        "{names:?}"
    );
    let folded = optimize(
        home.path(),
        "b.onnx",
        &["--batch", "dynamic", "--external-data", "fold", "--out", "c.onnx"],
    );
    assert_eq!(folded.json()["check"]["verdict"], "same");
    assert_eq!(inspect(home.path(), "c.onnx")["inputs"][0]["shape"][0], "batch");
}

#[test]
fn wrong_options_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let refused: [(&[&str], i32); 7] = [
        (&["--batch", "none"], 2),
        (&["--opset", "12"], 20),
        (&["--rename", "nothing=x"], 20),
        (&["--extract-outputs", "nothing"], 20),
        (&["--freeze", "nothing=1"], 2),
        (&["--rename", "x"], 2),
        (&["--backend", "abacus"], 30),
    ];
    for (options, code) in refused {
        let ran = optimize(home.path(), &dense(), &[options, &["--out", "refused.onnx"]].concat());
        assert_eq!(ran.code, Some(code), "{options:?}: {}", ran.stderr);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{options:?}");
    }
    let missing = optimize(home.path(), "missing.onnx", &[]);
    assert_eq!(missing.code, Some(10), "{}", missing.stderr);
}

#[test]
fn the_table_of_passes_is_printed() {
    let home = tempfile::tempdir().unwrap();
    let tables = Ran::of(sightline(home.path()).args(["list", "passes", "--json"])).json();
    let names: Vec<&str> =
        tables["passes"].as_array().unwrap().iter().map(|pass| pass["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"simplify") && names.contains(&"fuse-conv"), "{names:?}");
    assert!(tables.get("targets").is_none());
}

#[test]
fn half_precision_keeps_what_is_found() {
    let home = tempfile::tempdir().unwrap();
    let (images, annotations) = (example().join("val/images"), example().join("val/instances.json"));
    let images = images.to_str().unwrap();
    let map = |model: &str| {
        let mut command = sightline(home.path());
        command.args(["eval", model, "--json", "--images", images, "--annotations"]).arg(&annotations);
        Ran::of(&mut command).json()["map"].as_f64().unwrap()
    };
    let before = map(&dense());
    for (more, input) in [(&["--calibrate", images][..], "float32"), (&["--half-io"], "float16")] {
        let made =
            optimize(home.path(), &dense(), &[&["--fp16", "--out", "half.onnx"], more].concat()).json();
        assert!(made["flops_share"].as_f64().unwrap() > 0.95, "{made}");
        assert!(made["moved"].as_f64().unwrap() < 0.02, "{made}");
        let facts = inspect(home.path(), "half.onnx");
        assert_eq!(facts["inputs"][0]["dtype"], input, "{facts}");
        assert!((map("half.onnx") - before).abs() < 0.005, "{input}");
    }
    // What is rounded already is no beginning, and other passes are another run.
    let again = optimize(home.path(), "half.onnx", &["--fp16", "--out", "again.onnx"]);
    assert_eq!(again.code, Some(20), "{}", again.stderr);
    let both = optimize(home.path(), &dense(), &["--fp16", "--opset", "18", "--out", "again.onnx"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    let unknown = optimize(home.path(), &dense(), &["--fp16", "--float", "no_such", "--out", "again.onnx"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    let idle = optimize(home.path(), &dense(), &["--calibrate", images, "--out", "again.onnx"]);
    assert_eq!(idle.code, Some(2), "calibration of nothing: {}", idle.stderr);
    assert!(!home.path().join("again.onnx").exists());
}
