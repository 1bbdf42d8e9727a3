//! Preprocessing and suppression inside the graph as a user asks for them, on the two trained detectors of the examples.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Ran, example, import_arguments, sightline};

fn dense() -> PathBuf {
    example().join("../shapes-dense/model.onnx")
}

/// The dense detector with other words in its description: as many letters, so that the file stays whole.
fn reworded(home: &Path, name: &str, changes: &[(&str, &str)]) -> String {
    let mut bytes = fs::read(dense()).unwrap();
    for (from, to) in changes {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(home.join(name), bytes).unwrap();
    name.to_owned()
}

/// Without images of its own, `optimize` compares on the built-in scenes.
fn optimize(home: &Path, model: &str, options: &[&str]) -> Ran {
    Ran::of(sightline(home).args(["optimize", model, "--json"]).args(options))
}

fn on_images(home: &Path, model: &str, options: &[&str]) -> Ran {
    let images = example().join("val/images");
    let compared = ["--images", images.to_str().unwrap(), "--count", "3"];
    optimize(home, model, &[options, &compared].concat())
}

fn eval(home: &Path, model: &str) -> Ran {
    let (annotations, images) = (example().join("val/instances.json"), example().join("val/images"));
    let mut command = sightline(home);
    command.args(["eval", model, "--json", "--limit", "4", "--annotations"]).arg(annotations);
    Ran::of(command.arg("--images").arg(images))
}

fn map(home: &Path, model: &str) -> f64 {
    eval(home, model).json()["map"].as_f64().unwrap()
}

fn detector(home: &Path, model: &str) -> Value {
    Ran::of(sightline(home).args(["inspect", model, "--json"])).json()["detector"].clone()
}

fn assert_found_again(made: &Value) {
    let check = &made["check"];
    assert_eq!(check["verdict"], "pass", "{made}");
    assert!(check["matched"].as_u64().unwrap() > 5, "{check}");
    for count in ["missed", "extra", "moved", "rescored"] {
        assert_eq!(check[count], 0, "{check}");
    }
    assert!(check["max_score_difference"].as_f64().unwrap() < 1e-4, "{check}");
    assert!(check["min_iou"].as_f64().unwrap() > 0.999, "{check}");
}

#[test]
fn every_form_scores_like_the_plain_graph() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let source = example();
    let exported =
        Ran::of(sightline(home).args(["export", source.to_str().unwrap(), "--out", ".", "--json"])).json();
    let queries = exported["path"].as_str().unwrap().to_owned();
    // Everything that `eval` counts has to come out.
    let all = ["--suppress-in-graph", "--confidence", "0.001", "--top-k", "100", "--iou"];
    for (model, iou) in [(dense().to_str().unwrap().to_owned(), "0.6"), (queries, "1")] {
        let before = map(home, &model);
        assert!(before > 0.5, "{before}");
        let forms: [(&str, &[&str], bool); 4] = [
            ("frames.onnx", &["--preprocess-in-graph"], false),
            ("suppressed.onnx", &[&all[..], &[iou]].concat(), true),
            (
                "both.onnx",
                &[&["--preprocess-in-graph", "bgr", "--simplify"], &all[..], &[iou]].concat(),
                true,
            ),
            ("nv12.onnx", &["--preprocess-in-graph", "nv12", "--batch", "2"], false),
        ];
        for (out, options, ends) in forms {
            let made = on_images(home, &model, &[options, &["--out", out]].concat()).json();
            assert_found_again(&made);
            assert_eq!(made["check"]["stand_in"], false);
            let described = detector(home, out);
            let outputs: Vec<&str> = made["outputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|info| info["name"].as_str().unwrap())
                .collect();
            if ends {
                assert_eq!(outputs, ["num_dets", "det_boxes", "det_scores", "det_classes"]);
                assert_eq!(described["head"]["kind"], "end_to_end_parts");
            }
            match out {
                "suppressed.onnx" => assert!(described["input"].get("frames").is_none()),
                "nv12.onnx" => {
                    assert_eq!(described["input"]["frames"]["matrix"], "bt709");
                    // Two rows that differ, against each alone.
                    assert_eq!(
                        made["inputs"][0]["shape"],
                        serde_json::json!([2, "frame_height", "frame_width"])
                    );
                    continue;
                }
                _ => assert_eq!(
                    made["inputs"][0]["shape"],
                    serde_json::json!(["batch", "frame_height", "frame_width", 3])
                ),
            }
            let after = map(home, out);
            assert!((after - before).abs() < 1e-4, "{out}: {before} became {after}");
        }
    }
    let leftovers = fs::read_dir(home)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".partial"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn the_plug_in_of_tensorrt_is_compared_and_runs_nowhere_here() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let options =
        ["--preprocess-in-graph", "--suppress-in-graph", "tensorrt", "--class-agnostic", "--out", "trt.onnx"];
    let model = dense();
    let made = on_images(home, model.to_str().unwrap(), &options).json();
    assert_found_again(&made);
    assert_eq!(made["check"]["stand_in"], true);
    let ran = eval(home, "trt.onnx");
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("EfficientNMS_TRT") && ran.stderr.contains("--suppress-in-graph onnx"),
        "{}",
        ran.stderr
    );
    let told =
        Ran::of(sightline(home).args(["optimize", model.to_str().unwrap()]).args(options).arg("--simplify"));
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.contains("computed from its documentation"), "{}", told.stdout);
    assert!(told.stderr.contains("built-in scenes"), "{}", told.stderr);
}

#[test]
fn what_is_not_found_again_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    // The one filter that may take another pixel in the graph where a position falls between two.
    let model = reworded(home, "nearest.onnx", &[("\"filter\": \"bilinear\"", "\"filter\": \"nearest\" ")]);
    let images = example().join("val/images");
    let compared = ["--images", images.to_str().unwrap(), "--out", "new.onnx", "--preprocess-in-graph"];
    let ran = optimize(home, &model, &compared);
    assert_eq!(ran.code, Some(40), "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["written"], &told["check"]["verdict"]), (&false.into(), &"fail".into()), "{told}");
    assert!(
        told["check"]["moved"].as_u64().unwrap() + told["check"]["rescored"].as_u64().unwrap() > 0,
        "{told}"
    );
    assert_eq!(fs::read_dir(home).unwrap().count(), 1, "something was left");
    let ran = optimize(home, &model, &[&compared[..], &["--unchecked"]].concat());
    assert_eq!(ran.json()["check"]["verdict"], "not-run");
    assert!(home.join("new.onnx").exists());
}

#[test]
fn wrong_uses_have_their_exit_codes_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let plain = dense().to_str().unwrap().to_owned();
    let bare = reworded(home, "bare.onnx", &[("sightline.detector", "sightline.nothing_")]);
    let both = ["--preprocess-in-graph", "--suppress-in-graph", "--out", "end2end.onnx", "--unchecked"];
    optimize(home, &plain, &both).json();
    let images = example().join("val/images");
    let images = images.to_str().unwrap();
    let before = fs::read_dir(home).unwrap().count();
    let refused: [(&str, &[&str], i32); 18] = [
        (&plain, &["--preprocess-in-graph", "--fp16"], 2),
        (&plain, &["--suppress-in-graph", "--fp16"], 2),
        (
            &plain,
            &[
                "--suppress-in-graph",
                "--budget-map",
                "0.01",
                "--images",
                images,
                "--calibrate",
                images,
                "--annotations",
                "x",
            ],
            2,
        ),
        (&plain, &["--preprocess-in-graph", "yuv"], 2),
        (&plain, &["--suppress-in-graph", "nms"], 2),
        (&plain, &["--preprocess-in-graph", "--confidence", "0.5"], 2),
        (&plain, &["--simplify", "--images", images], 2),
        (&plain, &["--suppress-in-graph", "--top-k", "0"], 2),
        (&plain, &["--suppress-in-graph", "--top-k", "4000"], 2),
        (&plain, &["--suppress-in-graph", "--iou", "2"], 2),
        (&plain, &["--preprocess-in-graph", "--extract-outputs", "output0"], 2),
        (&plain, &["--preprocess-in-graph", "--images", images, "--calibrate", images], 2),
        (&plain, &["--preprocess-in-graph", "--images", "missing"], 10),
        (&plain, &["--preprocess-in-graph", "--backend", "onnxruntime"], 30),
        (&bare, &["--preprocess-in-graph"], 13),
        ("end2end.onnx", &["--preprocess-in-graph", "bgr"], 2),
        ("end2end.onnx", &["--suppress-in-graph"], 2),
        ("end2end.onnx", &["--fp16"], 2),
    ];
    for (model, options, code) in refused {
        let ran = optimize(home, model, &[options, &["--out", "refused.onnx"]].concat());
        assert_eq!(ran.code, Some(code), "{options:?}: {}", ran.stderr);
        assert_eq!(fs::read_dir(home).unwrap().count(), before, "{options:?}");
    }
    let ran = optimize(home, &bare, &["--preprocess-in-graph"]);
    assert!(ran.stderr.contains("--labels"), "no way out: {}", ran.stderr);
}

/// A package as MODEL, and the result as SOURCE of another package: trial, verification at several batches, scores, report.
#[test]
fn a_package_becomes_one_that_takes_frames() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    Ran::of(sightline(home).args(import_arguments()).arg("--json")).json();
    let made = on_images(home, "models/shapes", &["--preprocess-in-graph", "--suppress-in-graph"]).json();
    assert_found_again(&made);
    assert_eq!(made["path"], "models/shapes_end2end.onnx");
    let mut arguments = import_arguments();
    arguments[1] = "models/shapes_end2end.onnx".into();
    let name = arguments.iter().position(|word| word == "shapes").unwrap();
    arguments[name] = "framed".into();
    Ran::of(sightline(home).args(arguments).arg("--json")).json();
    let package = home.join("models/framed");
    let report = fs::read_to_string(package.join("reports/benchmark_report.md")).unwrap();
    let input = report.lines().find(|line| line.contains("uint8")).unwrap_or_default();
    assert!(input.contains("batch, height, width, 3") && input.contains("RGB frames of any size"), "{input}");
    let readme = fs::read_to_string(package.join("onnxruntime/README.md")).unwrap();
    assert!(readme.contains("| `frames` | uint8 | batch, height, width, 3 |"), "{readme}");
    let checked = Ran::of(sightline(home).args(["verify", "models/framed", "--json"])).json();
    assert_eq!(checked["passed"], true);
    let found = |model: &str| {
        let image = example().join("val/images/000001.jpg");
        Ran::of(sightline(home).args(["detect", model, "--json", "--confidence", "0.5"]).arg(image)).json()
    };
    let (plain, framed) = (found("models/shapes"), found("models/framed"));
    let count = |found: &Value| found[0]["detections"].as_array().unwrap().len();
    assert!(count(&plain) > 1 && count(&plain) == count(&framed), "{plain} {framed}");
    let timed = ["bench", "models/framed", "--json", "--count", "1", "--seconds", "1", "--batch", "1,2"];
    let timed = Ran::of(sightline(home).args(timed)).json();
    assert_eq!(timed["batches"].as_array().unwrap().len(), 2);
}
