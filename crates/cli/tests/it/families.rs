//! Sources of every kind: a frozen prompt, a pickled network, a graph that Python makes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Ran, example, sightline};

/// A stored checkpoint of the `models` crate.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures").join(name)
}

fn export(home: &Path, source: &Path, out: &str) -> Command {
    let mut command = sightline(home);
    command.arg("export").arg(source).args(["--out", out, "--json"]);
    command
}

#[test]
fn a_prompt_becomes_the_labels() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("owlvit");
    let unprompted = Ran::of(&mut export(home.path(), &source, "none"));
    assert_eq!(unprompted.code, Some(2), "{}", unprompted.stderr);
    assert!(unprompted.stderr.contains("--prompt"), "{}", unprompted.stderr);

    let typed = ["--prompt", "a photo of a cat", "--prompt", "remote control"];
    let ran = Ran::of(export(home.path(), &source, "typed").args(typed));
    let json = ran.json();
    assert!(ran.stderr.contains("fixed"), "{}", ran.stderr);
    assert_eq!(
        json["detector"]["labels"],
        serde_json::json!({"0": "a photo of a cat", "1": "remote control"})
    );
    assert_eq!(json["inputs"].as_array().unwrap().len(), 1, "the text is a constant");

    fs::write(home.path().join("prompts.txt"), "a photo of a cat\n\nremote control\n").unwrap();
    let listed =
        Ran::of(export(home.path(), &source, "listed").args(["--prompt-file", "prompts.txt"])).json();
    assert_eq!(listed["detector"], json["detector"]);
    let bytes =
        |json: &serde_json::Value| fs::read(home.path().join(json["path"].as_str().unwrap())).unwrap();
    assert!(bytes(&listed) == bytes(&json), "the two ways to say it give different files");

    let closed = Ran::of(export(home.path(), &example(), "closed").args(["--prompt", "a cat"]));
    assert_eq!(closed.code, Some(2), "{}", closed.stderr);
}

#[test]
fn a_pickled_network_is_rebuilt() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("ultralytics-v8/model.pt");
    let json = Ran::of(&mut export(home.path(), &source, "out")).json();
    assert_eq!(json["outputs"][0]["name"], "output0");
    let image = example().join("val/images/000001.jpg");
    let mut detect = sightline(home.path());
    detect.args(["detect", json["path"].as_str().unwrap(), "--json"]).arg(image);
    assert!(Ran::of(&mut detect).json()[0]["detections"].is_array());

    // A file that wants to run something is named and refused.
    let hostile = home.path().join("hostile.pt");
    fs::write(&hostile, b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap();
    let refused = Ran::of(&mut export(home.path(), &hostile, "hostile"));
    assert_eq!(refused.code, Some(11), "{}", refused.stderr);
    assert!(refused.stderr.contains("posix.system"), "{}", refused.stderr);
}

#[test]
fn weights_that_are_no_numbers_are_no_detector() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("model");
    fs::create_dir(&source).unwrap();
    for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        fs::copy(example().join(name), source.join(name)).unwrap();
    }
    let weights = source.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    // The second half of the file as NaN: the header stays what it was.
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..] {
        *byte = 0xFF;
    }
    fs::write(&weights, bytes).unwrap();
    let ran = Ran::of(&mut export(home.path(), &source, "out"));
    assert_eq!(ran.code, Some(20), "{}", ran.stderr);
    assert!(ran.stderr.contains("NaN") || ran.stderr.contains("finite"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(home.path().join("out")).map_or(0, Iterator::count), 0);
}

/// The program with a script in place of Python (`crates/runtime/tests/fixtures/python_exporter/python`).
fn with_python(command: &mut Command, home: &Path) {
    let bin = home.join("bin");
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures/python_exporter");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        symlink(stand_in.join("python"), bin.join("python3")).unwrap();
    }
    command
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("LOG", home.join("log"))
        .env("RECORDED", stand_in.join("unsupported.txt"))
        .args(["--exporter", "python"]);
}

#[test]
fn python_exports_when_it_is_asked_to() {
    let home = tempfile::tempdir().unwrap();
    let native = Ran::of(&mut export(home.path(), &example(), "native")).json();
    let mut command = export(home.path(), &example(), "python");
    with_python(&mut command, home.path());
    command
        .env("SUCCEEDS", "torchscript 16")
        .env("GRAPH", home.path().join(native["path"].as_str().unwrap()));
    let ran = Ran::of(&mut command);
    let json = ran.json();
    assert!(ran.stderr.contains("GB"), "the size of the environment is told: {}", ran.stderr);
    assert_eq!(json["nodes"], native["nodes"]);
    assert_eq!(json["detector"]["labels"], native["detector"]["labels"]);
}

#[test]
fn when_python_fails_every_attempt_is_reported() {
    let home = tempfile::tempdir().unwrap();
    let mut command = export(home.path(), &example(), "python");
    with_python(&mut command, home.path());
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(20), "{}", ran.stderr);
    let report = fs::read_to_string(home.path().join("python/reports/export_failure.md")).unwrap();
    let attempts = fs::read_to_string(home.path().join("log")).unwrap();
    let attempts = attempts.lines().filter(|line| line.starts_with("export")).count();
    assert!(attempts > 1, "{attempts}");
    assert!(report.contains("optimum") && report.contains("torch.onnx"), "{report}");
    assert_eq!(fs::read_dir(home.path().join("python")).unwrap().count(), 1, "only the report is left");
}
