//! `export`: from a source to one ONNX file, without the rest of the flow.

use std::path::{Path, PathBuf};

use deploy::PackageName;
use detect::Detector;
use graph::ValueInfo;
use serde::Serialize;

use crate::package::{write_model, write_whole};
use crate::steps::acquire::acquire;
use crate::steps::export::{ExportOptions, Maker, Origin, Tools};
use crate::{Error, Event, Run};

/// An ONNX file and what there is to know about it.
#[derive(Debug, Serialize)]
pub struct ExportedFile {
    /// The file.
    pub path: PathBuf,
    /// Operator set.
    pub opset: i64,
    /// Operators.
    pub nodes: usize,
    /// Numbers in its weights.
    pub parameters: u64,
    /// What is fed.
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// Where the graph came from.
    pub origin: Origin,
    /// Tensors of the checkpoint that the network does not use.
    pub ignored: Vec<String>,
    /// Doubts.
    pub warnings: Vec<String>,
    /// The description.
    pub detector: Detector,
}

/// Makes the ONNX file of a source: `<name>.onnx` in a folder.
pub fn export(
    source: &hub::Source,
    variant: &hub::VariantPreference,
    options: &ExportOptions,
    name: &PackageName,
    folder: &Path,
    hub: &hub::Config,
    run: &Run<'_>,
) -> Result<ExportedFile, Error> {
    let acquired = acquire(source, variant, hub, run)?;
    let tell = |event: Event<'_>| run.tell(event);
    let tools = Tools { python: run.python(), out: folder, work: folder.to_owned(), tell: &tell };
    let maker = Maker::new(&acquired, options, tools);
    let mut made = maker.make(false)?;
    crate::store::create_dir(folder)?;
    let path = folder.join(format!("{name}.onnx"));
    let mut doubt = None;
    write_whole(folder, &path, |file, place| {
        write_model(&made.model, file, &path)?;
        doubt = maker.try_out(&made, place)?;
        Ok(())
    })?;
    made.warnings.extend(doubt);
    Ok(ExportedFile {
        path,
        opset: made.model.opset(),
        nodes: made.model.graph.nodes.len(),
        parameters: made.model.graph.initializers.values().map(|tensor| tensor.len() as u64).sum(),
        inputs: made.model.graph.inputs,
        outputs: made.model.graph.outputs,
        origin: made.origin,
        ignored: made.ignored,
        warnings: made.warnings,
        detector: made.detector,
    })
}
