//! `build` with a script in place of `trtexec`: real child processes, real files, real answers of the graph.

mod deepstream;
mod rtx;
pub(crate) mod stand_in;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ran, example, import_arguments, sightline};

/// A home with the script on its PATH, and a package.
struct Bench {
    home: TempDir,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures/trtexec")
}

/// The trained detector as an ONNX file.
fn exported(home: &Path) -> PathBuf {
    let ran = Ran::of(sightline(home).arg("export").arg(example()).args(["--name", "shapes"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    home.join("shapes.onnx")
}

impl Bench {
    fn new(behaviour: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for entry in fs::read_dir(fixtures()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, bin.join(path.file_name().unwrap())).unwrap();
        }
        let bench = Self { home };
        bench.behave(behaviour);
        bench
    }

    /// With an imported package.
    fn with_package(behaviour: &str) -> Self {
        let bench = Self::new(behaviour);
        let ran = Ran::of(sightline(bench.home.path()).args(import_arguments()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        bench
    }

    /// What the script does from now on; it always answers through this test binary.
    fn behave(&self, behaviour: &str) {
        let answers = std::env::current_exe().unwrap();
        let place = self.bin("behaviour");
        let text = format!(
            "ANSWERS='{}'\nexport STAND_IN_BEHAVIOUR='{}'\n{behaviour}\n",
            answers.display(),
            place.display()
        );
        fs::write(place, text).unwrap();
        let _ = fs::remove_file(self.bin("failed"));
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.home.path().join("bin").join(name)
    }

    fn package(&self, path: &str) -> PathBuf {
        self.home.path().join("models/shapes").join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = sightline(self.home.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().join("bin").display()));
        command.arg("build").args(arguments);
        command
    }

    fn build(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.package(path)).unwrap()).unwrap()
    }

    /// A driver's program that does this.
    fn driver(&self, script: &str) {
        fs::copy(self.bin("trtexec"), self.bin("nvidia-smi")).unwrap();
        fs::write(self.bin("nvidia-smi"), format!("#!/bin/sh\n{script}\n")).unwrap();
    }

    /// Two graphics processors, as the driver tells of them.
    fn two_gpus(&self) {
        self.driver(
            "case $* in *memory.free*) printf '20000\\n21000\\n' ;; \
             *) printf 'A, 24000, 550.1, 8.9\\nB, 24000, 550.1, 8.6\\n' ;; esac",
        );
    }

    /// The calls of the script that build an engine.
    fn builds(&self) -> usize {
        let calls = fs::read_to_string(self.bin("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.contains("--saveEngine=")).count()
    }
}

#[test]
fn an_engine_goes_into_its_package_with_figures_checks_and_a_report() {
    let bench = Bench::with_package("QPS=400");
    let planned = || bench.build(&["models/shapes", "--batch", "1:2:4", "--dry-run", "--json"]).json();
    let before = planned();
    assert_eq!((&before["engines"][0]["reuse"], bench.builds()), (&false.into(), 0));
    assert!(!bench.package("benchmarks/engines").exists());
    let ran = bench.build(&["models/shapes", "--batch", "1:2:4", "--json"]);
    let json = ran.json();
    assert_eq!(json["passed"], true);
    let after = planned();
    assert_eq!(after["engines"][0]["reuse"], true);
    assert_eq!(after["engines"][0]["engine"], json["engines"][0]["engine"]["path"]);
    for file in [
        "benchmarks/engines/shapes_dynamic_b4.engine",
        "benchmarks/engines/shapes_dynamic_b4.layers.json",
        "benchmarks/engines/shapes_dynamic_b4.build.json",
        "benchmarks/engines/shapes_dynamic_b4_build.log",
        "benchmarks/engines/timing.cache",
        "benchmarks/b1/trtexec_b1.log",
        "benchmarks/b4/trtexec_b4.log",
    ] {
        assert!(bench.package(file).metadata().is_ok_and(|meta| meta.len() > 0), "{file}");
    }
    let tensorrt = &bench.json("measurements.json")["tensorrt"];
    assert_eq!(
        (&tensorrt["engine"]["precision"], &tensorrt["engine"]["max_batch"]),
        (&"fp16".into(), &4.into())
    );
    let qps = |key: &str| tensorrt[key]["qps"].as_f64().unwrap();
    assert!((qps("batch_1") - 400.0).abs() < 1e-3 && (qps("batch_max") - 400.0 / 2.56).abs() < 1e-3);
    let command = tensorrt["engine"]["build"]["command"].as_str().unwrap();
    // The plan has the paths of this machine.
    let planned = before["engines"][0]["command"].as_str().unwrap();
    let root = fs::canonicalize(bench.package("")).unwrap().display().to_string();
    for file in ["--onnx=", "--saveEngine=", "--timingCacheFile="].map(|option| format!("{option}{root}")) {
        assert!(planned.contains(&file), "{file} in {planned}");
    }
    assert_eq!(planned.split(' ').count(), command.split(' ').count(), "{planned}");
    assert!(
        command.starts_with(
            "trtexec --onnx=model/shapes.onnx --saveEngine=benchmarks/engines/shapes_dynamic_b4.engine"
        ),
        "{command}"
    );
    assert!(
        command.contains(":1x3x") && command.contains(":4x3x") && command.contains(" --fp16 "),
        "{command}"
    );
    let checks = tensorrt["checks"].as_array().unwrap();
    let named = |part: &str| checks.iter().filter(|check| check.to_string().contains(part)).count();
    assert!(
        named("share of the layers") == 1 && named("batch 4, rows permuted") > 0 && named("batch 1\"") > 0,
        "{checks:?}"
    );
    // floor(400 / 1.6^2 * 4 / 30)
    assert_eq!(json["engines"][0]["peak_gpu_streams"], 20);
    assert_eq!(bench.json("reports/benchmark_data.json")["peak_gpu_streams"], 20);
    let report = fs::read_to_string(bench.package("reports/benchmark_report.md")).unwrap();
    for words in [
        "PEAK_GPU_STREAMS",
        "shapes_dynamic_b4.engine",
        "batch 1 to 4, optimum 2",
        "TensorRT 8.6.1",
        "sightline build models/shapes",
    ] {
        assert!(report.contains(words), "{words}");
    }

    let engine = "models/shapes/benchmarks/engines/shapes_dynamic_b4.engine";
    let shown = Ran::of(sightline(bench.home.path()).args(["inspect", engine]));
    for words in [
        "TensorRT 8.6.1",
        "batch 1 to 4, fastest at 2",
        "float16: 2 layers, 66.7 %",
        "input_binding_names ['images']",
    ] {
        assert!(shown.stdout.contains(words), "{words} in {}", shown.stdout);
    }
    // Away from what was written down, TensorRT is asked.
    fs::copy(bench.home.path().join(engine), bench.home.path().join("away.engine")).unwrap();
    let away = Ran::of(sightline(bench.home.path()).args(["inspect", "away.engine"]));
    assert!(away.stdout.contains("`--trtexec PATH` asks TensorRT"), "{}", away.stdout);
    let asked = Ran::of(sightline(bench.home.path()).args([
        "inspect",
        "away.engine",
        "--json",
        "--trtexec",
        "bin/trtexec",
    ]));
    assert_eq!(asked.json()["output_binding_names"], serde_json::json!(["logits", "pred_boxes"]));

    let again = bench.build(&["models/shapes", "--batch", "1:2:4", "--no-compare"]);
    assert_eq!((again.code, bench.builds()), (Some(0), 1), "{}", again.stderr);
    assert!(again.stderr.contains("reused"), "{}", again.stderr);
    bench.behave("GPU='another one' VERSION=101601");
    let other = bench.build(&["models/shapes", "--batch", "1:2:4", "--no-compare"]);
    assert_eq!((other.code, bench.builds()), (Some(0), 2), "{}", other.stderr);
    assert!(other.stderr.contains("tensorrt"), "why it runs again: {}", other.stderr);

    // An import of the same model keeps what was measured of the engine.
    let imported = Ran::of(sightline(bench.home.path()).args(import_arguments()));
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    assert_eq!(bench.json("measurements.json")["tensorrt"]["engine"]["max_batch"], 4);
}

#[test]
fn an_engine_that_answers_wrong_is_caught_though_it_passed() {
    let bench = Bench::with_package("WRONG=rows");
    let ran = bench.build(&["models/shapes", "--batch", "4", "--no-timing"]);
    assert_eq!(ran.code, Some(40), "{}", ran.stderr);
    let failing: Vec<&str> =
        ran.stdout.lines().filter(|line| line.trim_start().starts_with("FAIL")).collect();
    assert!(
        !failing.is_empty()
            && failing.iter().all(|line| line.contains("batch ") && !line.contains("batch 1)")),
        "{failing:?}"
    );
    assert!(ran.stdout.contains("a check failed"), "{}", ran.stdout);
}

#[test]
fn known_failures_are_answered_and_recorded() {
    let log = |name: &str| fixtures().join(name).display().to_string();
    // Memory is enough for two images only; the graph is simple already, so a lower level is what remains.
    let bench = Bench::with_package(&format!("FAILS={} ABOVE=2", log("out_of_memory.log")));
    let ran = bench.build(&["models/shapes", "--batch", "8", "--no-timing", "--no-compare", "--json"]);
    let engine = &ran.json()["engines"][0]["engine"];
    assert_eq!(engine["max_batch"], 2, "{}", ran.stderr);
    let retries = engine["build"]["retries"].as_array().unwrap();
    assert_eq!((retries.len(), &retries[1]["then"]), (2, &"a maximum batch of 2 instead of 4".into()));
    assert!(ran.stderr.contains("memory of the GPU"), "{}", ran.stderr);
    assert!(bench.package("benchmarks/engines/shapes_dynamic_b2.engine").is_file());

    bench.behave(&format!("FAILS={} LEVEL=2", log("foreign_node.log")));
    let ran = bench.build(&["models/shapes", "--batch", "4", "--no-timing", "--no-compare", "--json"]);
    let engine = &ran.json()["engines"][0]["engine"];
    assert_eq!(engine["optimization_level"], 2);
    assert!(engine["build"]["retries"].to_string().contains("ForeignNode"), "{engine}");

    bench.behave(&format!("FAILS={}", log("foreign_node.log")));
    let ran = bench.build(&["models/shapes", "--batch", "16", "--no-timing"]);
    assert_eq!(ran.code, Some(20), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("ForeignNode[/model/Cast.../model/Sigmoid]") && ran.stderr.contains("hint:"),
        "{}",
        ran.stderr
    );
    let kept =
        fs::read_to_string(bench.package("benchmarks/engines/shapes_dynamic_b16_build.failed.log")).unwrap();
    assert!(kept.matches("&&&& FAILED").count() >= 2, "every attempt is in the log");
    assert!(!bench.package("benchmarks/engines/shapes_dynamic_b16.engine").exists());
}

#[test]
fn batches_double_while_the_engine_serves_more_streams() {
    // At batch 64 it makes 400 / 1.6^6 × 64 = 1525 images a second: 50 streams. With 2000 queries a second, 254.
    let bench = Bench::with_package("QPS=2000");
    let ran = bench.build(&["models/shapes", "--no-compare", "--json"]);
    let built = &ran.json()["engines"][0];
    let tried: Vec<u64> =
        built["tried"].as_array().unwrap().iter().map(|run| run["batch"].as_u64().unwrap()).collect();
    assert_eq!(tried, [64, 128, 256, 512]);
    assert_eq!(built["engine"]["path"], "benchmarks/engines/shapes_dynamic_b512.engine");

    let log = fixtures().join("out_of_memory.log");
    bench.behave(&format!("QPS=2000 VERSION=8602 FAILS={} ABOVE=128", log.display()));
    let ran = bench.build(&["models/shapes", "--no-compare", "--json"]);
    let built = &ran.json()["engines"][0];
    assert_eq!(built["engine"]["max_batch"], 128, "{}", ran.stderr);
    assert!(ran.stderr.contains("no engine for batch 256"), "{}", ran.stderr);
}

#[test]
fn a_build_that_is_called_off_leaves_a_log_and_no_engine_and_goes_on_later() {
    for signal in ["-INT", "-TERM", "-KILL"] {
        let bench = Bench::with_package("HANGS=build");
        let mut command = bench.command(&["models/shapes", "--batch", "4", "--no-timing", "--no-compare"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !bench.bin("hanging").exists() {
            assert!(begun.elapsed() < Duration::from_mins(2), "it never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_mins(2));
        let engine = bench.package("benchmarks/engines/shapes_dynamic_b4.engine");
        assert!(!engine.exists(), "{signal}");
        if signal != "-KILL" {
            assert_eq!(
                ended.status.code(),
                Some(130),
                "{signal}: {}",
                String::from_utf8_lossy(&ended.stderr)
            );
            let log = bench.package("benchmarks/engines/shapes_dynamic_b4_build.failed.log");
            assert!(fs::read_to_string(log).unwrap().contains("timing cache in use"), "{signal}");
            assert_eq!(fs::read_dir(bench.home.path().join("models/.sightline/tmp")).unwrap().count(), 0);
        }
        bench.behave("");
        let again = bench.build(&["models/shapes", "--batch", "4", "--no-timing", "--no-compare"]);
        assert_eq!(again.code, Some(0), "{signal}: {}", again.stderr);
        assert!(engine.is_file());
    }
}

#[test]
fn an_onnx_file_is_built_where_it_is_asked_to() {
    let bench = Bench::new("VERSION=110100");
    let onnx = exported(bench.home.path());
    let ran = bench.build(&["shapes.onnx", "--precision", "fp32", "--static-batch", "2", "--out", "engines"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stderr, ran.stdout);
    let engine = bench.home.path().join("engines/benchmarks/engines/shapes_static_b2.engine");
    assert!(engine.is_file() && ran.stdout.contains("shapes_static_b2.engine"), "{}", ran.stdout);
    let calls = fs::read_to_string(bench.bin("calls")).unwrap();
    assert!(!calls.contains("Shapes="), "a fixed graph takes no shapes: {calls}");
    assert!(calls.contains("--noTF32") && calls.contains("--noCudaGraph"), "{calls}");

    // From TensorRT 11 on fp16 has to be in the graph.
    let ran = bench.build(&["shapes.onnx", "--out", "engines"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("shapes_fp16.onnx") && ran.stderr.contains("optimize MODEL --fp16"),
        "{}",
        ran.stderr
    );
    fs::remove_file(onnx).unwrap();
}

#[test]
fn an_encrypted_model_is_converted_where_its_program_is() {
    let bench = Bench::new("");
    let folder = bench.home.path();
    fs::write(folder.join("peoplenet.etlt"), b"\0\0\0\0secret").unwrap();
    let unknown = bench.build(&["peoplenet.etlt"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("`--key`, `--dims`, `--outputs`, `--input` are needed"),
        "{}",
        unknown.stderr
    );

    let nvinfer = "tlt-model-key=tlt_encode\ninfer-dims=3;544;960\noutput-blob-names=boxes;scores\n";
    fs::write(folder.join("nvinfer_config.txt"), nvinfer).unwrap();
    let arguments = ["peoplenet.etlt", "--input", "input_1:0", "--batch", "1:4:8"];
    let printed = bench.build(&arguments);
    assert_eq!(printed.code, Some(30), "{}", printed.stderr);
    let shapes = "input_1:0,1x3x544x960,4x3x544x960,8x3x544x960";
    let command = format!("tao-converter -k tlt_encode -d 3,544,960 -p {shapes} -t fp16 -o boxes,scores -e ");
    assert!(printed.stdout.starts_with(&command), "{}", printed.stdout);

    let script = "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" = -e ] && engine=$2; shift; done\ncat \"$1\" > \"$engine\"\n";
    let program = bench.bin("tao-converter");
    fs::copy(bench.bin("trtexec"), &program).unwrap();
    fs::write(&program, script).unwrap();
    let made = bench.build(&arguments);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let engine = folder.join("benchmarks/engines/peoplenet_dynamic_b8.engine");
    assert_eq!(fs::read(&engine).unwrap(), b"\0\0\0\0secret");
    fs::remove_file(&engine).unwrap();
    fs::write(&program, "#!/bin/sh\necho no license >&2\nexit 3\n").unwrap();
    let failed = bench.build(&arguments);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("no license") && !engine.exists(), "{}", failed.stderr);
    assert_eq!(fs::read_dir(engine.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn an_import_builds_the_engine_where_it_can_and_names_it() {
    let bench = Bench::new("QPS=40");
    let import = |more: &[&str]| {
        let words = import_arguments().into_iter().filter(|word| word != "--engine" && word != "never");
        let mut command = sightline(bench.home.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", bench.home.path().join("bin").display()));
        Ran::of(command.args(words).args(more))
    };
    // No processor, no engine.
    bench.driver("exit 9");
    let none = import(&["--json"]).json();
    assert_eq!((none["engines"].as_array().unwrap().len(), bench.builds()), (0, 0));
    bench.two_gpus();
    let never = import(&["--engine", "never", "--json"]).json();
    assert_eq!((never["engines"].as_array().unwrap().len(), bench.builds()), (0, 0));
    // What fails is told, and the package is whole.
    bench.behave(&format!("FAILS={}", fixtures().join("foreign_node.log").display()));
    let failed = import(&[]);
    assert_eq!(failed.code, Some(0), "{}", failed.stderr);
    assert!(failed.stderr.contains("the package is whole, but no engine was built"), "{}", failed.stderr);
    // An engine that answers wrong is no success, and stays none.
    bench.behave("QPS=40\nWRONG=rows");
    for _ in 0..2 {
        let wrong = import(&[]);
        assert_eq!(wrong.code, Some(40), "{}{}", wrong.stdout, wrong.stderr);
        assert!(wrong.stdout.contains("rows permuted"), "{}", wrong.stdout);
    }
    let config = || fs::read_to_string(bench.package("config/config_infer_primary_shapes.txt")).unwrap();
    let named = || {
        config().lines().find_map(|line| Some(line.strip_prefix("model-engine-file=")?.to_owned())).unwrap()
    };
    let unnamed = named();
    bench.behave("QPS=40");
    let made = import(&["--json"]).json();
    let engine = &made["engines"][0]["engine"];
    let path = engine["path"].as_str().unwrap();
    assert!(bench.package(path).is_file(), "{path}");
    assert_eq!(made["measurements"]["tensorrt"]["engine"]["path"], path);
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    assert!(named().ends_with(name) && named() != unnamed, "{unnamed}, {}", named());
    // An engine that is there stays.
    let builds = bench.builds();
    let again = import(&[]);
    assert_eq!((again.code, bench.builds()), (Some(0), builds), "{}", again.stderr);
    assert!(named().ends_with(name), "{}", config());
    let planned = import(&["--dry-run"]);
    assert!(planned.stdout.contains("build  run (unless the package has an engine)"), "{}", planned.stdout);
}

#[test]
fn engines_for_several_gpus_are_built_side_by_side() {
    let bench = Bench::with_package("");
    bench.two_gpus();
    let arguments = ["models/shapes", "--gpu", "0,1", "--batch", "2", "--no-compare", "--json"];
    let json = bench.build(&arguments).json();
    let paths: Vec<&str> = json["engines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["engine"]["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, [0, 1].map(|gpu| format!("benchmarks/engines/gpu{gpu}/shapes_dynamic_b2.engine")));
    for path in [paths[0], paths[1], "benchmarks/gpu0/b2/trtexec_b2.log", "benchmarks/gpu1/b1/trtexec_b1.log"]
    {
        assert!(bench.package(path).is_file(), "{path}");
    }
    assert_eq!(json["engines"][1]["gpu"], "B");
    let calls = fs::read_to_string(bench.bin("calls")).unwrap();
    for device in ["--device=0", "--device=1", "workspace:16000M", "workspace:16800M"] {
        assert!(calls.contains(device), "{device} in {calls}");
    }
    let beyond = bench.build(&["models/shapes", "--gpu", "2"]);
    assert_eq!(beyond.code, Some(2), "{}", beyond.stderr);
    assert!(beyond.stderr.contains("there is no GPU 2"), "{}", beyond.stderr);
}

#[test]
fn what_is_not_there_is_told_with_the_way_out() {
    let bench = Bench::with_package("");
    let nowhere = Ran::of(sightline(bench.home.path()).args(["build", "models/shapes"]));
    assert_eq!(nowhere.code, Some(30), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("--trtexec PATH"), "{}", nowhere.stderr);
    let int8 = bench.build(&["models/shapes", "--precision", "int8"]);
    assert_eq!(int8.code, Some(2), "{}", int8.stderr);
    assert!(
        int8.stderr.contains("shapes_int8.onnx") && int8.stderr.contains("--calibrate DIR"),
        "{}",
        int8.stderr
    );
    for wrong in [["--batch", "8:4:2"], ["--backend", "tensorrt"], ["--level", "9"]] {
        let ran = bench.build(&["models/shapes", wrong[0], wrong[1]]);
        assert_eq!(ran.code, Some(2), "{wrong:?}: {}", ran.stderr);
    }
}
