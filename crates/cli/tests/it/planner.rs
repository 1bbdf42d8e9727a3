//! The search for a precision, on the trained detectors of the examples.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Ran, example, sightline};

fn search(home: &Path, model: &Path, more: &[&str]) -> Command {
    let data = example().join("val");
    let mut command = sightline(home);
    command.args(["optimize", "--json", "--seconds", "1", "--count", "8", "--out", "plan/best.onnx"]);
    command.arg(model).arg("--images").arg(data.join("images"));
    command.arg("--annotations").arg(data.join("instances.json"));
    command.arg("--calibrate").arg(data.join("images")).args(more);
    command
}

fn names(json: &Value) -> Vec<&str> {
    let candidates = json["result"]["candidates"].as_array().unwrap();
    candidates.iter().map(|candidate| candidate["name"].as_str().unwrap()).collect()
}

#[test]
fn a_wanted_precision_is_found_written_and_resumed() {
    let home = tempfile::tempdir().unwrap();
    let dense = example().join("../shapes-dense/model.onnx");
    let wanted = ["--budget-map", "0.05", "--precision", "int8"];
    let first = Ran::of(&mut search(home.path(), &dense, &wanted));
    let json = first.json();
    assert_eq!(json["result"]["chosen"], "int8", "{}", first.stderr);
    assert_eq!(names(&json)[..2], ["fp32", "fp16"]);
    let folder = home.path().join("plan");
    for file in ["best.onnx", "best.calibration.cache", "best.plan.json", "best.plan.svg"] {
        assert!(fs::metadata(folder.join(file)).is_ok_and(|meta| meta.len() > 100), "{file}");
    }
    // What was chosen is the graph that `quantize` makes of the same images, and runs.
    let facts = Ran::of(sightline(home.path()).args(["inspect", "plan/best.onnx", "--json"])).json();
    assert!(facts["precisions"].as_array().unwrap().iter().any(|share| share["dtype"] == "int8"));
    let images = example().join("val/images");
    let mut quantize = sightline(home.path());
    quantize.arg("quantize").arg(&dense).args(["--out", "int8", "--count", "8", "--calibrate"]).arg(images);
    Ran::of(&mut quantize);
    let [one, two] = ["plan/best.onnx", "int8/model_int8.onnx"].map(|path| fs::read(home.path().join(path)));
    assert!(one.unwrap() == two.unwrap());

    let again = Ran::of(&mut search(home.path(), &dense, &wanted));
    assert_eq!(again.json()["result"], json["result"]);
    // Nothing was made, scored or timed again.
    assert!(!again.stderr.contains("done in"), "{}", again.stderr);
    // The chosen graph never takes the place of the model.
    let own = home.path().join("own/plan");
    fs::create_dir_all(&own).unwrap();
    fs::copy(&dense, own.join("best.onnx")).unwrap();
    let onto_itself = Ran::of(&mut search(own.parent().unwrap(), Path::new("plan/best.onnx"), &wanted));
    assert_eq!(onto_itself.code, Some(2), "{}", onto_itself.stderr);
    assert!(onto_itself.stderr.contains("is the model itself"), "{}", onto_itself.stderr);
    // From a rounded graph there is no way back to fp32.
    fs::copy(folder.join("best.onnx"), home.path().join("rounded.onnx")).unwrap();
    let rounded = Ran::of(&mut search(home.path(), Path::new("rounded.onnx"), &wanted));
    assert_eq!(rounded.code, Some(2), "{}", rounded.stderr);
    assert!(rounded.stderr.contains("has weights in int8"), "{}", rounded.stderr);
    // What an earlier search chose does not stay beside a plan that chose otherwise.
    let as_it_is =
        Ran::of(&mut search(home.path(), &dense, &["--budget-map", "0.05", "--precision", "fp32"]));
    assert_eq!(as_it_is.json()["result"]["chosen"], "fp32", "{}", as_it_is.stderr);
    assert!(folder.join("best.plan.json").exists());
    assert!(!folder.join("best.onnx").exists() && !folder.join("best.calibration.cache").exists());
}

#[test]
fn layers_are_left_out_where_the_whole_loses_too_much() {
    let home = tempfile::tempdir().unwrap();
    let dense = example().join("../shapes-dense/model.onnx");
    // No method but the worst one, so that there is something to win back.
    let wanted = ["--budget-map", "0", "--precision", "int8", "--method", "entropy"];
    let ran = Ran::of(&mut search(home.path(), &dense, &wanted));
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let candidates = json["result"]["candidates"].as_array().unwrap();
    let rounded = candidates.iter().filter(|candidate| candidate["precision"] == "int8");
    let losses: Vec<f64> = rounded.map(|candidate| candidate["loss"].as_f64().unwrap()).collect();
    let [whole, .., best] = losses[..] else { panic!("{}", ran.stdout) };
    assert!(whole > 0.05 && best < whole / 2.0, "{losses:?}");
    let sensitivity = json["result"]["sensitivity"].as_array().unwrap();
    let moved: Vec<f64> = sensitivity.iter().map(|layer| layer["moved"].as_f64().unwrap()).collect();
    assert!(moved.len() > 40 && moved.is_sorted_by(|a, b| a >= b) && moved[0] > 0.0);
    let is_found = json["result"]["chosen"].is_string();
    assert_eq!(ran.code, Some(if is_found { 0 } else { 40 }));
}

#[test]
fn a_package_gets_the_plan_into_its_report() {
    let home = tempfile::tempdir().unwrap();
    let dense = example().join("../shapes-dense");
    Ran::of(sightline(home.path()).arg("import").arg(dense).args(["--seconds", "1"]));
    let package = Path::new("models/shapes-dense");
    // A time that nothing keeps: there is a plan, nothing is chosen, no graph is written.
    let impossible = ["--budget-map", "0.01", "--budget-latency", "0.001ms"];
    let ran = Ran::of(&mut search(home.path(), package, &impossible));
    assert_eq!(ran.code, Some(40), "{}", ran.stderr);
    assert!(ran.stdout.contains("Nothing is within the budgets in 0.001 ms"), "{}", ran.stdout);
    assert!(!home.path().join("plan/best.onnx").exists());
    let report = home.path().join(package).join("reports");
    for file in ["benchmark_report.md", "benchmark_report.html"] {
        let text = fs::read_to_string(report.join(file)).unwrap();
        assert!(text.contains("17. Precision Plan") && text.contains("Nothing is within"), "{file}");
    }
    assert!(report.join("charts/chart_precision_plan.svg").is_file());
    // The package is whole: it is still what its manifest says.
    let verified = Ran::of(sightline(home.path()).args(["verify", "models/shapes-dense"]));
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

#[test]
fn a_search_needs_its_data() {
    let home = tempfile::tempdir().unwrap();
    let dense = example().join("../shapes-dense/model.onnx");
    let bare = |more: &[&str]| {
        let mut command = sightline(home.path());
        Ran::of(command.arg("optimize").arg(&dense).args(more))
    };
    let wrong: [&[&str]; 3] =
        [&["--budget-map", "0.005"], &["--budget-latency", "5ms"], &["--budget-map", "lots"]];
    for more in wrong {
        let ran = bare(more);
        assert_eq!(ran.code, Some(2), "{more:?}: {}", ran.stderr);
    }
    for (more, code) in [(["--opset", "17"], 2), (["--backend", "abacus"], 30)] {
        let ran = Ran::of(search(home.path(), &dense, &["--budget-map", "0.01"]).args(more));
        assert_eq!(ran.code, Some(code), "{more:?}: {}", ran.stderr);
    }
}
