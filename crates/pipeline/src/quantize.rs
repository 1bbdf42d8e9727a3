//! INT8 of one model: calibration images through the network, ranges, the graph with its roundings.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use detect::Detector;
use graph::quantize::{Float, Histogram, Method, Placement, PlacementOptions};
use graph::{CalibrationCache, DataType, Facts, Model, ValueInfo};
use rayon::prelude::*;
use serde::Serialize;

use crate::network::{Network, Outputs};
use crate::package::{write_model, write_whole};
use crate::{Digest, Error, Event, ImageFile, ImageSet, Subject, map_file};

/// The name of the step in its events.
const STEP: &str = "quantize";

/// What the caller decides.
#[derive(Debug, Clone)]
pub struct Quantizing {
    /// How ranges are chosen.
    pub method: Method,
    /// How many images are looked at.
    pub count: usize,
    /// Which of them: another seed chooses others.
    pub seed: u64,
    /// Layers that stay in floating point, by the value that they make.
    pub pinned: BTreeSet<String>,
    /// The TensorRT that reads the calibration cache, in the form of its header: `8602`, `101601`.
    pub tensorrt_version: u32,
    /// Where the calibration images are run.
    pub backend: String,
}

/// A quantized model.
#[derive(Debug, Serialize)]
pub struct Quantized {
    /// The ONNX file with `QuantizeLinear` and `DequantizeLinear` nodes.
    pub path: PathBuf,
    /// TensorRT's calibration cache for the same network.
    pub cache: PathBuf,
    /// How ranges were chosen.
    pub method: String,
    /// Layers that are rounded.
    pub rounded: usize,
    /// Layers that stay in floating point, and why.
    pub float: Vec<(String, Float)>,
    /// The share of the FLOPs that is in eight bits; absent when FLOPs cannot be counted.
    pub flops_share: Option<f64>,
    /// The images that were looked at, with their digests.
    pub images: Vec<ImageFile>,
}

/// Writes `<name>_int8.onnx` and `calibration.cache` in a folder.
///
/// # Errors
/// [`Error::Options`] when nothing in the graph can be rounded, those of running the network, of ranges, of reading images
/// and of writing. Nothing is left under a final name then.
pub fn quantize(
    subject: &Subject,
    images: &ImageSet,
    options: &Quantizing,
    folder: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<Quantized, Error> {
    let beside = subject.onnx.parent().unwrap_or(Path::new(""));
    let mut model = graph::onnx::read(map_file(&subject.onnx)?, &|location| {
        map_file(&beside.join(location)).map_err(|error| crate::chain(&error))
    })?;
    let placement = Placement::new(&model, &PlacementOptions { pinned: options.pinned.clone() });
    require_layers(&placement, options, &subject.onnx)?;
    let chosen = chosen(images, options)?;
    crate::store::create_dir(folder)?;
    let seen = watch(subject, watched(&model, &placement), &chosen, &options.backend, folder, tell)?;
    let scales = graph::quantize::scales(&placement, &seen, options.method)?;
    graph::quantize::quantize(&mut model, &placement, &scales)?;
    model.metadata.insert(Detector::METADATA_KEY.into(), subject.detector.to_json());
    model.check()?;

    let (path, cache) =
        (folder.join(format!("{}_int8.onnx", subject.name)), folder.join("calibration.cache"));
    let text = CalibrationCache::of(options.tensorrt_version, &seen, options.method).to_text();
    // Both get their names only when both are on the disk.
    write_whole(folder, &path, |file, _| {
        write_model(&model, file, &path)?;
        write_whole(folder, &cache, |file, _| {
            file.write_all(text.as_bytes()).map_err(|source| Error::Io { path: cache.clone(), source })
        })
    })?;
    let float = placement.layers.iter().filter_map(|layer| Some((layer.output.clone(), layer.float?)));
    Ok(Quantized {
        path,
        cache,
        method: options.method.to_string(),
        rounded: placement.rounded().count(),
        float: float.collect(),
        flops_share: int8_share(&Facts::of(&model)),
        images: chosen,
    })
}

fn require_layers(placement: &Placement, options: &Quantizing, onnx: &Path) -> Result<(), Error> {
    let unknown = options.pinned.iter().find(|name| placement.layers.iter().all(|l| l.output != **name));
    if let Some(name) = unknown {
        return Err(Error::Options(format!("no layer of `{}` makes a value `{name}`", onnx.display())));
    }
    if placement.rounded().next().is_none() {
        let reason = format!(
            "`{}` has no convolution or linear layer in float32 with constant weights that could be rounded",
            onnx.display()
        );
        return Err(Error::Options(reason));
    }
    Ok(())
}

/// The share of the FLOPs whose weights have eight bits.
fn int8_share(facts: &Facts) -> Option<f64> {
    let int8 = facts.precisions.iter().find(|share| share.dtype == DataType::I8)?;
    int8.flops_share
}

/// Images in an order that depends on the seed and on their content only.
fn chosen(images: &ImageSet, options: &Quantizing) -> Result<Vec<ImageFile>, Error> {
    let mut keyed: Vec<(String, &ImageFile)> = Vec::with_capacity(images.images.len());
    for image in &images.images {
        let key = Digest::of(format!("{} {}", options.seed, image.sha256.as_hex()).as_bytes());
        keyed.push((key.as_hex().to_owned(), image));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let chosen: Vec<ImageFile> =
        keyed.into_iter().take(options.count).map(|(_, image)| image.clone()).collect();
    if chosen.is_empty() { Err(Error::Options("no image to calibrate with".into())) } else { Ok(chosen) }
}

/// Runs every image and watches the floating-point values of the graph, one image after the other: the memory that it
/// takes is that of one run, whatever the number of images.
fn watch(
    subject: &Subject,
    (watched, inputs): (Model, BTreeSet<String>),
    images: &[ImageFile],
    backend: &str,
    folder: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<BTreeMap<String, Histogram>, Error> {
    let place = tempfile::Builder::new().prefix(".partial-").tempdir_in(folder);
    let place = place.map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    let file = place.path().join("watched.onnx");
    let created = std::fs::File::create(&file).map_err(|source| Error::Io { path: file.clone(), source });
    write_model(&watched, &mut created?, &file)?;
    let mut network = Network::load(&file, &subject.detector, backend, None)?;
    let mut seen: BTreeMap<String, Histogram> = BTreeMap::new();
    for (done, image) in images.iter().enumerate() {
        tell(Event::Progress { step: STEP, unit: "images", done: done as u64, total: images.len() as u64 });
        let prepared = network.inputs(&[image.decode()?])?;
        let mut values = network.run(&prepared.inputs)?;
        values.extend(prepared.inputs.into_iter().filter(|(name, _)| inputs.contains(name)));
        observe(&mut seen, &values)?;
    }
    let total = images.len() as u64;
    tell(Event::Progress { step: STEP, unit: "images", done: total, total });
    Ok(seen)
}

/// The model with its floating-point values as further outputs, and the inputs to watch.
fn watched(model: &Model, placement: &Placement) -> (Model, BTreeSet<String>) {
    let is_float = |info: &ValueInfo| info.dtype.is_none_or(|dtype| dtype == DataType::F32);
    let inputs: BTreeSet<String> =
        model.graph.inputs.iter().filter(|info| is_float(info)).map(|info| info.name.clone()).collect();
    let mut watched = model.clone();
    let mut known: BTreeSet<String> = model.graph.outputs.iter().map(|output| output.name.clone()).collect();
    for node in &model.graph.nodes {
        for output in &node.outputs {
            // Files of others state no types, but what a layer reads has the type of its weights.
            let is_watched = placement.values.contains_key(output) || is_floating(model, output);
            if is_watched && known.insert(output.clone()) {
                let info =
                    ValueInfo { name: output.clone(), dtype: Some(DataType::F32), ..Default::default() };
                watched.graph.outputs.push(model.graph.values.get(output).cloned().unwrap_or(info));
            }
        }
    }
    (watched, inputs)
}

/// Whether a value is known to be in `float32` and is no scalar or list.
fn is_floating(model: &Model, name: &str) -> bool {
    model.graph.values.get(name).is_some_and(|info| {
        info.dtype == Some(DataType::F32) && info.shape.as_ref().is_some_and(|shape| shape.len() > 1)
    })
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
