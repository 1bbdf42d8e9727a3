//! The engine of the flow: a step runs once for an input, then its record answers.
//!
//! What is in a step's key: the program's version, the step's name and version, and the input, which holds digests
//! instead of paths. What is not: the clock, the machine (unless the input names it), where the files lie.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use runtime::tools::python_exporter::Setup;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::steps::export::Tools;
use crate::store::{Record, Store};
use crate::{Blob, Digest, Error};

/// Names a step and the meaning of its output.
///
/// Raise `version` when the same input should give another output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The word for it: `export`, `verify` …
    pub name: &'static str,
    /// Version of its meaning.
    pub version: u32,
}

/// What happened; the caller draws it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step runs, and why, where an earlier run is there to compare with.
    Started {
        /// The step.
        step: &'static str,
        /// The first part of its input that is not as it was.
        because: Option<String>,
    },
    /// A step's record answers.
    Reused {
        /// The step.
        step: &'static str,
    },
    /// A step is done.
    Finished {
        /// The step.
        step: &'static str,
        /// How long it took.
        elapsed: Duration,
    },
    /// How far a step is.
    Progress {
        /// The step.
        step: &'static str,
        /// What is counted: `images`, `runs` …
        unit: &'static str,
        /// Done so far.
        done: u64,
        /// Of this many.
        total: u64,
    },
    /// A download goes on.
    Download(&'a hub::Event),
    /// Something that the user should know.
    Note {
        /// The step.
        step: &'static str,
        /// What.
        message: &'a str,
    },
    /// Something that may be wrong.
    Warning {
        /// The step.
        step: &'static str,
        /// What.
        message: &'a str,
    },
    /// With [`Mode::Plan`]: what would happen to a step.
    Planned {
        /// The step.
        step: &'static str,
        /// Whether a record answers; otherwise it would run.
        reuse: bool,
        /// Why it would run.
        because: Option<String>,
    },
}

/// Whether steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    Execute,
    /// They do not: the plan is told.
    Plan,
}

/// One step as it was taken, for the manifest and the report.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The step.
    pub step: Step,
    /// The key of its input.
    pub key: Digest,
    /// How long it took, now or when it was recorded.
    pub elapsed: Duration,
    /// Whether its record answered.
    pub reused: bool,
}

/// One run of the flow over one store.
pub struct Run<'a> {
    /// Where blobs and records lie.
    pub store: Store,
    package: String,
    mode: Mode,
    python: Option<Setup>,
    report: &'a dyn Fn(Event<'_>),
    taken: RefCell<Vec<Taken>>,
}

impl<'a> Run<'a> {
    /// A run for the package of this name.
    pub fn new(store: Store, package: &str, mode: Mode, report: &'a dyn Fn(Event<'_>)) -> Self {
        Self { store, package: package.to_owned(), mode, python: None, report, taken: RefCell::default() }
    }

    /// The same run, which may export with this Python.
    #[must_use]
    pub fn with_python(mut self, setup: Setup) -> Self {
        self.python = Some(setup);
        self
    }

    /// Where Python is.
    pub(crate) fn python(&self) -> Option<&Setup> {
        self.python.as_ref()
    }

    /// Tells what happens.
    pub fn tell(&self, event: Event<'_>) {
        (self.report)(event);
    }

    /// The steps taken so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// The recorded output for this exact input, or what `work` makes of it, recorded.
    ///
    /// # Errors
    /// What `work` returns; [`Error::Planned`] in [`Mode::Plan`] when the step would run.
    pub fn step<I, O>(
        &self,
        step: Step,
        input: &I,
        work: impl FnOnce(&StepContext<'_, 'a>) -> Result<O, Error>,
    ) -> Result<O, Error>
    where
        I: Serialize,
        O: Serialize + DeserializeOwned,
    {
        self.step_unless(false, step, input, work)
    }

    /// As [`Run::step`], for a step that is taken several times in a run: why it runs again is told from what it was for the
    /// same `label` the last time.
    pub(crate) fn step_for<I, O>(
        &self,
        label: &str,
        step: Step,
        fresh: bool,
        input: &I,
        work: impl FnOnce(&StepContext<'_, 'a>) -> Result<O, Error>,
    ) -> Result<O, Error>
    where
        I: Serialize,
        O: Serialize + DeserializeOwned,
    {
        self.take(fresh, step, &format!("{} of {label}", step.name), input, work)
    }

    /// As [`Run::step`], but with `fresh` set an earlier record does not answer: for what is no function of its input,
    /// such as a latency.
    pub fn step_unless<I, O>(
        &self,
        fresh: bool,
        step: Step,
        input: &I,
        work: impl FnOnce(&StepContext<'_, 'a>) -> Result<O, Error>,
    ) -> Result<O, Error>
    where
        I: Serialize,
        O: Serialize + DeserializeOwned,
    {
        self.take(fresh, step, step.name, input, work)
    }

    /// `mark` is what the newest record is remembered by.
    fn take<I, O>(
        &self,
        fresh: bool,
        step: Step,
        mark: &str,
        input: &I,
        work: impl FnOnce(&StepContext<'_, 'a>) -> Result<O, Error>,
    ) -> Result<O, Error>
    where
        I: Serialize,
        O: Serialize + DeserializeOwned,
    {
        let key = Digest::of_json(&(env!("CARGO_PKG_VERSION"), step, input))?;
        if let Some(record) = self.store.load::<O>(step.name, &key).filter(|_| !fresh) {
            return self.reuse(step, mark, key, record);
        }
        let input = serde_json::to_value(input)
            .map_err(|source| Error::Record { what: step.name.to_owned(), source })?;
        let because = if fresh {
            Some("new figures were asked for".to_owned())
        } else {
            self.store.last_input(&self.package, step.name, mark).map(|before| difference(&before, &input))
        };
        if self.mode == Mode::Plan {
            self.tell(Event::Planned { step: step.name, reuse: false, because });
            return Err(Error::Planned { step: step.name });
        }
        self.tell(Event::Started { step: step.name, because });
        let started = Instant::now();
        let context =
            StepContext { step, run: self, blobs: RefCell::default(), warnings: RefCell::default() };
        let output = work(&context)?;
        let elapsed = started.elapsed();
        let (blobs, warnings) = (context.blobs.take(), context.warnings.take());
        let record = Record { input, output, blobs, warnings, elapsed };
        self.store.save(&self.package, step.name, mark, &key, &record)?;
        self.tell(Event::Finished { step: step.name, elapsed });
        self.taken.borrow_mut().push(Taken { step, key, elapsed, reused: false });
        Ok(record.output)
    }

    /// Records an output that had to be made to know its key, such as what a source holds now. It counts as reused when
    /// it is what it was.
    pub fn observed<O>(&self, step: Step, elapsed: Duration, output: O) -> Result<O, Error>
    where
        O: Serialize + DeserializeOwned,
    {
        let key = Digest::of_json(&(env!("CARGO_PKG_VERSION"), step, &output))?;
        if let Some(record) = self.store.load::<Value>(step.name, &key) {
            self.reuse(step, step.name, key, record)?;
            return Ok(output);
        }
        let input = serde_json::to_value(&output)
            .map_err(|source| Error::Record { what: step.name.to_owned(), source })?;
        let because = self
            .store
            .last_input(&self.package, step.name, step.name)
            .map(|before| difference(&before, &input));
        if self.mode == Mode::Plan {
            self.tell(Event::Planned { step: step.name, reuse: false, because });
            return Ok(output);
        }
        if because.is_some() {
            self.tell(Event::Started { step: step.name, because });
        }
        let record =
            Record { input: input.clone(), output: input, blobs: Vec::new(), warnings: Vec::new(), elapsed };
        self.store.save(&self.package, step.name, step.name, &key, &record)?;
        self.tell(Event::Finished { step: step.name, elapsed });
        self.taken.borrow_mut().push(Taken { step, key, elapsed, reused: false });
        Ok(output)
    }

    /// Whether steps run.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn reuse<O>(&self, step: Step, mark: &str, key: Digest, record: Record<O>) -> Result<O, Error> {
        match self.mode {
            Mode::Plan => self.tell(Event::Planned { step: step.name, reuse: true, because: None }),
            Mode::Execute => {
                self.store.mark(&self.package, mark, &key)?;
                self.tell(Event::Reused { step: step.name });
                for message in &record.warnings {
                    self.tell(Event::Warning { step: step.name, message });
                }
            }
        }
        self.taken.borrow_mut().push(Taken { step, key, elapsed: record.elapsed, reused: true });
        Ok(record.output)
    }
}

/// What a step may do to the world.
pub struct StepContext<'r, 'a> {
    step: Step,
    run: &'r Run<'a>,
    blobs: RefCell<Vec<Blob>>,
    warnings: RefCell<Vec<String>>,
}

impl StepContext<'_, '_> {
    /// What making a graph may need.
    pub(crate) fn tools(&self) -> Tools<'_> {
        let store = &self.run.store;
        Tools { python: self.run.python(), out: store.out(), work: store.work(), tell: self.run.report }
    }

    /// The store, to read from.
    pub fn store(&self) -> &Store {
        &self.run.store
    }

    /// Keeps bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob, Error> {
        Ok(self.keep(self.run.store.put(bytes)?))
    }

    /// Keeps a finished file of the store's work folder; it is moved.
    pub(crate) fn adopt(&self, file: &std::path::Path) -> Result<Blob, Error> {
        Ok(self.keep(self.run.store.adopt(file)?))
    }

    /// Keeps a graph as an ONNX file, streamed.
    pub fn put_graph(&self, model: &graph::Model) -> Result<Blob, Error> {
        let blob = self.run.store.put_with(|mut out| {
            graph::onnx::write(model, &mut out)?;
            Ok(())
        })?;
        Ok(self.keep(blob))
    }

    /// Tells something that may be wrong; told again whenever the record answers.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        self.run.tell(Event::Warning { step: self.step.name, message: &message });
        self.warnings.borrow_mut().push(message);
    }

    /// Tells something that the user should know.
    pub fn note(&self, message: &str) {
        self.run.tell(Event::Note { step: self.step.name, message });
    }

    /// Tells how far the step is.
    pub fn progress(&self, unit: &'static str, done: u64, total: u64) {
        self.run.tell(Event::Progress { step: self.step.name, unit, done, total });
    }

    fn keep(&self, blob: Blob) -> Blob {
        self.blobs.borrow_mut().push(blob.clone());
        blob
    }
}

/// The first place where two inputs differ, in words: `options.opset was 17, is 18`.
fn difference(before: &Value, now: &Value) -> String {
    fn first(path: &str, before: &Value, now: &Value) -> Option<String> {
        match (before, now) {
            (Value::Object(a), Value::Object(b)) => {
                let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
                keys.into_iter().find_map(|key| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    first(&path, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
                })
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                (0..a.len()).find_map(|at| first(&format!("{path}[{}]", entry(&b[at], at)), &a[at], &b[at]))
            }
            (Value::Array(a), Value::Array(b)) => {
                Some(format!("{path} had {} entries, has {}", a.len(), b.len()))
            }
            (a, b) if a == b => None,
            (a, b) => Some(format!("{path} was {}, is {}", short(a), short(b))),
        }
    }
    /// An entry of a list by the path or name that it has, else by its place.
    fn entry(value: &Value, at: usize) -> String {
        let name = value.get("path").or_else(|| value.get("name")).and_then(Value::as_str);
        name.map_or_else(|| at.to_string(), str::to_owned)
    }
    first("", before, now).unwrap_or_else(|| "its result is gone, or this program is another version".into())
}

/// A value short enough for a line.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        text
    } else {
        format!("{}…", text.chars().take(56).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIRST: Step = Step { name: "first", version: 1 };

    fn run_once(out: &std::path::Path, input: &Value) -> (u64, Vec<String>) {
        let told = RefCell::new(Vec::new());
        let report = |event: Event<'_>| told.borrow_mut().push(format!("{event:?}"));
        let run = Run::new(Store::open(out, &|| {}).unwrap(), "p", Mode::Execute, &report);
        let output = run
            .step(FIRST, input, |cx| {
                cx.warn("careful");
                cx.put(b"made").map(|blob| blob.bytes)
            })
            .unwrap();
        drop(run);
        (output, told.into_inner())
    }

    #[test]
    fn a_step_runs_once_for_an_input_and_says_why_it_runs_again() {
        let out = tempfile::tempdir().unwrap();
        let (output, told) = run_once(out.path(), &json!({"opset": 17}));
        assert_eq!(output, 4);
        assert!(told[0].starts_with("Started"), "{told:?}");
        let (_, told) = run_once(out.path(), &json!({"opset": 17}));
        assert!(told[0].starts_with("Reused") && told[1].contains("careful"), "{told:?}");
        let (_, told) = run_once(out.path(), &json!({"opset": 18}));
        assert!(told[0].contains("opset was 17, is 18"), "{told:?}");
    }

    #[test]
    fn a_plan_runs_nothing() {
        let out = tempfile::tempdir().unwrap();
        let run = Run::new(Store::open_to_look(out.path()), "p", Mode::Plan, &|_| {});
        let planned = run.step(FIRST, &1, |_| -> Result<u64, Error> { panic!("a plan runs nothing") });
        assert!(matches!(planned, Err(Error::Planned { step: "first" })));
        assert!(!out.path().join(Store::FOLDER).exists());
    }

    #[test]
    fn the_first_difference_is_named() {
        let cases = [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "a.b was 1, is 2"),
            (json!({"a": 1}), json!({"a": 1, "c": true}), "c was null, is true"),
            (json!({"l": [1]}), json!({"l": [1, 2]}), "l had 1 entries, has 2"),
        ];
        for (before, now, expected) in cases {
            assert_eq!(difference(&before, &now), expected);
        }
    }
}
