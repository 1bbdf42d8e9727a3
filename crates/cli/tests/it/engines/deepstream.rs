//! `run deepstream` with scripts in place of NVIDIA's programs. The parser is compiled for real.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engines::Bench;
use crate::program::{Ran, sightline};

/// A package with an engine for four streams, and an installation of `DeepStream` below the home.
fn bench(encoder: &str) -> Bench {
    let bench = Bench::with_package("QPS=400");
    let built = bench.build(&["models/shapes", "--batch", "1:2:4", "--no-compare"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/deepstream");
    let place = |path: &str| {
        let path = bench.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::copy(fixtures.join("deepstream-app"), place("ds/bin/deepstream-app")).unwrap();
    for tool in ["gst-inspect-1.0", "gst-launch-1.0"] {
        fs::copy(fixtures.join(tool), bench.bin(tool)).unwrap();
    }
    fs::write(bench.bin("encoder"), encoder).unwrap();
    let header =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tests/deepstream/nvdsinfer_custom_impl.h");
    fs::copy(header, place("ds/sources/includes/nvdsinfer_custom_impl.h")).unwrap();
    fs::write(place("ds/samples/streams/sample_720p.mp4"), "a video").unwrap();
    fs::write(place("ds/version"), "Version: 9.1\nBuild: 42\n").unwrap();
    bench
}

fn run(bench: &Bench, arguments: &[&str]) -> Ran {
    let mut command = sightline(bench.home.path());
    command.env("PATH", format!("{}:/usr/bin:/bin", bench.home.path().join("bin").display()));
    command.args(["run", "deepstream", "models/shapes", "--deepstream", "ds", "--seconds", "2"]);
    Ran::of(command.args(arguments))
}

fn behave(bench: &Bench, behaviour: &str) {
    fs::write(bench.home.path().join("ds/bin/behaviour"), behaviour).unwrap();
}

fn partial(bench: &Bench) -> Vec<PathBuf> {
    let folders = ["config", "samples", "benchmarks/ds"].map(|folder| bench.package(folder));
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.display().to_string().contains(".partial-"))
        .collect()
}

#[test]
fn a_stream_is_judged_and_many_are_timed() {
    let bench = bench("nvenc");
    let json = run(&bench, &["--json"]).json();
    let capture = &json["capture"];
    assert_eq!((&capture["frames"], &capture["frames_with_detections"]), (&100.into(), &95.into()));
    assert_eq!((&capture["passed"], &capture["mode"]), (&true.into(), &"nvv4l2h264enc MP4".into()));
    assert_eq!(capture["video"], "sample_720p.mp4");
    // The engine takes four streams, though it would serve 20; 100 frames a second are three streams of 30.
    assert_eq!((&json["peak_gpu_streams"], &json["real_time_streams"]), (&20.into(), &3.into()));
    assert_eq!((&json["run_1"]["streams"], &json["run_2"]["streams"]), (&4.into(), &3.into()));
    let total = json["run_1"]["total_fps"].as_f64().unwrap();
    assert!((total - 100.0).abs() < 0.1, "{total}");
    assert!((json["efficiency"].as_f64().unwrap() - 100.0 / 625.0).abs() < 1e-3, "{json}");
    assert_eq!(
        (&json["limit"], &json["cluster_mode"], &json["version"]),
        (&"nvdec".into(), &4.into(), &"9.1".into())
    );
    for file in [
        "benchmarks/ds/ds_s4_run1.log",
        "benchmarks/ds/ds_s3_run2.log",
        "samples/shapes_output.mp4",
        "parser/libnvdsinfer_shapes_parser.so",
    ] {
        assert!(bench.package(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
        assert!(json["files"].as_array().unwrap().contains(&file.into()), "{file}");
    }
    assert_eq!(fs::read_dir(bench.package("samples/kitti_output")).unwrap().count(), 100);
    assert_eq!(partial(&bench), Vec::<PathBuf>::new());
    let configs = fs::read_to_string(bench.home.path().join("ds/bin/configs")).unwrap();
    for words in [
        "/ds/samples/streams/sample_720p.mp4\n",
        "num-sources=3\n",
        "model-engine-file=../benchmarks/engines/shapes_dynamic_b4.engine\n",
    ] {
        assert!(configs.contains(words), "{words}");
    }
    let report = fs::read_to_string(bench.package("reports/benchmark_report.md")).unwrap();
    for words in [
        "The hardware video decoder (NVDEC) is the limit",
        "DeepStream Run 2",
        "16.0 %",
        "sightline run deepstream models/shapes",
        "libnvdsinfer_shapes_parser.so",
    ] {
        assert!(report.contains(words), "{words}");
    }

    // Another video and number of streams, where the user says so; the software encoder where there is no other.
    fs::write(bench.bin("encoder"), "theora").unwrap();
    fs::write(bench.home.path().join("my video.mp4"), "a video").unwrap();
    behave(&bench, "RATE=620");
    let ran = run(&bench, &["--video", "my video.mp4", "--streams", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for words in [
        "run 1        2 streams: 620.0",
        "GPU-bound",
        "theoraenc OGV (NVENC unavailable)",
        "run 2        4 streams",
    ] {
        assert!(ran.stdout.contains(words), "{words} in {}", ran.stdout);
    }
    assert!(bench.package("samples/shapes_output.ogv").is_file());
    let pipelines = fs::read_to_string(bench.bin("pipelines")).unwrap();
    assert!(
        pipelines.contains("my%20video.mp4 ! m.sink_0") && pipelines.contains("theoraenc"),
        "{pipelines}"
    );
    assert!(!pipelines.contains("x264enc") && !pipelines.contains("openh264enc"));
}

#[test]
fn what_fails_or_is_missing_is_told_and_nothing_is_timed_after_a_failed_gate() {
    let bench = bench("none");
    behave(&bench, "BLANK=1");
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, Some(40), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("in 0 of 100 frames") && ran.stderr.contains("no video is written"),
        "{}",
        ran.stdout
    );
    assert!(!bench.package("benchmarks/ds").exists());
    let recorded = &bench.json("measurements.json")["deepstream"];
    assert_eq!((&recorded["capture"]["passed"], &recorded["run_1"]), (&false.into(), &().into()));
    assert_eq!(recorded["capture"]["mode"], "skipped (no encoder available)");

    let cases: [(&str, &[&str], i32, &str); 5] = [
        ("FAILS=1", &[], 1, "Failed to set pipeline to PAUSED"),
        ("ENDS=1", &[], 1, "before its frame rate was steady"),
        ("", &["--streams", "9"], 30, "--batch 9"),
        ("", &["--video", "nothing.mp4"], 10, "nothing.mp4"),
        ("", &["--deepstream", "elsewhere"], 2, "cannot be used multiple times"),
    ];
    for (behaviour, arguments, code, words) in cases {
        behave(&bench, behaviour);
        let ran = run(&bench, arguments);
        assert_eq!(ran.code, Some(code), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert_eq!(partial(&bench), Vec::<PathBuf>::new());
    }
    let nowhere = Ran::of(sightline(bench.home.path()).args(["run", "deepstream", "models/shapes"]));
    assert_eq!(nowhere.code, Some(30), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("nvcr.io/nvidia/deepstream"), "{}", nowhere.stderr);
    fs::remove_dir_all(bench.package("benchmarks/engines")).unwrap();
    let no_engine = run(&bench, &[]);
    assert_eq!(no_engine.code, Some(30), "{}", no_engine.stderr);
    assert!(no_engine.stderr.contains("sightline build"), "{}", no_engine.stderr);
}
