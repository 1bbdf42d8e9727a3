//! `xtask parity`: every detector that the oracle can make, exported by us and compared with its original.
//!
//! For one model after the other: the checkpoint is made, exported by the `export` example of `models`, run under ONNX
//! Runtime beside the original (`parity.py`), and deleted. With `--python-export` the same checkpoint goes through
//! PyTorch's exporters. Everything is a child process, so that its peak memory is its own.

mod arguments;
pub(crate) mod child;
mod models;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use arguments::Arguments;
use child::{Done, run};
use models::{Kind, Model};

/// The Python half.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/parity/parity.py");
/// PyTorch's two exporters.
const EXPORTERS: &[&str] = &["torchscript", "dynamo"];
/// What makes exported graphs smaller.
const SLIMMERS: &[&str] = &["onnxslim", "onnxsim"];

/// Compares the models that the command line names; whether all passed.
pub(crate) fn compare(arguments: &[String], say: fn(&str)) -> Result<bool, String> {
    let arguments = Arguments::read(arguments)?;
    let list =
        run(Command::new(&arguments.python).arg(arguments.oracle.join("make_checkpoint.py")).arg("--list"))?;
    let ultralytics = arguments.ultralytics_python.is_some();
    let models = models::wanted(&list.output, arguments.size, &arguments.names, ultralytics)?;
    let exporter = build_exporter()?;
    let folder = match &arguments.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("parity-{}", std::process::id())),
    };
    let mut rows = Vec::new();
    for model in &models {
        say(&model.name);
        let place = Place { folder: folder.join(model.name.replace(':', "-")), exporter: &exporter };
        let row = place.measure(&arguments, model);
        if arguments.keep.is_none() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        say(&table::markdown(std::slice::from_ref(&row), false, false).lines().skip(2).collect::<String>());
        rows.push(row);
    }
    print(&table::markdown(&rows, arguments.f64, arguments.python_export));
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|cause| cause.to_string())?;
        std::fs::write(file, text + "\n").map_err(|cause| format!("`{}`: {cause}", file.display()))?;
    }
    Ok(rows.iter().all(|row| row["passed"] == true))
}

/// The `export` example of `models`, built.
fn build_exporter() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let arguments = ["build", "--release", "-p", "models", "--example", "export", "--message-format", "json"];
    let built = run(Command::new(env!("CARGO")).args(arguments).current_dir(root))?;
    let messages = built.output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let file = messages
        .filter(|message| message["target"]["name"] == "export")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    file.ok_or_else(|| "cargo does not say where the example `export` lies".to_owned())
}

/// Where one model is measured, and with what.
struct Place<'a> {
    folder: PathBuf,
    exporter: &'a Path,
}

impl Place<'_> {
    /// Everything about one model: its row of the table.
    fn measure(&self, arguments: &Arguments, model: &Model) -> Value {
        let mut row = Map::from_iter([("name".to_owned(), model.name.as_str().into())]);
        if let Err(error) = self.fill(&mut row, arguments, model) {
            row.insert("error".into(), error.into());
        }
        Value::Object(row)
    }

    fn fill(&self, row: &mut Map<String, Value>, arguments: &Arguments, model: &Model) -> Result<(), String> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|cause| format!("`{}`: {cause}", self.folder.display()))?;
        let checkpoint = self.make_checkpoint(arguments, model)?;
        let graph = self.folder.join("ours.onnx");
        row.insert("export".into(), self.export(arguments, model, &checkpoint, &graph)?);
        row.extend(Self::differences(arguments, model, &checkpoint, &graph)?);
        if arguments.python_export {
            row.extend(self.python_exports(arguments, model, &checkpoint));
        }
        Ok(())
    }

    /// The checkpoint: a folder, or a file of Ultralytics.
    fn make_checkpoint(&self, arguments: &Arguments, model: &Model) -> Result<PathBuf, String> {
        let checkpoint = self.folder.join("checkpoint");
        match model.kind {
            Kind::HuggingFace => {
                let script = arguments.oracle.join("make_checkpoint.py");
                let mut command = Command::new(&arguments.python);
                command.arg(script).arg(&model.name).args(["--size", arguments.size.name(), "--out"]);
                run(command.arg(&checkpoint).arg("--no-check"))?;
                Ok(checkpoint)
            }
            Kind::Ultralytics => {
                let script = arguments.oracle.join("make_ultralytics.py");
                let mut command = Command::new(interpreter(arguments, model));
                command.arg(script).arg(&model.name).arg("--no-reference").arg("--out").arg(&checkpoint);
                run(&mut command)?;
                Ok(checkpoint.join(format!("{}.pt", model.name)))
            }
        }
    }

    /// Exports with us: seconds, and peak memory of the process.
    fn export(
        &self,
        arguments: &Arguments,
        model: &Model,
        checkpoint: &Path,
        graph: &Path,
    ) -> Result<Value, String> {
        let folder = match model.kind {
            Kind::HuggingFace => checkpoint,
            Kind::Ultralytics => checkpoint.parent().unwrap_or(checkpoint),
        };
        let mut command = Command::new(self.exporter);
        // As an import does: what a prompt fixes is computed once.
        command.arg(folder).arg(graph).arg("--fold");
        command.args(model.prompts().iter().flat_map(|prompt| ["--prompt", prompt]));
        if let Some(canvas) = arguments.canvas.as_ref().filter(|_| pads(folder)) {
            command.args(["--size", canvas]);
        }
        let done = run(&mut command)?;
        let peak = done.output.split("peak memory ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let peak: Option<u64> = peak.and_then(|kilobytes| kilobytes.parse().ok());
        Ok(json!({ "seconds": done.time.as_secs_f64(), "peak_kb": peak }))
    }

    /// Runs the original and the graph.
    fn differences(
        arguments: &Arguments,
        model: &Model,
        checkpoint: &Path,
        graph: &Path,
    ) -> Result<Map<String, Value>, String> {
        let action = match model.kind {
            Kind::HuggingFace => "compare",
            Kind::Ultralytics => "compare-ultralytics",
        };
        let mut command = script(interpreter(arguments, model), action);
        command.arg(checkpoint).arg(graph).arg(&arguments.oracle);
        command.args(model.prompts().iter().flat_map(|prompt| ["--prompt", prompt]));
        command.args(arguments.f64.then_some("--f64"));
        match run(&mut command)?.json()? {
            Value::Object(mut result) => {
                // That of PyTorch and ONNX Runtime together.
                result.remove("peak_kb");
                Ok(result)
            }
            other => Err(format!("unexpected result {other}")),
        }
    }

    /// What PyTorch's exporters make of the same checkpoint.
    fn python_exports(&self, arguments: &Arguments, model: &Model, checkpoint: &Path) -> Map<String, Value> {
        let python = interpreter(arguments, model);
        let exporters = match model.kind {
            Kind::HuggingFace => EXPORTERS,
            // Ultralytics has one way.
            Kind::Ultralytics => &EXPORTERS[..1],
        };
        let mut results = Map::new();
        for exporter in exporters {
            let file = self.folder.join(format!("{exporter}.onnx"));
            let mut command = match model.kind {
                Kind::HuggingFace => script(python, "export"),
                Kind::Ultralytics => script(python, "export-ultralytics"),
            };
            command.arg(checkpoint).arg(&file).arg(&arguments.oracle).arg(exporter);
            let result = run(&mut command).and_then(|done| slimmed(&done, &arguments.python, &file));
            results.insert((*exporter).to_owned(), result.unwrap_or_else(|error| json!({ "error": error })));
        }
        results
    }
}

/// An exporter's figures, with the nodes that each slimmer leaves.
fn slimmed(done: &Done, python: &Path, file: &Path) -> Result<Value, String> {
    let mut result = done.json()?;
    result["seconds"] = done.time.as_secs_f64().into();
    for slimmer in SLIMMERS {
        let slim = run(script(python, "slim").arg(file).arg(slimmer)).and_then(|done| done.json());
        result[*slimmer] = slim.map_or(Value::Null, |slim| slim["nodes"].clone());
    }
    Ok(result)
}

fn script(python: &Path, action: &str) -> Command {
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(SCRIPT).arg(action);
    command
}

fn interpreter<'a>(arguments: &'a Arguments, model: &Model) -> &'a Path {
    match (model.kind, &arguments.ultralytics_python) {
        (Kind::Ultralytics, Some(python)) => python,
        _ => &arguments.python,
    }
}

/// Whether the checkpoint's images are padded to a canvas.
fn pads(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("preprocessor_config.json")).unwrap_or_default();
    let processor: Value = serde_json::from_str(&text).unwrap_or_default();
    !processor["size"]["shortest_edge"].is_null()
}

#[expect(clippy::print_stdout, reason = "the table is what the task is for")]
fn print(text: &str) {
    println!("{text}");
}
