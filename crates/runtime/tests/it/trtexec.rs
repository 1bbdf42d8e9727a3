//! `trtexec` as a child process, with a script in its place (`tests/fixtures/trtexec/trtexec`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use graph::{DataType, Dim, Tensor, ValueInfo};
use runtime::tools::trtexec::{
    Build, Cause, EngineSession, Event, Failure, Load, Log, Numbers, Phase, Running, Trtexec,
};
use runtime::{Error, Session};
use tempfile::TempDir;

/// A folder with the script and what it is told to do.
struct Bench {
    folder: TempDir,
    cancelled: Arc<AtomicBool>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trtexec").join(name)
}

impl Bench {
    fn new(behaviour: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixture("")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        fs::write(folder.path().join("behaviour"), behaviour).unwrap();
        fs::write(folder.path().join("model.onnx"), "a graph").unwrap();
        Self { folder, cancelled: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn find(&self) -> Result<Trtexec, Error> {
        Trtexec::find(None, Some(self.folder.path().as_os_str()))
    }

    fn build(&self) -> (Result<Log, Error>, Vec<Phase>) {
        let (onnx, engine, layers) =
            (self.path("model.onnx"), self.path("model.engine"), self.path("layers.json"));
        let build = Build {
            onnx: &onnx,
            engine: &engine,
            numbers: Numbers::Fp16,
            profiles: &[],
            workspace_mib: 4096,
            level: None,
            timing_cache: None,
            layers: Some(&layers),
            plugins: &[],
            device: None,
        };
        let trtexec = self.find().unwrap();
        let mut phases = Vec::new();
        let log = self.path("build.log");
        let running = Running {
            folder: self.folder.path(),
            log: &log,
            limit: Duration::from_mins(1),
            cancelled: &self.cancelled,
        };
        let built = trtexec.run(&build.arguments(trtexec.version), &running, &mut |event| {
            if let Event::Phase(phase) = event {
                phases.push(phase);
            }
        });
        (built, phases)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("build.log")).unwrap()
    }
}

fn failure(result: Result<Log, Error>) -> Failure {
    match result {
        Err(Error::Trtexec(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_build_is_told_phase_by_phase_and_logged() {
    let bench = Bench::new("");
    let (built, phases) = bench.build();
    let log = built.unwrap();
    assert_eq!(phases, [Phase::Parsing, Phase::Optimizing, Phase::Timing, Phase::Saving]);
    assert_eq!((log.build_seconds, log.peak_gpu_mib), (Some(2.25), Some(512.0)));
    assert_eq!((log.gpu.as_deref(), log.workspace_mib), (Some("NVIDIA L4"), Some(4096.0)));
    assert_eq!(Log::read(&bench.log()), log);
    let engine = fs::read(bench.path("model.engine")).unwrap();
    assert_eq!(graph::Plan::read(&engine).unwrap().version.to_string(), "8.6.1.0");
}

#[test]
fn success_takes_exit_0_and_the_last_word() {
    let cases = [
        ("SILENT=1", Cause::Unknown, "it ended without `&&&& PASSED`"),
        ("EXIT=3", Cause::Unknown, "exit status: 3"),
        ("KILLED=9", Cause::Killed, "signal: 9"),
        ("KILLED=11", Cause::Unknown, "signal: 11"),
    ];
    for (behaviour, cause, words) in cases {
        let bench = Bench::new(behaviour);
        let failed = failure(bench.build().0);
        assert_eq!(failed.cause, cause, "{behaviour}");
        assert!(failed.words.contains(words), "{behaviour}: {}", failed.words);
        assert!(bench.log().contains("Start parsing"), "{behaviour}");
    }
}

#[test]
fn a_known_failure_names_its_cause_its_log_and_the_way_out() {
    let cases = [
        ("foreign_node.log", Cause::NoImplementation, "ForeignNode[/model/Cast.../model/Sigmoid]"),
        ("out_of_memory.log", Cause::OutOfMemory, "the memory of the GPU"),
    ];
    for (file, cause, words) in cases {
        let bench = Bench::new(&format!("FAILS={}", fixture(file).display()));
        let error = bench.build().0.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("build.log"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("batch")), "{:?}", error.hint());
        assert_eq!(failure(Err(error)).cause, cause);
    }
}

#[test]
fn a_build_that_is_called_off_ends_at_once() {
    let bench = Bench::new("HANGS=build");
    let begun = Instant::now();
    let cancelled = Arc::clone(&bench.cancelled);
    let hanging = bench.path("hanging");
    let watcher = std::thread::spawn(move || {
        while !hanging.exists() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancelled.store(true, Ordering::Relaxed);
    });
    let (built, _) = bench.build();
    watcher.join().unwrap();
    assert!(matches!(built, Err(Error::Cancelled)), "{built:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(bench.log().contains("timing cache in use"), "{}", bench.log());
}

#[test]
fn the_version_is_asked_and_what_cannot_be_used_is_told() {
    for (number, version) in [("8601", "8.6.1"), ("101601", "10.16.1"), ("110100", "11.1.0")] {
        let bench = Bench::new(&format!("VERSION={number}"));
        assert_eq!(bench.find().unwrap().version.to_string(), version);
    }
    for (behaviour, words) in
        [("VERSION=8503", "TensorRT 8.5.3; 8.6 is the oldest"), ("NAMELESS=1", "usage: something")]
    {
        let bench = Bench::new(behaviour);
        let error = bench.find().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_backend_limit() && error.hint().is_some());
    }
    let bench = Bench::new("");
    let named = Trtexec::find(Some(&bench.path("trtexec")), None).unwrap();
    assert_eq!(named, Trtexec::find(Some(bench.folder.path()), None).unwrap());
    let missing = Trtexec::find(Some(&bench.path("absent")), None).unwrap_err();
    assert!(matches!(missing, Error::ToolMissing { .. }), "{missing}");
}

#[test]
fn an_engine_is_asked_with_the_given_tensors() {
    let bench = Bench::new("");
    fs::write(bench.path("model.engine"), "an engine").unwrap();
    let work = bench.path("work");
    fs::create_dir(&work).unwrap();
    let batched = |rest: &[usize]| {
        std::iter::once(Dim::batch()).chain(rest.iter().map(|size| Dim::Fixed(*size))).collect::<Vec<_>>()
    };
    let mut session = EngineSession {
        trtexec: bench.find().unwrap(),
        engine: bench.path("model.engine"),
        inputs: vec![
            ValueInfo::tensor("images", DataType::F32, batched(&[3])),
            ValueInfo::tensor("sizes", DataType::I64, batched(&[2])),
        ],
        outputs: vec![
            ValueInfo::tensor("labels", DataType::I64, batched(&[])),
            ValueInfo::tensor("scores", DataType::F32, batched(&[2])),
        ],
        folder: work.clone(),
        plugins: Vec::new(),
        device: Some(0),
        cancelled: Arc::clone(&bench.cancelled),
    };
    let images = Tensor::from_f32([2, 3], vec![0.5; 6]).unwrap();
    let sizes = Tensor::from_i64([2, 2], vec![480, 640, -1, 2]).unwrap();
    let outputs = session.run(&[("sizes", &sizes), ("images", &images)]).unwrap();
    assert_eq!(outputs[0].1.to_i64().unwrap(), [7, -1]);
    assert_eq!(outputs[1].1.to_f32().unwrap(), [0.5, 1e-5, -0.25, 3.0]);
    assert_eq!(fs::read(work.join("input-0.bin")).unwrap(), [0.5_f32; 6].map(f32::to_le_bytes).concat());
    // TensorRT 8 has no 64-bit integers.
    assert_eq!(
        fs::read(work.join("input-1.bin")).unwrap(),
        [480_i32, 640, -1, 2].map(i32::to_le_bytes).concat()
    );
    let calls = fs::read_to_string(bench.path("calls")).unwrap();
    assert!(
        calls.contains("--shapes=images:2x3,sizes:2x2 --loadInputs=images:input-0.bin,sizes:input-1.bin"),
        "{calls}"
    );
    let far = Tensor::from_i64([2, 2], vec![1 << 40; 4]).unwrap();
    assert!(matches!(session.run(&[("sizes", &far), ("images", &images)]), Err(Error::IntegerRange { .. })));
}

#[test]
fn an_engine_is_timed() {
    let bench = Bench::new("QPS=100");
    fs::write(bench.path("model.engine"), "an engine").unwrap();
    let trtexec = bench.find().unwrap();
    let (engine, log) = (bench.path("model.engine"), bench.path("timing.log"));
    let shapes = [("images".to_owned(), vec![4, 3, 8, 8])];
    let load = Load { engine: &engine, shapes: &shapes, plugins: &[], device: None };
    let running = Running {
        folder: bench.folder.path(),
        log: &log,
        limit: Duration::from_mins(1),
        cancelled: &bench.cancelled,
    };
    let timed = trtexec.run(&load.timing(trtexec.version), &running, &mut |_| {}).unwrap();
    let performance = timed.performance.unwrap();
    assert!((performance.qps - 100.0 / 2.56).abs() < 1e-3, "{}", performance.qps);
    let gpu = performance.gpu.unwrap();
    assert!((gpu.mean - 25.6).abs() < 1e-3 && gpu.percentile(99.0).is_some());
}
