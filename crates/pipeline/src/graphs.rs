//! The graphs that targets deliver besides the model: with suppression and preprocessing inside, and what their files state.

use std::path::Path;

use deploy::PackageName;
use deploy::paths;
use deploy::targets::{DeliveredGraph, Form, Graphs, Target};
use detect::in_graph::{Suppression, SuppressionForm, preprocess_in_graph, suppress_in_graph};
use detect::{Detector, Frames, Head, Thresholds};
use graph::{Dim, Model, Shapes, ValueInfo};

use crate::Error;
use crate::mapped::map_file;

/// Two batches at which shapes are inferred: a first dimension that follows both is the batch.
const BATCHES: [usize; 2] = [2, 3];

/// The model that other forms are made of.
pub(crate) struct Making<'a> {
    pub(crate) name: &'a PackageName,
    pub(crate) detector: &'a Detector,
    pub(crate) onnx: &'a Path,
    /// The largest batch that was verified.
    pub(crate) max_batch: u32,
}

/// The forms that these targets look at.
pub(crate) fn wanted(targets: &[&dyn Target]) -> Vec<Form> {
    let mut forms: Vec<Form> = targets.iter().flat_map(|target| target.forms()).copied().collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

impl Making<'_> {
    /// Makes the graphs of these forms. `write` gets each that is no file yet; `engine` knows where the engine of a form
    /// is.
    ///
    /// # Errors
    /// Those of reading and writing. What a form cannot do is in [`Graphs::refused`].
    pub(crate) fn graphs(
        &self,
        forms: &[Form],
        engine: &dyn Fn(Form) -> Option<String>,
        write: &mut dyn FnMut(&str, &Model) -> Result<(), Error>,
    ) -> Result<Graphs, Error> {
        let mut graphs = Graphs { max_batch: self.max_batch, ..Graphs::default() };
        for form in forms.iter().copied() {
            let model = graph::onnx::read_structure(map_file(self.onnx)?)?;
            match self.made(model, form) {
                Ok((model, detector)) => {
                    let path = paths::form(self.name, form);
                    if form != Form::Plain {
                        write(&path, &model)?;
                    }
                    let (inputs, outputs) = interface(&model, &detector);
                    graphs.made.push(DeliveredGraph {
                        form,
                        path,
                        detector,
                        inputs,
                        outputs,
                        engine: engine(form),
                    });
                }
                Err(Error::Detect(error)) if matches!(*error, detect::Error::InGraph { .. }) => {
                    graphs.refused.push((form, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(graphs)
    }

    fn made(&self, model: Model, form: Form) -> Result<(Model, Detector), Error> {
        let suppresses = matches!(self.detector.head, Head::EndToEnd { .. } | Head::EndToEndParts { .. });
        match form {
            Form::Plain => Ok((model, self.detector.clone())),
            Form::EndToEnd if suppresses => {
                let reason = format!("`{}` gives detections itself", self.name);
                Err(detect::Error::InGraph { what: "suppression", reason }.into())
            }
            Form::EndToEnd => self.suppressed(model),
            Form::Raw => {
                let (model, detector) = self.suppressed(model)?;
                Ok(preprocess_in_graph(model, &detector, Frames::Rgb)?)
            }
        }
    }

    /// With the thresholds that the detector's own description has, so that both find the same.
    fn suppressed(&self, model: Model) -> Result<(Model, Detector), Error> {
        let thresholds = Thresholds::for_head(&self.detector.head);
        let Thresholds { confidence, iou, .. } = thresholds;
        let options = Suppression { confidence, iou, ..Suppression::new(SuppressionForm::Onnx) };
        Ok(suppress_in_graph(model, self.detector, &options)?)
    }
}

/// Inputs and outputs as the file states them. Sizes that it leaves open are those that follow from the graph; a first
/// dimension that is the batch is called so.
fn interface(model: &Model, detector: &Detector) -> (Vec<ValueInfo>, Vec<ValueInfo>) {
    let shapes = BATCHES.map(|batch| Shapes::infer(model, batch));
    let symbol = model.graph.inputs.iter().find(|info| info.name == detector.input.tensor);
    let symbol = symbol.and_then(|info| info.shape.as_ref()?.first()).filter(|dim| dim.fixed().is_none());
    let symbol = symbol.filter(|dim| matches!(dim, Dim::Symbol(_)));
    let by_head = detector.head.outputs();
    let input = |info: &ValueInfo| {
        let mut info = info.clone();
        if let Some(first) = info.shape.as_mut().and_then(|dims| dims.first_mut())
            && first.fixed().is_none()
        {
            *first = Dim::batch();
        }
        info
    };
    let output = |info: &ValueInfo| {
        let mut info = info.clone();
        let inferred = shapes.each_ref().map(|shapes| shapes.of(&info.name));
        if info.shape.is_none()
            && let Some(sizes) = inferred[0]
        {
            info.shape = Some(vec![Dim::Unknown; sizes.len()]);
        }
        let Some(dims) = &mut info.shape else { return info };
        let follows = |at: usize| {
            let sizes =
                inferred.map(|sizes| sizes.filter(|sizes| sizes.len() == dims.len()).map(|sizes| sizes[at]));
            (sizes == BATCHES.map(Some), sizes[0].filter(|_| sizes[0] == sizes[1]))
        };
        let found: Vec<(bool, Option<usize>)> = (0..dims.len()).map(follows).collect();
        for (at, (dim, (is_batch, size))) in dims.iter_mut().zip(found).enumerate() {
            if dim.fixed().is_some() {
                continue;
            }
            let known = is_batch || symbol == Some(&*dim) || by_head.contains(&info.name.as_str());
            if at == 0 && known {
                *dim = Dim::batch();
            } else if let Some(size) = size {
                *dim = Dim::Fixed(size);
            }
        }
        info
    };
    let graph = &model.graph;
    (graph.inputs.iter().map(input).collect(), graph.outputs.iter().map(output).collect())
}
