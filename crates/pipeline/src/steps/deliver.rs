//! Renders what does not depend on this machine: configs, deployment trees, annotated samples.

use deploy::report::Sample;
use deploy::targets::{Deployment, Form, Graphs, Target, target};
use deploy::{FileTree, PackageName, Precision, config_files, paths};
use detect::{Detector, Thresholds, draw, encode_jpeg};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::graphs::{Making, wanted};
use crate::images::{Annotations, ImageSet, file_stems};
use crate::network::Network;
use crate::place::{PackageFile, keep};
use crate::run::StepContext;
use crate::variants::Variant;

/// Quality of the sample images: no visible loss, a tenth of the bytes of a PNG.
pub(crate) const JPEG_QUALITY: u8 = 90;

/// The files and what the report says about the samples.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) files: Vec<PackageFile>,
    pub(crate) samples: Vec<Sample>,
}

/// What is delivered.
pub(crate) struct Delivery<'a> {
    pub(crate) name: &'a PackageName,
    pub(crate) detector: &'a Detector,
    /// The models, that of the samples and deployments first.
    pub(crate) variants: &'a [Variant],
    pub(crate) targets: &'a [String],
    /// The largest batch that was verified.
    pub(crate) max_batch: u32,
    pub(crate) backend: &'a str,
    /// Images that become samples.
    pub(crate) images: &'a ImageSet,
    /// Annotations of these images, where there are any.
    pub(crate) annotations: Option<&'a Annotations>,
}

/// Renders everything.
pub(crate) fn deliver(delivery: &Delivery<'_>, context: &StepContext<'_, '_>) -> Result<Delivered, Error> {
    let model = paths::model(delivery.name, Precision::Fp32);
    let mut files: Vec<PackageFile> = Vec::new();
    for variant in delivery.variants {
        files.push(PackageFile { path: variant.path.clone(), blob: variant.model.clone() });
        if let Some(int8) = &variant.int8 {
            files.push(PackageFile { path: paths::CALIBRATION_CACHE.to_owned(), blob: int8.cache.clone() });
        }
    }
    let mut tree = config_files(delivery.detector)?;
    let targets = delivery.targets.iter().map(|name| target(name)).collect::<Result<Vec<_>, _>>()?;
    let graphs = graphs(delivery, &targets, &mut files, context)?;
    let deployment =
        Deployment { name: delivery.name, detector: delivery.detector, model: &model, graphs: &graphs };
    for target in targets {
        tree.merge(target.render(&deployment)?)?;
    }
    let samples = samples(delivery, &mut tree, context)?;
    files.extend(keep(tree, &files, context)?);
    Ok(Delivered { files, samples })
}

/// The graphs that the targets look at; those that are made for them become files.
fn graphs(
    delivery: &Delivery<'_>,
    targets: &[&dyn Target],
    files: &mut Vec<PackageFile>,
    context: &StepContext<'_, '_>,
) -> Result<Graphs, Error> {
    let Some(Variant { onnx, .. }) = delivery.variants.first() else { return Ok(Graphs::default()) };
    let Delivery { name, detector, max_batch, .. } = *delivery;
    let making = Making { name, detector, onnx, max_batch };
    // What a package is made of does not hold engines: they are built on a machine, for that machine.
    let no_engine = |_: Form| None;
    let graphs = making.graphs(&wanted(targets), &no_engine, &mut |path, model| {
        files.push(PackageFile { path: path.to_owned(), blob: context.put_graph(model)? });
        Ok(())
    })?;
    for (form, reason) in &graphs.refused {
        context.note(&format!("no `{name}{}`: {reason}", form.suffix()));
    }
    Ok(graphs)
}

/// Draws the detections on every image.
fn samples(
    delivery: &Delivery<'_>,
    tree: &mut FileTree,
    context: &StepContext<'_, '_>,
) -> Result<Vec<Sample>, Error> {
    let Some(Variant { onnx, .. }) = delivery.variants.first() else { return Ok(Vec::new()) };
    let mut network = Network::load(onnx, delivery.detector, delivery.backend, None)?;
    let thresholds = Thresholds::for_head(&delivery.detector.head);
    let mut samples = Vec::new();
    let images = &delivery.images.images;
    let stems = file_stems(images.iter().map(|file| file.name.as_str()));
    for (done, (file, stem)) in images.iter().zip(&stems).enumerate() {
        context.progress("samples", done as u64, images.len() as u64);
        let image = file.decode()?;
        let found = network.detect(std::slice::from_ref(&image), &thresholds)?.pop().unwrap_or_default();
        let drawn = draw(&image, &found, &delivery.detector.labels);
        let path = format!("{}/{stem}.jpg", paths::SAMPLES);
        tree.add(&path, encode_jpeg(&drawn, JPEG_QUALITY)?)?;
        let objects = delivery.annotations.and_then(|annotations| annotations.object_count(&file.name));
        samples.push(Sample { path, image: file.name.clone(), detections: found.len() as u64, objects });
    }
    context.progress("samples", images.len() as u64, images.len() as u64);
    Ok(samples)
}
