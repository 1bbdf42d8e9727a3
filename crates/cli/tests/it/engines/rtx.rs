//! `build --backend tensorrt-rtx`: real engines where the library is installed and the program has the bindings, and the way
//! there where not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exported;
use crate::program::{Ran, import_arguments, sightline};

const ENGINE: &str = "benchmarks/engines/shapes_rtx_sm86_dynamic_b4.engine";

fn build(home: &Path, arguments: &[&str]) -> Ran {
    Ran::of(sightline(home).args(["build", "shapes.onnx", "--backend", "tensorrt-rtx"]).args(arguments))
}

/// A home with the trained detector as an ONNX file, and the installed library registered; `None`, told by name, without.
#[expect(clippy::print_stdout, reason = "a test's output is for whoever reads why something was skipped")]
fn bench(test: &str) -> Option<tempfile::TempDir> {
    let library = installed().filter(|_| cfg!(feature = "tensorrt-rtx"));
    let Some(library) = library else {
        println!("skipped: {test}: no TensorRT for RTX, or compiled without the feature `tensorrt-rtx`");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    exported(home.path());
    let install = ["runtime", "install", "tensorrt-rtx", "--path"];
    let ran = Ran::of(sightline(home.path()).args(install).arg(library));
    assert!(ran.stdout.contains("TensorRT for RTX 1.7"), "{}{}", ran.stdout, ran.stderr);
    Some(home)
}

/// The library file that `sightline runtime install tensorrt-rtx` left for the user who runs the tests.
fn installed() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where libraries are")]
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = variable("SIGHTLINE_DATA")
        .or_else(|| Some(variable("XDG_DATA_HOME")?.join("sightline")))
        .or_else(|| Some(variable("HOME")?.join(".local/share/sightline")))?;
    let below = |folder: &Path, start: &str| {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let mut paths = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
        paths.next().map(|entry| entry.path())
    };
    below(&below(&data.join("runtime"), "tensorrt-rtx-")?, "libtensorrt_rtx.so")
}

#[test]
fn what_is_missing_is_said_with_the_way_there() {
    let home = tempfile::tempdir().unwrap();
    exported(home.path());
    let ran = build(home.path(), &["--compute-capability", "8.6"]);
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    let way = if cfg!(feature = "tensorrt-rtx") {
        "sightline runtime install tensorrt-rtx"
    } else {
        "cargo build --release --features tensorrt-rtx"
    };
    assert!(ran.stderr.contains(way), "{}", ran.stderr);
    let listed = Ran::of(sightline(home.path()).args(["runtime", "list"]));
    assert!(listed.stdout.contains("tensorrt-rtx"), "{}", listed.stdout);
    let bad = home.path().join("libtensorrt_rtx.so.1.7.1");
    fs::write(&bad, "not a library").unwrap();
    let ran =
        Ran::of(sightline(home.path()).args(["runtime", "install", "tensorrt-rtx", "--path"]).arg(&bad));
    assert_eq!(ran.code, Some(30), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be used as `tensorrt-rtx`"), "{}", ran.stderr);
}

#[test]
fn capabilities_are_checked_before_anything_else() {
    let home = tempfile::tempdir().unwrap();
    for wrong in ["9.0", "86", "8.6+9.0", ""] {
        let ran = build(home.path(), &["--compute-capability", wrong]);
        assert_eq!(ran.code, Some(2), "{wrong}: {}", ran.stderr);
    }
}

#[test]
fn an_engine_is_built_without_a_gpu_and_says_what_was_not_run() {
    let Some(home) = bench("an_engine_is_built_without_a_gpu_and_says_what_was_not_run") else { return };
    let arguments =
        ["--precision", "fp32", "--batch", "1:2:4", "--compute-capability", "8.6,8.9+12.0", "--json"];
    let planned = || build(home.path(), &[&arguments[..], &["--dry-run"]].concat()).json();
    assert_eq!(planned()["engines"][0]["reuse"], false);
    assert!(!home.path().join(ENGINE).exists());
    let ran = build(home.path(), &arguments);
    assert_eq!(planned()["engines"][0]["reuse"], true);
    let json = ran.json();
    let engines = json["engines"].as_array().unwrap();
    assert_eq!(engines.len(), 2);
    assert_eq!(engines[1]["engine"]["path"], "benchmarks/engines/shapes_rtx_sm89_sm120_dynamic_b4.engine");
    let first = &engines[0];
    assert_eq!((&first["engine"]["path"], &first["gpu"]), (&ENGINE.into(), &"compute capability 8.6".into()));
    assert_eq!((&first["batch_1"], &first["peak_gpu_streams"]), (&Value::Null, &Value::Null));
    let checks = first["checks"].as_array().unwrap();
    assert_eq!(checks[0]["verdict"], "pass", "{checks:?}");
    assert!(checks[1].to_string().contains("runs on RTX GPUs"), "{checks:?}");
    for file in first["files"].as_array().unwrap() {
        let file = home.path().join(file.as_str().unwrap());
        assert!(file.metadata().is_ok_and(|meta| meta.len() > 0), "{}", file.display());
    }
    // The record of the build answers, and the engine is put back.
    let bytes = fs::read(home.path().join(ENGINE)).unwrap();
    fs::remove_file(home.path().join(ENGINE)).unwrap();
    let again = build(home.path(), &arguments);
    assert!(!again.stderr.contains("a similar build"), "{}", again.stderr);
    assert_eq!(again.json()["engines"][0]["engine"]["build_seconds"], first["engine"]["build_seconds"]);
    assert_eq!(fs::read(home.path().join(ENGINE)).unwrap(), bytes);
    looked_at(home.path());
    assert!(
        !fs::read_dir(home.path().join("benchmarks/engines"))
            .unwrap()
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with(".partial") })
    );
}

/// `inspect` reads the engine without the library, and says of a cut one that it is cut.
fn looked_at(home: &Path) {
    let inspect = |file: &str| Ran::of(sightline(home).args(["inspect", file]));
    let shown = inspect(ENGINE).stdout;
    for part in ["TensorRT for RTX 1.7.1", "compute capability 8.6", "batch 1 to 4", "precision   float32"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let bytes = fs::read(home.join(ENGINE)).unwrap();
    fs::write(home.join("cut.engine"), &bytes[..bytes.len() / 2]).unwrap();
    let cut = inspect("cut.engine");
    assert_eq!(cut.code, Some(20), "{}", cut.stderr);
    assert!(cut.stderr.contains("and says"), "{}", cut.stderr);
    fs::write(home.join("alone.engine"), bytes).unwrap();
    assert!(inspect("alone.engine").stdout.contains("layers      not known"));
}

#[test]
fn one_batch_only_and_what_does_not_go_together() {
    let Some(home) = bench("one_batch_only_and_what_does_not_go_together") else { return };
    let eight = ["--compute-capability", "8.6"];
    let ran =
        build(home.path(), &[&eight[..], &["--precision", "fp32", "--static-batch", "2", "--json"]].concat());
    let engine = &ran.json()["engines"][0]["engine"];
    assert_eq!(engine["path"], "benchmarks/engines/shapes_rtx_sm86_static_b2.engine");
    fs::write(home.path().join("plugin.so"), "").unwrap();
    for (arguments, code, part) in [
        // The precision is in the graph, and the graph is not there.
        (vec!["--precision", "int8"], 2, "shapes_int8.onnx"),
        (vec!["--precision", "fp32", "--plugin", "plugin.so"], 2, "no plug-ins"),
        (vec!["--precision", "fp32", "--gpu", "0"], 2, "--compute-capability"),
        (vec!["--precision", "fp32", "--calibration", "c"], 2, "quantize"),
    ] {
        let ran = build(home.path(), &[&eight[..], &arguments].concat());
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
}

/// A package remembers what was built from it, in its report too, and a new import keeps that.
#[test]
fn a_package_reports_its_engines() {
    let Some(home) = bench("a_package_reports_its_engines") else { return };
    let import = || Ran::of(sightline(home.path()).args(import_arguments()));
    assert_eq!(import().code, Some(0));
    let build = |capabilities: &str, more: &[&str]| {
        let words =
            ["build", "models/shapes", "--backend", "tensorrt-rtx", "--precision", "fp32", "--batch", "4"];
        let ran = Ran::of(
            sightline(home.path()).args(words).args(["--compute-capability", capabilities]).args(more),
        );
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("sightline deploy"), "{}", ran.stderr);
    };
    build("8.6,8.9", &[]);
    build("8.9", &["--fresh"]);
    let file = |path: &str| fs::read_to_string(home.path().join("models/shapes").join(path)).unwrap();
    let engines = || -> Vec<String> {
        let measurements: Value = serde_json::from_str(&file("measurements.json")).unwrap();
        let engines = measurements["rtx_engines"].as_array().unwrap().iter();
        engines.map(|one| one["engine"]["path"].as_str().unwrap().to_owned()).collect()
    };
    let expected = [86, 89].map(|sm| format!("benchmarks/engines/shapes_rtx_sm{sm}_dynamic_b4.engine"));
    assert_eq!(engines(), expected);
    let report = file("reports/benchmark_report.md");
    assert!(report.contains("compute capability 8.9") && report.contains(&expected[0]), "{report}");
    assert_eq!(import().code, Some(0));
    assert_eq!(engines(), expected, "after another import");
}

/// The library's parser prints warnings of its own where the result goes.
#[test]
fn what_the_library_prints_is_in_the_log_and_not_in_the_result() {
    let Some(home) = bench("what_the_library_prints_is_in_the_log_and_not_in_the_result") else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures/d_fine");
    for arguments in
        [vec!["export", fixture.to_str().unwrap(), "--name", "fine"], vec!["optimize", "fine.onnx", "--fp16"]]
    {
        let ran = Ran::of(sightline(home.path()).args(arguments));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let build =
        ["build", "fine_fp16.onnx", "--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--json"];
    let json = Ran::of(sightline(home.path()).args(build).args(["--batch", "1:2:4"])).json();
    let files = json["engines"][0]["files"].as_array().unwrap();
    let log =
        files.iter().find_map(|file| file.as_str().filter(|file| file.ends_with("_build.log"))).unwrap();
    let log = fs::read_to_string(home.path().join(log)).unwrap();
    assert!(log.contains("requires precision-lose casting"), "{log}");
}
