//! INT8 of one model: calibration images through the network, ranges, the graph with its roundings.

mod choice;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use deploy::{Calibration, CalibrationImage};
use detect::Detector;
use graph::quantize::{CacheUse, Float, Placement, PlacementOptions};
use graph::{CalibrationCache, DataType, Facts, Model, Shapes};
use serde::{Deserialize, Serialize};

use crate::package::{write_model, write_whole};
use crate::watch::watch;
use crate::{Error, Event, ImageFile, ImageSet, Subject, map_file};

pub(crate) use choice::Basis;
pub use choice::{Choice, TriedMethod};

/// The name of the step in its events.
const STEP: &str = "quantize";

/// What the caller decides.
#[derive(Debug, Clone)]
pub struct Quantizing {
    /// How ranges are chosen.
    pub method: Choice,
    /// At most this many images are looked at.
    pub count: usize,
    /// Which of them: another seed chooses others.
    pub seed: u64,
    /// Layers that stay in floating point, by the value that they make.
    pub pinned: BTreeSet<String>,
    /// The TensorRT that reads the calibration cache, in the form of its header: `8602`, `101601`.
    pub tensorrt_version: u32,
}

impl Quantizing {
    /// Everything that the result depends on besides the model, the images and the backend, for a step's key.
    pub(crate) fn key(&self) -> serde_json::Value {
        serde_json::json!({
            "method": self.method.to_string(), "seed": self.seed, "float": self.pinned,
            "tensorrt": self.tensorrt_version,
        })
    }
}

/// A quantized model.
#[derive(Debug, Serialize)]
pub struct Quantized {
    /// The ONNX file with `QuantizeLinear` and `DequantizeLinear` nodes.
    pub path: PathBuf,
    /// TensorRT's calibration cache for the same network.
    pub cache: PathBuf,
    /// What was rounded, and from which images.
    #[serde(flatten)]
    pub about: Int8,
}

/// What was rounded, and from which images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Int8 {
    /// How ranges were chosen.
    pub method: String,
    /// The methods that were tried to choose it, where none was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedMethod>,
    /// Which images were chosen.
    pub seed: u64,
    /// Layers that are rounded.
    pub rounded: usize,
    /// Layers that stay in floating point, and why.
    pub float: Vec<(String, Float)>,
    /// The share of the FLOPs that is in eight bits; absent when FLOPs cannot be counted.
    pub flops_share: Option<f64>,
    /// The images that were looked at, with their digests.
    pub images: Vec<CalibrationImage>,
    /// What was taken from a cache that the user gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_use: Option<CacheUse>,
}

impl Int8 {
    /// The same graph, with where its scales come from.
    pub(crate) fn of_images(self, origin: &Origin) -> Self {
        let Origin { method, tried, images } = origin.clone();
        Self { method, tried, images, cache_use: None, ..self }
    }

    /// What the manifest says of it.
    pub(crate) fn calibration(&self) -> Calibration {
        Calibration {
            method: self.method.clone(),
            seed: self.seed,
            layers: self.rounded as u64,
            float: self.float.iter().map(|(layer, _)| layer.clone()).collect(),
            images: self.images.clone(),
        }
    }
}

/// A quantized graph that is not written yet.
pub(crate) struct Calibrated {
    pub(crate) model: Model,
    /// The text of TensorRT's calibration cache.
    pub(crate) cache: String,
    pub(crate) about: Int8,
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
    backend: &str,
    folder: &Path,
    tell: &dyn Fn(Event<'_>),
) -> Result<Quantized, Error> {
    crate::store::create_dir(folder)?;
    let progress = |done, total| tell(Event::Progress { step: STEP, unit: "images", done, total });
    let basis = Basis { subject, images, backend, work: folder };
    write(calibrated(&basis, options, &progress)?, subject, folder)
}

/// As [`quantize`], with the scales of a TensorRT calibration cache instead of images. `calibration.cache` is that cache
/// for `options.tensorrt_version`.
///
/// # Errors
/// [`Error::Graph`] when the file is no such cache or belongs to another graph, [`Error::Options`] when nothing can be
/// rounded with it, those of writing.
pub fn quantize_with_cache(
    subject: &Subject,
    cache: &Path,
    options: &Quantizing,
    folder: &Path,
) -> Result<Quantized, Error> {
    let cache = CalibrationCache::read(&map_file(cache)?)?;
    let made = with_scales(subject, &cache, options)?;
    crate::store::create_dir(folder)?;
    write(made, subject, folder)
}

/// Rounds the graph with the scales of a cache.
pub(crate) fn with_scales(
    subject: &Subject,
    cache: &CalibrationCache,
    options: &Quantizing,
) -> Result<Calibrated, Error> {
    let mut model = open_graph(subject)?;
    let wanted = PlacementOptions { pinned: options.pinned.clone(), ..Default::default() };
    let (placement, scales, usage) = graph::quantize::scales_of_cache(&model, cache, &wanted)?;
    require_layers(&placement, options, &subject.onnx)?;
    graph::quantize::quantize(&mut model, &placement, &scales)?;
    let algorithm = CalibrationCache::ENTROPY.into();
    let cache = CalibrationCache { version: options.tensorrt_version, algorithm, ..cache.clone() };
    let about = Int8 { cache_use: Some(usage), ..about(&mut model, &placement, subject, options)? };
    Ok(Calibrated { model, cache: cache.to_text(), about })
}

fn write(made: Calibrated, subject: &Subject, folder: &Path) -> Result<Quantized, Error> {
    let Calibrated { model, cache: text, about } = made;
    let (path, cache) =
        (folder.join(format!("{}_int8.onnx", subject.name)), folder.join("calibration.cache"));
    // Both get their names only when both are on the disk.
    write_whole(folder, &path, |file, _| {
        write_model(&model, file, &path)?;
        write_whole(folder, &cache, |file, _| {
            file.write_all(text.as_bytes()).map_err(|source| Error::Io { path: cache.clone(), source })
        })
    })?;
    Ok(Quantized { path, cache, about })
}

/// Runs the images and rounds the graph.
pub(crate) fn calibrated(
    basis: &Basis<'_>,
    options: &Quantizing,
    progress: &dyn Fn(u64, u64),
) -> Result<Calibrated, Error> {
    let all = scales_of_all(basis, options, progress)?;
    let Calibrated { model, about, .. } = with_scales(basis.subject, &all.shared, options)?;
    Ok(Calibrated { model, cache: all.cache.to_text(), about: about.of_images(&all.origin) })
}

/// The scales of every value of a graph.
pub(crate) struct AllScales {
    /// Each value's own.
    pub(crate) cache: CalibrationCache,
    /// The same, but one for values that share one when every layer is rounded: looked at together, which keeps more than
    /// the largest of their own.
    pub(crate) shared: CalibrationCache,
    /// The layers that can be rounded, by the value that each makes.
    pub(crate) layers: Vec<String>,
    /// How they came about.
    pub(crate) origin: Origin,
}

/// How the scales of a graph came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Origin {
    method: String,
    tried: Vec<TriedMethod>,
    images: Vec<CalibrationImage>,
}

/// The scales of every value, from images.
pub(crate) fn scales_of_all(
    basis: &Basis<'_>,
    options: &Quantizing,
    progress: &dyn Fn(u64, u64),
) -> Result<AllScales, Error> {
    let Basis { subject, images, backend, work } = *basis;
    let model = open_graph(subject)?;
    let wanted = PlacementOptions { pinned: options.pinned.clone(), ..Default::default() };
    let placement = Placement::new(&model, &wanted);
    require_layers(&placement, options, &subject.onnx)?;
    let floating = floating(&model);
    let mut shares = graph::quantize::shares(&model.graph);
    shares.retain(|name| !placement.values.contains_key(name) && floating.contains(name));
    let is_watched =
        |name: &str| placement.values.contains_key(name) || floating.contains(name) && !shares.contains(name);
    let seen = watch(&model, &subject.detector, &is_watched, &images.images, backend, work, progress)?;
    let layers = placement.rounded().map(|layer| layer.output.clone()).collect();
    let (method, tried) = options.method.method(&model, &placement, &seen, basis)?;
    let mut cache = CalibrationCache::of(options.tensorrt_version, &seen, method);
    cache.add_shares(shares);
    let mut shared = cache.clone();
    let together = graph::quantize::scales(&placement, &seen, method)?;
    for entry in &mut shared.entries {
        entry.scale = together.get(&entry.name).copied().unwrap_or(entry.scale);
    }
    let images = images.images.iter().map(calibration_image).collect();
    Ok(AllScales { cache, shared, layers, origin: Origin { method: method.to_string(), tried, images } })
}

pub(crate) fn open_graph(subject: &Subject) -> Result<Model, Error> {
    open_onnx(&subject.onnx)
}

/// A graph with its weights, those in files beside it too.
pub(crate) fn open_onnx(onnx: &Path) -> Result<Model, Error> {
    let beside = onnx.parent().unwrap_or(Path::new(""));
    Ok(graph::onnx::read(map_file(onnx)?, &|location| {
        map_file(&beside.join(location)).map_err(|error| crate::chain(&error))
    })?)
}

/// Describes a fresh INT8 graph, in its metadata and for the caller, and checks it.
fn about(
    model: &mut Model,
    placement: &Placement,
    subject: &Subject,
    options: &Quantizing,
) -> Result<Int8, Error> {
    model.metadata.insert(Detector::METADATA_KEY.into(), subject.detector.to_json());
    model.check()?;
    let float = placement.layers.iter().filter_map(|layer| Some((layer.output.clone(), layer.float?)));
    Ok(Int8 {
        method: "cache".to_owned(),
        tried: Vec::new(),
        seed: options.seed,
        rounded: placement.rounded().count(),
        float: float.collect(),
        flops_share: int8_share(&Facts::of(model)),
        images: Vec::new(),
        cache_use: None,
    })
}

fn calibration_image(image: &ImageFile) -> CalibrationImage {
    CalibrationImage { path: image.name.clone(), sha256: image.sha256.to_string() }
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

/// The values in `float32` that are no scalars or lists, as the file states them or as they can be inferred. TensorRT leaves a
/// layer in floating point when its cache has no scale for what the layer reads or makes.
fn floating(model: &Model) -> BTreeSet<String> {
    let shapes = Shapes::infer(model, 1);
    let stated = |name: &str| Some(model.graph.values.get(name)?.shape.as_ref()?.len());
    let rank = |name: &str| stated(name).or_else(|| Some(shapes.of(name)?.len()));
    let values = graph::passes::float_values(model).into_iter();
    values.filter(|name| rank(name).is_some_and(|rank| rank > 1)).collect()
}
