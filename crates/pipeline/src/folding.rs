//! Constant folding through the embedded backend.

use std::cell::RefCell;

use graph::{Model, Node, Tensor};
use runtime::{LoadOptions, OnnxSource};

use crate::Error;

/// Folds the constants of graphs; what was computed for one answers for the next that asks for the same, as the twin of a
/// trial does.
#[derive(Default)]
pub(crate) struct Folding {
    known: RefCell<Vec<(Vec<Node>, Vec<Tensor>)>>,
}

impl Folding {
    /// Replaces what depends on constants only.
    pub(crate) fn apply(&self, model: &mut Model) -> Result<(), Error> {
        graph::passes::fold_constants(model, &|part| self.evaluate(part))?;
        Ok(())
    }

    /// All passes that change no output.
    pub(crate) fn simplify(&self, model: &mut Model) -> Result<graph::passes::Outcome, graph::Error> {
        graph::passes::simplify(model, &|part| self.evaluate(part))
    }

    fn evaluate(&self, part: &Model) -> Result<Vec<Tensor>, String> {
        let known = self.known.borrow().iter().find(|(nodes, _)| *nodes == part.graph.nodes).cloned();
        if let Some((_, tensors)) = known {
            return Ok(tensors);
        }
        let tensors = computed(part).map_err(|error| crate::chain(&error))?;
        self.known.borrow_mut().push((part.graph.nodes.clone(), tensors.clone()));
        Ok(tensors)
    }
}

fn computed(part: &Model) -> Result<Vec<Tensor>, Error> {
    let mut bytes = Vec::new();
    graph::onnx::write(part, &mut bytes)?;
    let backend = runtime::backend("embedded")?;
    let mut session = backend.load(OnnxSource::Bytes(bytes), &LoadOptions::default())?;
    Ok(session.run(&[])?.into_iter().map(|(_, tensor)| tensor).collect())
}
