//! `rten`, compiled in: runs on every machine with nothing installed.
//!
//! The library knows fewer element types than ONNX and quietly approximates a few operators; `gaps.rs` lists both. It
//! may panic on a graph that lies about itself, so every call into it is fenced. Suppression, which it computes otherwise than
//! ONNX says, is computed here, between two parts of the graph.

mod convert;
mod gaps;
mod observe;
mod outline;
mod parts;
mod suppression;

use std::sync::Arc;

use graph::{Tensor, ValueInfo};
use rten::{LoadError, LoadErrorKind, ModelOptions, NodeId, RunError, RunOptions, ThreadPool, ValueOrView};

use crate::backends::fenced;
use crate::{Backend, Error, LoadOptions, Machine, OnnxSource, Probe, Session, checks};
use convert::Input;
use outline::{Outline, OutlineNode};
use parts::Parts;

pub use observe::{Observer, record_shapes};

pub(crate) const NAME: &str = "embedded";

/// The version that the workspace's lock file holds; a test keeps it so.
pub const RTEN_VERSION: &str = "0.27.0";

/// The backend that is always there.
#[derive(Debug)]
pub struct Embedded;

impl Backend for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<Probe, Error> {
        Ok(Probe { version: format!("rten {RTEN_VERSION}"), device: Machine::processor() })
    }

    fn gaps(&self) -> &'static [&'static str] {
        gaps::KNOWN
    }

    fn load(&self, source: OnnxSource<'_>, options: &LoadOptions) -> Result<Box<dyn Session>, Error> {
        let (outline, source) = source.read(Outline::new)?;
        let (parts, source) = if outline.suppresses() {
            let (parts, source) = Parts::cut(source)?;
            (Some(parts), source)
        } else {
            (None, source)
        };
        let engine = Engine::load(&outline, source, options, true)?;
        let Outline { inputs, outputs, .. } = outline;
        let output_ids = if parts.is_none() {
            outputs.iter().map(|info| engine.id(&info.name)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Box::new(EmbeddedSession { engine, inputs, outputs, output_ids, parts }))
    }
}

struct EmbeddedSession {
    engine: Engine,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    output_ids: Vec<NodeId>,
    /// Set when the graph is run in parts.
    parts: Option<Parts>,
}

impl Session for EmbeddedSession {
    fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let fed = feed(&self.inputs, inputs)?;
        let results = if let Some(parts) = &self.parts {
            parts.run(&self.engine, &fed, &self.outputs)?
        } else {
            let mut values = Vec::with_capacity(fed.len());
            for (name, input) in &fed {
                values.push((self.engine.id(name)?, input.view(name)?.into()));
            }
            self.engine.run(values, &self.output_ids)?
        };
        self.outputs
            .iter()
            .zip(results)
            .map(|(info, value)| Ok((info.name.clone(), convert::output(&info.name, value, info.dtype)?)))
            .collect()
    }

    fn threads(&self) -> Option<usize> {
        Some(self.engine.threads)
    }
}

/// The checked inputs in the library's types, in the graph's order.
fn feed<'a>(declared: &'a [ValueInfo], given: &[(&str, &Tensor)]) -> Result<Vec<(&'a str, Input)>, Error> {
    let tensors = checks::in_order(declared, given)?;
    declared
        .iter()
        .zip(tensors)
        .map(|(info, tensor)| Ok((info.name.as_str(), Input::new(&info.name, tensor)?)))
        .collect()
}

/// A graph loaded by the library, with the threads that it runs on.
struct Engine {
    model: rten::Model,
    pool: Arc<ThreadPool>,
    threads: usize,
}

impl Engine {
    fn load(
        outline: &Outline,
        source: OnnxSource<'_>,
        options: &LoadOptions,
        optimize: bool,
    ) -> Result<Self, Error> {
        let threads = options.threads.filter(|count| *count > 0).unwrap_or_else(Machine::worker_threads);
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        let source = source.with_suffix("onnx")?;
        let mut loading = ModelOptions::with_all_ops();
        loading.enable_optimization(optimize);
        let loaded = fenced(NAME, || match source {
            OnnxSource::File(path) => loading.load_file(path),
            OnnxSource::Bytes(bytes) => loading.load(bytes),
        })?;
        let model = loaded.map_err(|error| load_error(&error, outline))?;
        Ok(Self { model, pool, threads })
    }

    fn id(&self, value: &str) -> Result<NodeId, Error> {
        self.model
            .find_node(value)
            .ok_or_else(|| Error::Load { backend: NAME, reason: format!("the graph has no value `{value}`") })
    }

    /// A constant of the graph.
    fn constant(&self, value: &str) -> Result<rten::Value, Error> {
        let made = self.run(Vec::new(), &[self.id(value)?])?.pop();
        made.ok_or_else(|| Error::Run { backend: NAME, reason: format!("nothing made the value `{value}`") })
    }

    fn run(
        &self,
        inputs: Vec<(NodeId, ValueOrView<'_>)>,
        outputs: &[NodeId],
    ) -> Result<Vec<rten::Value>, Error> {
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        fenced(NAME, || self.model.run(inputs, outputs, Some(options)))?.map_err(|error| run_error(&error))
    }
}

/// The library's words; with the operator where it refused a node.
fn load_error(error: &LoadError, outline: &Outline) -> Error {
    if error.kind() != LoadErrorKind::OperatorInvalid {
        return Error::Load { backend: NAME, reason: error.to_string() };
    }
    let text = error.to_string();
    let name = error.node().unwrap_or_default();
    let reason = text.strip_prefix(&format!("in node \"{name}\": ")).unwrap_or(&text);
    let reason = reason.strip_prefix("operator error: ").unwrap_or(reason).to_owned();
    // A nameless node is found by its operator, which begins the message when it is not known at all.
    let node = outline.nodes.iter().find(|node| {
        if name.is_empty() {
            node.name.is_empty() && reason.split([' ', '/']).any(|word| word == node.op)
        } else {
            node.name == name
        }
    });
    Error::Unsupported {
        backend: NAME,
        node: node.map_or_else(|| name.to_owned(), OutlineNode::label),
        op: node.map_or_else(|| "unknown operator".into(), |node| node.op.clone()),
        reason,
    }
}

fn run_error(error: &RunError) -> Error {
    Error::Run { backend: NAME, reason: error.to_string() }
}
