//! Renders what does not depend on this machine: configs, deployment trees, annotated samples.

use deploy::report::Sample;
use deploy::targets::{Deployment, Form, Graphs, Target, TargetModel, target};
use deploy::{Check, FileTree, PackageName, Precision, config_files, paths};
use detect::{Detector, Thresholds, draw, encode_jpeg};
use graph::ValueInfo;
use serde::{Deserialize, Serialize};

use super::behind_scaler::BehindScaler;
use crate::Error;
use crate::deployment::{is_inexpressible, rendered, target_model};
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
    /// What was shown of graphs that were made for targets.
    pub(crate) checks: Vec<Check>,
}

/// What is delivered.
pub(crate) struct Delivery<'a> {
    pub(crate) name: &'a PackageName,
    pub(crate) detector: &'a Detector,
    /// The models, that of the samples and deployments first.
    pub(crate) variants: &'a [Variant],
    /// What the first model's file states.
    pub(crate) outputs: &'a [ValueInfo],
    pub(crate) max_batch: usize,
    pub(crate) targets: &'a [String],
    /// Whether the user named them: then one that cannot run this detector is an error.
    pub(crate) named: bool,
    /// The size of the frames, for targets that process video.
    pub(crate) frame: (u32, u32),
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
    let checks = deploy_everywhere(delivery, &model, &mut tree, &mut files, context)?;
    let samples = samples(delivery, &mut tree, context)?;
    files.extend(keep(tree, &files, context)?);
    Ok(Delivered { files, samples, checks })
}

/// Renders every target, and makes and checks the graphs that their files name.
fn deploy_everywhere(
    delivery: &Delivery<'_>,
    model: &str,
    tree: &mut FileTree,
    files: &mut Vec<PackageFile>,
    context: &StepContext<'_, '_>,
) -> Result<Vec<Check>, Error> {
    let targets = delivery.targets.iter().map(|name| target(name)).collect::<Result<Vec<_>, _>>()?;
    let graphs = graphs(delivery, &targets, files, context)?;
    let precisions: Vec<Precision> = delivery.variants.iter().enumerate().map(Variant::place).collect();
    let deployment = Deployment {
        name: delivery.name,
        detector: delivery.detector,
        model,
        outputs: delivery.outputs,
        precisions: &precisions,
        max_batch: max_batch(delivery),
        frame: delivery.frame,
        graphs: &graphs,
        // Built after the package, if at all: `deploy` puts it in.
        engine: None,
    };
    let mut checks = Vec::new();
    for name in delivery.targets {
        match deploy_to(name, &deployment, files, context) {
            Ok((rendered, made)) => {
                tree.merge(rendered)?;
                for (file, wanted) in made {
                    checks.extend(checked(delivery, &deployment, &file, &wanted, context)?);
                    files.push(file);
                }
            }
            Err(error) if is_inexpressible(&error) && !delivery.named => {
                context.warn(format!("{error}: left out"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(checks)
}

/// The largest batch that was verified.
fn max_batch(delivery: &Delivery<'_>) -> u32 {
    u32::try_from(delivery.max_batch).unwrap_or(u32::MAX)
}

/// The graphs that the targets look at; those that are made for them become files.
fn graphs(
    delivery: &Delivery<'_>,
    targets: &[&dyn Target],
    files: &mut Vec<PackageFile>,
    context: &StepContext<'_, '_>,
) -> Result<Graphs, Error> {
    let Some(Variant { onnx, .. }) = delivery.variants.first() else { return Ok(Graphs::default()) };
    let Delivery { name, detector, .. } = *delivery;
    let making = Making { name, detector, onnx, max_batch: max_batch(delivery) };
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

/// Compares a graph that was made with the one that is delivered first; what other precisions do is compared elsewhere.
fn checked(
    delivery: &Delivery<'_>,
    deployment: &Deployment<'_>,
    file: &PackageFile,
    wanted: &TargetModel,
    context: &StepContext<'_, '_>,
) -> Result<Option<Check>, Error> {
    let Some(plain) = delivery.variants.first() else { return Ok(None) };
    if wanted.original != deployment.model {
        return Ok(None);
    }
    let compared = BehindScaler {
        path: &file.path,
        made: &context.store().path(&file.blob),
        described: wanted.scaled.described(),
        plain: &plain.onnx,
        detector: delivery.detector,
        frame: delivery.frame,
        backend: delivery.backend,
    };
    compared.check(delivery.images).map(Some)
}

/// A target's tree, and the graphs that its files name and no other target made.
fn deploy_to(
    name: &str,
    deployment: &Deployment<'_>,
    files: &[PackageFile],
    context: &StepContext<'_, '_>,
) -> Result<(FileTree, Vec<(PackageFile, TargetModel)>), Error> {
    let (tree, models) = rendered(name, deployment)?;
    let mut made = Vec::new();
    for wanted in models.iter().filter(|wanted| files.iter().all(|file| file.path != wanted.path)) {
        let original = files.iter().find(|file| file.path == wanted.original);
        let original = original.ok_or_else(|| deploy::Error::Path { path: wanted.original.clone() })?;
        let model = target_model(name, wanted, &context.store().path(&original.blob))?;
        let file = PackageFile { path: wanted.path.clone(), blob: context.put_graph(&model)? };
        made.push((file, wanted.clone()));
    }
    Ok((tree, made))
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
