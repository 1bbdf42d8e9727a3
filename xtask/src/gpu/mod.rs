//! `xtask gpu`: images a second from JPEG files to boxes on a graphics processor, beside Python on the same files.
//!
//! For each checkpoint: exported, converted to float16, suppression and preprocessing put into its graph; each of these graphs
//! timed by `sightline bench --from-files`, then PyTorch and ONNX Runtime from Python (`peer.py`) on the same files.

mod arguments;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::parity::child::run;
use arguments::Arguments;

/// The Python half.
const SCRIPT: &str = include_str!("peer.py");

/// A form of a detector's graph, and what `optimize` is told to make it.
const FORMS: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("suppressed", &["--suppress-in-graph"]),
    ("frames", &["--preprocess-in-graph", "--suppress-in-graph"]),
];

/// Measures every checkpoint and prints the table.
pub(crate) fn compare(arguments: &[String], say: fn(&str)) -> Result<(), String> {
    let arguments = Arguments::read(arguments)?;
    let place = std::env::temp_dir().join(format!("gpu-{}", std::process::id()));
    let written = |error: std::io::Error| format!("`{}`: {error}", place.display());
    std::fs::create_dir_all(&place).map_err(written)?;
    let script = place.join("peer.py");
    std::fs::write(&script, SCRIPT).map_err(written)?;
    let bench = Bench { arguments: &arguments, place: &place, script: &script, say };
    bench.make_images()?;
    for line in table::HEAD {
        say(line);
    }
    let mut rows = Vec::new();
    for checkpoint in &arguments.checkpoints {
        for precision in &arguments.precisions {
            let row = bench.row(checkpoint, precision);
            for line in table::lines(&row) {
                say(&line);
            }
            rows.push(row);
        }
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
        std::fs::write(file, text).map_err(|error| format!("`{}`: {error}", file.display()))?;
    }
    std::fs::remove_dir_all(&place).map_err(written)
}

struct Bench<'a> {
    arguments: &'a Arguments,
    place: &'a Path,
    script: &'a Path,
    say: fn(&str),
}

impl Bench<'_> {
    /// Frames of one size, as a camera gives them.
    fn make_images(&self) -> Result<(), String> {
        let (width, height) = &self.arguments.frame;
        let mut command = Command::new(&self.arguments.python);
        command.arg(self.script).arg("images").arg(&self.arguments.images).arg(self.images());
        run(command.args([width, height])).map(drop)
    }

    fn images(&self) -> PathBuf {
        self.place.join("images")
    }

    /// All figures of a checkpoint in one precision; a figure that cannot be taken is the reason why.
    fn row(&self, checkpoint: &Path, precision: &str) -> Value {
        let name = checkpoint.file_stem().unwrap_or_default().display().to_string();
        let mut row = Map::from_iter([
            ("name".to_owned(), Value::from(name.as_str())),
            ("precision".to_owned(), precision.into()),
        ]);
        let folder = self.place.join(&name);
        let graph = match self.graph(checkpoint, &folder, precision) {
            Ok(graph) => graph,
            Err(error) => {
                row.insert("error".into(), error.into());
                return row.into();
            }
        };
        for (form, options) in FORMS {
            let figures =
                self.told(form, || self.form(&graph, form, options).and_then(|file| self.timed(&file)));
            row.insert((*form).to_owned(), figures);
        }
        row.insert("peers".into(), self.told("Python", || self.peers(checkpoint, &graph, precision)));
        let _ = std::fs::remove_dir_all(&folder);
        row.into()
    }

    /// Figures, or why there are none; told when they are there, because time on such a machine is short.
    fn told(&self, what: &str, figures: impl FnOnce() -> Result<Value, String>) -> Value {
        let begun = Instant::now();
        let figures = figures().unwrap_or_else(Value::from);
        (self.say)(&format!("  {what}, {:.0} s: {figures}", begun.elapsed().as_secs_f64()));
        figures
    }

    fn sightline(&self, job: &str) -> Command {
        let mut command = Command::new(&self.arguments.program);
        command.args([job, "--quiet"]);
        command
    }

    /// The plain graph in this precision.
    fn graph(&self, checkpoint: &Path, folder: &Path, precision: &str) -> Result<PathBuf, String> {
        (self.say)(&format!("{} {precision}", checkpoint.display()));
        run(self.sightline("export").arg(checkpoint).arg("--out").arg(folder))?;
        let mut fp32 = folder.join(checkpoint.file_stem().unwrap_or_default());
        fp32.set_extension("onnx");
        if precision == "fp32" {
            return Ok(fp32);
        }
        let fp16 = folder.join("fp16.onnx");
        let mut command = self.sightline("optimize");
        command.args(["--fp16", "--count", "8", "--calibrate"]);
        run(command.arg(self.images()).arg("--out").arg(&fp16).arg(&fp32))?;
        Ok(fp16)
    }

    /// The graph in one of the forms.
    fn form(&self, graph: &Path, form: &str, options: &[&str]) -> Result<PathBuf, String> {
        if options.is_empty() {
            return Ok(graph.to_owned());
        }
        let file = graph.with_file_name(format!("{form}.onnx"));
        let mut command = self.sightline("optimize");
        // Random weights: a class score at the threshold may fall on either side of it in two runs.
        command
            .arg("--unchecked")
            .args(options)
            .arg("--images")
            .arg(self.images())
            .arg("--out")
            .arg(&file)
            .arg(graph);
        run(&mut command)?;
        Ok(file)
    }

    /// Images a second from files to boxes, by batch.
    fn timed(&self, graph: &Path) -> Result<Value, String> {
        let mut command = self.sightline("bench");
        command.args(["--json", "--from-files", "--sessions", "2", "--seconds", "1", "--count", "1000"]);
        command.args(["--backend", &self.arguments.backend, "--batch", &self.arguments.batches.join(",")]);
        let said = run(command.arg("--images").arg(self.images()).arg(graph))?;
        let said: Value = serde_json::from_str(&said.output).map_err(|error| error.to_string())?;
        let whole = said["from_files"].as_array().cloned().unwrap_or_default();
        let figure = |one: &Value| (one["batch"].to_string(), one["images_per_second"].clone());
        Ok(whole.iter().map(figure).collect::<Map<_, _>>().into())
    }

    fn peers(&self, checkpoint: &Path, graph: &Path, precision: &str) -> Result<Value, String> {
        let mut command = Command::new(&self.arguments.python);
        command.arg(self.script).arg("run").arg(checkpoint).arg(graph).arg(self.images());
        command.args([precision, &self.arguments.batches.join(","), "1"]);
        run(&mut command)?.json()
    }
}
