//! Exporting with Python, for models that have no exporter here: optimum's exporter, then PyTorch's own.
//!
//! The libraries live in one environment in the cache, made at the first use ([`Setup`]). Each attempt is a process of its
//! own that runs `export.py` with a limit of time, and counts only when the checkpoint has every tensor of the model and ONNX
//! Runtime computes PyTorch's outputs for one image and for two from the graph that was written. Nothing of the model is
//! run but its weights: it is loaded from a folder, without the network, and code beside it is not imported.

mod attempts;
mod environment;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use attempts::{Attempt, Exporter, Failed, Task};
pub use environment::Setup;
pub use report::Failure;

use crate::Error;
use crate::tools::child::{self, Ending, Heard};
use environment::Environment;

/// The program of one attempt.
const SCRIPT: &str = include_str!("export.py");
/// What its lines begin with that are meant for us.
const ANSWER: &str = "# ";

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder with `config.json` and the weights.
    pub model: &'a Path,
    /// The ONNX file to write; a larger one than 2 GB gets a `.data` file beside it.
    pub out: &'a Path,
    /// What the model is.
    pub task: Task,
    /// The operator set to try first.
    pub opset: i64,
    /// Height and width of the input, instead of the processor's.
    pub size: Option<(u32, u32)>,
    /// What an open-vocabulary model is to look for; fixed in the graph.
    pub prompt: &'a [String],
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// The environment is not there yet and is going to be installed.
    Installing {
        /// Where it goes.
        folder: &'a Path,
        /// Bytes that it takes on the disk.
        size: u64,
        /// Bytes that are fetched.
        fetched: u64,
    },
    /// An attempt begins.
    Attempt {
        /// Its number, from 1.
        number: usize,
        /// What is tried.
        attempt: &'a Attempt,
    },
    /// An attempt failed.
    Failed(&'a Failed),
    /// A line that a program printed.
    Line(&'a str),
}

/// A graph that was written.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Exported {
    /// The settings that succeeded.
    pub attempt: Attempt,
    /// The operator set of the file, where it was said.
    pub opset: Option<i64>,
    /// Output, number of images, and the largest difference to PyTorch's.
    pub differences: Vec<(String, usize, f64)>,
    /// Tensors of the checkpoint that the model does not need.
    pub unused: Vec<String>,
    /// What was tried before.
    pub failed: Vec<Failed>,
}

/// Writes the ONNX file of a model.
///
/// # Errors
/// [`Error::Tool`] when Python cannot be used or the folders cannot be written, [`Error::PythonExport`] with everything
/// that was tried when no attempt succeeded.
pub fn export(
    request: &Request<'_>,
    setup: &Setup,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Exported, Error> {
    let environment = Environment::ready(setup, tell)?;
    let work = Work::beside(request.out)?;
    let has_prompt = !request.prompt.is_empty();
    let mut failed: Vec<Failed> = Vec::new();
    while let Some(attempt) = attempts::next(request.task, request.opset, has_prompt, &failed) {
        tell(Event::Attempt { number: failed.len() + 1, attempt: &attempt });
        let start = Instant::now();
        let result = work.attempt(request, attempt, &environment, setup.attempt_limit, tell)?;
        match result {
            Ok(answers) => {
                work.publish(request.out)?;
                return Ok(answers.exported(attempt, failed));
            }
            Err((reason, lines)) => {
                let seconds = start.elapsed().as_secs_f64();
                let failure = Failed { attempt, reason, seconds, lines };
                tell(Event::Failed(&failure));
                failed.push(failure);
            }
        }
    }
    Err(Error::PythonExport(Box::new(Failure { model: request.model.to_owned(), attempts: failed })))
}

/// A folder beside the output for what is not finished; gone afterwards.
struct Work(PathBuf);

impl Work {
    fn beside(out: &Path) -> Result<Self, Error> {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".exporting");
        let folder = out.with_file_name(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| at(&folder, &error))?;
        Ok(Self(folder))
    }

    /// The graph under the name that it is going to have, since a `.data` file is referred to by name.
    fn graph(&self, out: &Path) -> PathBuf {
        self.0.join(out.file_name().unwrap_or_default())
    }

    /// One attempt: its answers, or the reason and the last lines.
    fn attempt(
        &self,
        request: &Request<'_>,
        attempt: Attempt,
        environment: &Environment,
        limit: Duration,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Result<Answers, (String, Vec<String>)>, Error> {
        let (script, graph) = (self.0.join("export.py"), self.graph(request.out));
        fs::write(&script, SCRIPT).map_err(|error| at(&script, &error))?;
        let _ = fs::remove_file(&graph);
        let mut command = environment.python();
        command.arg(&script).arg("--model").arg(request.model).arg("--out").arg(&graph);
        command.args(["--exporter", attempt.exporter.name(), "--task", attempt.task.name()]);
        command.args(["--opset", &attempt.opset.to_string()]);
        if !attempt.post_process {
            command.arg("--no-post-process");
        }
        if let Some((height, width)) = request.size {
            command.args(["--height", &height.to_string(), "--width", &width.to_string()]);
        }
        // One argument each, so that a prompt that begins with a dash is none.
        command.args(request.prompt.iter().map(|text| format!("--prompt={text}")));
        let mut answers = Answers::default();
        let mut hear = |heard: Heard<'_>| {
            let Heard::Line(line) = heard else { return };
            match line.strip_prefix(ANSWER) {
                Some(answer) => answers.hear(answer),
                None => tell(Event::Line(line)),
            }
        };
        let ended = child::run(&mut command, limit, None, &mut hear);
        let ended = ended.map_err(|error| at(&script, &error))?;
        let is_written = graph.metadata().is_ok_and(|file| file.len() > 0);
        if ended.is_success() && is_written {
            return Ok(Ok(answers));
        }
        let reason = match answers.error {
            Some(error) if ended.ending != Ending::TimedOut => error,
            _ if ended.is_success() => "it wrote no file".into(),
            _ => ended.last_words(),
        };
        Ok(Err((reason, ended.lines)))
    }

    /// Moves what was written to its place; the graph last.
    fn publish(&self, out: &Path) -> Result<(), Error> {
        let graph = self.graph(out);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(|error| at(&self.0, &error))? {
            let path = entry.map_err(|error| at(&self.0, &error))?.path();
            if path.is_file() && path.extension().is_none_or(|extension| extension != "py") && path != graph {
                files.push(path);
            }
        }
        files.push(graph);
        for file in files {
            let place = out.with_file_name(file.file_name().unwrap_or_default());
            fs::rename(&file, &place).map_err(|error| at(&place, &error))?;
        }
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the script found out.
#[derive(Debug, Default)]
struct Answers {
    opset: Option<i64>,
    differences: Vec<(String, usize, f64)>,
    unused: Vec<String>,
    error: Option<String>,
}

impl Answers {
    fn hear(&mut self, answer: &str) {
        let words: Vec<&str> = answer.split_whitespace().collect();
        match words[..] {
            ["opset", number] => self.opset = number.parse().ok(),
            ["difference", name, images, value] => {
                if let (Ok(images), Ok(value)) = (images.parse(), value.parse()) {
                    self.differences.push((name.to_owned(), images, value));
                }
            }
            ["unused", name] => self.unused.push(name.to_owned()),
            ["error", ..] => self.error = answer.strip_prefix("error ").map(str::to_owned),
            _ => {}
        }
    }

    fn exported(self, attempt: Attempt, failed: Vec<Failed>) -> Exported {
        let Self { opset, differences, unused, error: _ } = self;
        Exported { attempt, opset, differences, unused, failed }
    }
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    Error::Tool { tool: "python", reason: format!("`{}`: {error}", path.display()) }
}
