//! Exporting with Python, with a script in place of the interpreter (`tests/fixtures/python_exporter/python`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::Error;
use runtime::tools::python_exporter::{Event, Exported, Exporter, Request, Setup, Task, export};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    variables: Vec<(OsString, OsString)>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python_exporter").join(name)
}

impl Bench {
    fn new(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Self { variables: Vec::new(), folder };
        let log = bench.path("log");
        for (name, value) in [("PATH", "/usr/bin:/bin"), ("LOG", log.to_str().unwrap())] {
            bench.variables.push((name.into(), value.into()));
        }
        bench.variables.push(("RECORDED".into(), fixture("unsupported.txt").into()));
        bench.set(variables);
        bench
    }

    fn set(&mut self, variables: &[(&str, &str)]) {
        self.variables.retain(|(name, _)| variables.iter().all(|(new, _)| *name != **new));
        self.variables.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn setup(&self) -> Setup {
        Setup {
            cache: self.path("cache"),
            python: fixture("python"),
            variables: self.variables.clone(),
            install_limit: Duration::from_secs(20),
            attempt_limit: Duration::from_secs(20),
        }
    }

    fn export(&self, setup: &Setup, prompt: &[String]) -> (Result<Exported, Error>, Vec<String>) {
        let out = self.path("out/model.onnx");
        let request = Request {
            model: &self.path("a model"),
            out: &out,
            task: Task::ObjectDetection,
            opset: 17,
            size: Some((480, 640)),
            prompt,
        };
        let mut events = Vec::new();
        let result = export(&request, setup, &mut |event| {
            events.push(match event {
                Event::Installing { size, fetched, .. } => {
                    format!("installing {} GB, {} GB fetched", size / 1_000_000_000, fetched / 1_000_000_000)
                }
                Event::Attempt { number, attempt } => format!("attempt {number}: {attempt}"),
                Event::Failed(failed) => format!("failed: {}", failed.reason),
                Event::Line(line) => line.to_owned(),
            });
        });
        (result, events)
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path("log")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// What lies in the output's folder.
    fn written(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn reason(result: Result<Exported, Error>) -> String {
    match result {
        Err(error @ Error::Tool { tool: "python", .. }) => {
            assert!(error.hint().is_some());
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_environment_is_installed_once_and_told_before() {
    let bench = Bench::new(&[("SUCCEEDS", "optimum 17")]);
    let (first, events) = bench.export(&bench.setup(), &[]);
    let exported = first.unwrap();
    assert_eq!(events[0], "installing 7 GB, 3 GB fetched");
    assert!(events.contains(&"Collecting torch==2.9.1".to_owned()), "{events:?}");
    assert_eq!((exported.attempt.exporter, exported.opset), (Exporter::Optimum, Some(17)));
    assert_eq!(exported.differences, [("logits".to_owned(), 2, 1.5e-5)]);
    assert_eq!((exported.unused, exported.failed.len()), (vec!["model.extra".to_owned()], 0));
    assert_eq!(bench.written(), ["model.onnx", "model.onnx.data"]);

    let (second, events) = bench.export(&bench.setup(), &[]);
    assert!(second.is_ok() && events == ["attempt 1: optimum, object-detection, opset 17"], "{events:?}");
    let calls = bench.calls();
    assert_eq!(calls.iter().filter(|call| *call == "pip").count(), 1, "{calls:?}");
    let export = calls.last().unwrap();
    assert!(export.contains("--height 480 --width 640") && export.contains("/a model --out"), "{export}");
}

#[test]
fn an_interrupted_installation_is_made_again() {
    let bench = Bench::new(&[("SUCCEEDS", "optimum 17")]);
    bench.export(&bench.setup(), &[]).0.unwrap();
    let environments = bench.path("cache/python-exporter");
    let folder = fs::read_dir(&environments).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.into_iter().find(|path| path.is_dir()).unwrap();
    // As it is left by a machine that lost its power: under the final name without the marker, or beside it.
    fs::remove_file(folder.join("complete")).unwrap();
    fs::create_dir_all(folder.with_extension("building").join("bin")).unwrap();
    let (result, events) = bench.export(&bench.setup(), &[]);
    assert!(result.is_ok() && events[0].starts_with("installing"), "{events:?}");
    assert!(!folder.with_extension("building").exists() && folder.join("complete").is_file());
    // A marker that was cut short, or that is of other packages.
    fs::write(folder.join("complete"), "torch").unwrap();
    assert!(bench.export(&bench.setup(), &[]).1[0].starts_with("installing"));
}

#[test]
fn an_installation_that_fails_leaves_nothing() {
    let cases = [
        (("PIP", "fails"), "No matching distribution"),
        (("CHECK", "fails"), "No module named 'torch'"),
        (("MINOR", "9"), "this is Python 3.9"),
        (("MINOR", "x"), "does not say its version"),
    ];
    for (variable, expected) in cases {
        let mut bench = Bench::new(&[("SUCCEEDS", "optimum 17"), variable]);
        let reason = reason(bench.export(&bench.setup(), &[]).0);
        assert!(reason.contains(expected), "{reason}");
        let left = fs::read_dir(bench.path("cache/python-exporter")).unwrap();
        assert!(left.map(|entry| entry.unwrap().file_name()).all(|name| name == "lock"), "{variable:?}");
        assert!(bench.written().is_empty());
        bench.set(&[("PIP", ""), ("CHECK", ""), ("MINOR", "12")]);
        assert!(bench.export(&bench.setup(), &[]).0.is_ok());
    }
    let bench = Bench::new(&[("PIP", "hangs")]);
    let start = Instant::now();
    let setup = Setup { install_limit: Duration::from_millis(300), ..bench.setup() };
    assert!(reason(bench.export(&setup, &[]).0).contains("ran out of time"));
    assert!(start.elapsed() < Duration::from_secs(10));
    let missing = Setup { python: "no-such-python".into(), ..bench.setup() };
    assert!(reason(bench.export(&missing, &[]).0).contains("not installed"));
}

#[test]
fn two_imports_at_the_same_time_install_once() {
    let bench = Bench::new(&[("SUCCEEDS", "optimum 17")]);
    std::thread::scope(|scope| {
        for name in ["one", "two", "three"] {
            let (bench, out) = (&bench, bench.path(name).join("model.onnx"));
            scope.spawn(move || {
                let model = bench.path("model");
                let task = Task::ObjectDetection;
                let request = Request { model: &model, out: &out, task, opset: 17, size: None, prompt: &[] };
                export(&request, &bench.setup(), &mut |_| {}).unwrap();
            });
        }
    });
    assert_eq!(bench.calls().iter().filter(|call| *call == "pip").count(), 1);
}

#[test]
fn attempts_go_on_until_one_gives_a_graph() {
    // The recorded failure says that optimum does not know the architecture.
    let bench = Bench::new(&[("SUCCEEDS", "dynamo 18")]);
    let (result, events) = bench.export(&bench.setup(), &[]);
    let exported = result.unwrap();
    let attempts: Vec<&String> = events.iter().filter(|event| event.starts_with("attempt")).collect();
    assert_eq!(
        attempts,
        [
            "attempt 1: optimum, object-detection, opset 17",
            "attempt 2: torch.onnx (recorded), object-detection, opset 17",
            "attempt 3: torch.onnx (captured), object-detection, opset 18",
        ]
    );
    assert_eq!(exported.failed.len(), 2);
    assert!(
        exported.failed[0].reason.contains("custom or unsupported architecture"),
        "{:?}",
        exported.failed
    );
    assert_eq!(bench.written(), ["model.onnx", "model.onnx.data"]);

    let prompt = ["--help".to_owned(), "a cat".to_owned()];
    let (_, events) = bench.export(&bench.setup(), &prompt);
    assert!(events[0].contains("torch.onnx"), "{events:?}");
    assert!(bench.calls().last().unwrap().ends_with("--prompt=--help --prompt=a cat"));
}

#[test]
fn when_every_attempt_fails_the_report_has_them_all() {
    let bench = Bench::new(&[]);
    let (result, events) = bench.export(&bench.setup(), &[]);
    let Err(error @ Error::PythonExport(_)) = result else { panic!("{result:?}") };
    assert!(error.to_string().contains("none of 4 attempts"), "{error}");
    let Error::PythonExport(failure) = error else { unreachable!() };
    let report = failure.report();
    assert_eq!(report.matches("\n## Attempt ").count(), 4, "{report}");
    assert!(report.contains("| 1 | optimum, object-detection, opset 17 |"), "{report}");
    assert!(report.contains("    Traceback (most recent call last):"), "{report}");
    assert_eq!(events.iter().filter(|event| event.starts_with("failed: ValueError")).count(), 4);
    assert!(bench.written().is_empty());
}

#[test]
fn an_attempt_that_hangs_or_writes_nothing_is_a_failed_one() {
    let bench = Bench::new(&[("ATTEMPT", "hangs")]);
    let start = Instant::now();
    let setup = Setup { attempt_limit: Duration::from_millis(200), ..bench.setup() };
    let Err(Error::PythonExport(failure)) = bench.export(&setup, &[]).0 else { panic!() };
    assert_eq!(failure.attempts.len(), 6);
    assert!(failure.attempts.iter().all(|failed| failed.reason == "it ran out of time"));
    assert!(start.elapsed() < Duration::from_secs(15));
    let bench = Bench::new(&[("ATTEMPT", "silent")]);
    let Err(Error::PythonExport(failure)) = bench.export(&bench.setup(), &[]).0 else { panic!() };
    assert!(failure.attempts.iter().all(|failed| failed.reason == "it wrote no file"));
}
