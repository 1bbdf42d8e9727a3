//! Runs real images through a network and watches the values inside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use detect::Detector;
use graph::quantize::Histogram;
use graph::{DataType, Model, ValueInfo};
use rayon::prelude::*;

use crate::network::{Network, Outputs};
use crate::package::write_model;
use crate::{Error, ImageFile};

/// Runs every image and counts the magnitudes of the inputs and of the values that `is_watched` names, one image after
/// the other: the memory that it takes is that of one run, whatever the number of images. Unfinished things lie in `work`.
pub(crate) fn watch(
    model: &Model,
    detector: &Detector,
    is_watched: &dyn Fn(&str) -> bool,
    images: &[ImageFile],
    backend: &str,
    work: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<BTreeMap<String, Histogram>, Error> {
    let (watched, inputs) = watched(model, is_watched);
    let place = tempfile::Builder::new().prefix(".partial-").tempdir_in(work);
    let place = place.map_err(|source| Error::Io { path: work.to_owned(), source })?;
    let file = place.path().join("watched.onnx");
    let created = std::fs::File::create(&file).map_err(|source| Error::Io { path: file.clone(), source });
    write_model(&watched, &mut created?, &file)?;
    drop(watched);
    let mut network = Network::load(&file, detector, backend, None)?;
    let mut seen: BTreeMap<String, Histogram> = BTreeMap::new();
    for (done, image) in images.iter().enumerate() {
        progress(done as u64, images.len() as u64);
        let prepared = network.inputs(&[image.decode()?])?;
        let mut values = network.run(&prepared.inputs)?;
        values.extend(prepared.inputs.into_iter().filter(|(name, _)| inputs.contains(name)));
        observe(&mut seen, &values)?;
    }
    progress(images.len() as u64, images.len() as u64);
    Ok(seen)
}

/// The model with these values as further outputs, and the inputs to watch.
fn watched(model: &Model, is_watched: &dyn Fn(&str) -> bool) -> (Model, BTreeSet<String>) {
    let is_float = |info: &ValueInfo| info.dtype.is_none_or(|dtype| dtype == DataType::F32);
    let inputs: BTreeSet<String> =
        model.graph.inputs.iter().filter(|info| is_float(info)).map(|info| info.name.clone()).collect();
    let mut watched = model.clone();
    let mut known: BTreeSet<String> = model.graph.outputs.iter().map(|output| output.name.clone()).collect();
    for output in model.graph.nodes.iter().flat_map(|node| &node.outputs) {
        if is_watched(output) && known.insert(output.clone()) {
            let info = ValueInfo { name: output.clone(), dtype: Some(DataType::F32), ..Default::default() };
            watched.graph.outputs.push(model.graph.values.get(output).cloned().unwrap_or(info));
        }
    }
    (watched, inputs)
}

fn observe(seen: &mut BTreeMap<String, Histogram>, values: &Outputs) -> Result<(), Error> {
    let floats: Vec<_> = values.iter().filter(|(_, tensor)| tensor.dtype() == DataType::F32).collect();
    for (name, _) in &floats {
        seen.entry(name.clone()).or_default();
    }
    let by_name: BTreeMap<&str, _> =
        floats.into_iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    seen.par_iter_mut().try_for_each(|(name, histogram)| {
        if let Some(tensor) = by_name.get(name.as_str()) {
            histogram.observe(&tensor.as_f32()?);
        }
        Ok(())
    })
}
