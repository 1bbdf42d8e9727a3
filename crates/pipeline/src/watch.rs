//! Runs real images through a network and watches the values inside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use detect::{Detector, Preprocessed, preprocess};
use graph::quantize::{Histogram, Kin};
use graph::{DataType, Model, Tensor, ValueInfo};
use rayon::prelude::*;

use crate::network::{Network, Outputs};
use crate::package::write_model;
use crate::{Error, ImageFile};

/// Runs every image and counts the magnitudes of the inputs and of the values that `is_watched` names, one image after
/// the other: the memory that it takes is that of one run with every watched value kept, whatever the number of images. Unfinished things lie in `work`.
pub(crate) fn watch(
    model: &Model,
    detector: &Detector,
    is_watched: &dyn Fn(&str) -> bool,
    images: &[ImageFile],
    backend: &str,
    work: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<BTreeMap<String, Histogram>, Error> {
    let kin = Kin::new(&model.graph, is_watched);
    let (watched, inputs) = watched(model, &|name| is_watched(name) && !kin.follows(name));
    let place = tempfile::Builder::new().prefix(".partial-").tempdir_in(work);
    let place = place.map_err(|source| Error::Io { path: work.to_owned(), source })?;
    let file = place.path().join("watched.onnx");
    let created = std::fs::File::create(&file).map_err(|source| Error::Io { path: file.clone(), source });
    write_model(&watched, &mut created?, &file)?;
    drop(watched);
    let mut network = Network::load(&file, detector, backend, None)?;
    let mut seen: BTreeMap<String, Histogram> = BTreeMap::new();
    let prepare = |image: &ImageFile| -> Result<Preprocessed, Error> {
        Ok(preprocess(&detector.input, &[image.decode()?])?)
    };
    let mut prepared = images.first().map(prepare).transpose()?;
    for done in 0..images.len() {
        progress(done as u64, images.len() as u64);
        let Some(Preprocessed { inputs: given, .. }) = prepared else { break };
        let mut values = network.run(&given)?;
        values.extend(given.into_iter().filter(|(name, _)| inputs.contains(name)));
        // The next image is made ready beside the counting, which leaves no core idle.
        let next = images.get(done + 1);
        let (counted, ready) = rayon::join(|| observe(&mut seen, values), || next.map(prepare).transpose());
        counted?;
        prepared = ready?;
    }
    progress(images.len() as u64, images.len() as u64);
    kin.complete(&mut seen);
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

/// Counts the magnitudes of each value. A tensor is given back as soon as it is counted.
fn observe(seen: &mut BTreeMap<String, Histogram>, values: Outputs) -> Result<(), Error> {
    let floats = values.into_iter().filter(|(_, tensor)| tensor.dtype() == DataType::F32);
    let work: Vec<(String, Tensor, Histogram)> = floats
        .map(|(name, tensor)| {
            let histogram = seen.remove(&name).unwrap_or_default();
            (name, tensor, histogram)
        })
        .collect();
    let counted = work.into_par_iter().with_max_len(1).map(|(name, tensor, mut histogram)| {
        histogram.observe(&tensor.as_f32()?);
        Ok((name, histogram))
    });
    seen.extend(counted.collect::<Result<Vec<_>, Error>>()?);
    Ok(())
}
