//! Deployment trees: what the targets render, with the graphs that their files name.

use std::fs;
use std::path::Path;

use deploy::targets::{Deployment, Form, Graphs, TargetModel, USUAL_FRAME, target, triton};
use deploy::{Artefact, Engine, FileTree, Manifest, Measurements, Precision, paths};
use graph::{Builder, Model};

use crate::graphs::Making;
use crate::mapped::map_file;
use crate::package::{write_model, write_tree, write_whole};
use crate::subject::read_manifest;
use crate::{Digest, Error};

/// The operator set that older and newer graphs are brought to where they have to be extended.
const EXTENDED_OPSET: i64 = 17;

/// A target's files, and the graphs that they name and the package does not have.
pub(crate) type Rendered = (FileTree, Vec<TargetModel>);

/// Renders a target.
///
/// # Errors
/// [`deploy::Error::Inexpressible`] for a detector that the target cannot run.
pub(crate) fn rendered(name: &str, deployment: &Deployment<'_>) -> Result<Rendered, Error> {
    let target = target(name)?;
    Ok((target.render(deployment)?, target.models(deployment)?))
}

/// Whether the target cannot run this detector: no reason to fail where every target was meant.
pub(crate) fn is_inexpressible(error: &Error) -> bool {
    matches!(error, Error::Deploy(deploy::Error::Inexpressible { .. }))
}

/// Makes a graph that a target needs of the one in `onnx`.
///
/// # Errors
/// [`deploy::Error::Inexpressible`] for a graph that cannot be extended.
pub(crate) fn target_model(target: &str, wanted: &TargetModel, onnx: &Path) -> Result<Model, Error> {
    let beside = onnx.parent().unwrap_or(Path::new(""));
    let mut model = graph::onnx::read(map_file(onnx)?, &|location| {
        map_file(&beside.join(location)).map_err(|error| crate::chain(&error))
    })?;
    let refused = |reason: String| {
        let target = deploy::targets::target(target).map_or("", |target| target.name());
        Error::Deploy(deploy::Error::Inexpressible { target, reason })
    };
    if !Builder::OPSETS.contains(&model.opset()) {
        graph::passes::set_opset(&mut model, EXTENDED_OPSET).map_err(|error| refused(error.to_string()))?;
    }
    wanted.scaled.model(model).map_err(|error| refused(error.to_string()))
}

/// Renders a target's folder into a package, and records what was written in its manifest. `frame` is the size of the
/// frames, for targets that process video.
///
/// # Errors
/// [`deploy::Error::UnknownTarget`], [`deploy::Error::Inexpressible`]; [`Error::NotAModel`] for a folder that is no package.
pub fn deliver_target(package: &Path, name: &str, frame: (u32, u32)) -> Result<Vec<String>, Error> {
    render_into(package, name, frame, |deployment| rendered(name, deployment))
}

/// The same for `triton`, with what can be chosen there.
///
/// # Errors
/// As [`deliver_target`].
pub fn deliver_triton(package: &Path, options: &triton::Options) -> Result<Vec<String>, Error> {
    render_into(package, triton::FOLDER, USUAL_FRAME, |deployment| {
        Ok((triton::render(deployment, options)?, Vec::new()))
    })
}

fn render_into(
    package: &Path,
    name: &str,
    frame: (u32, u32),
    render: impl FnOnce(&Deployment<'_>) -> Result<Rendered, Error>,
) -> Result<Vec<String>, Error> {
    let mut manifest = read_manifest(package)?;
    let mut written = Vec::new();
    let graphs = package_graphs(package, &manifest, target(name)?.forms(), &mut written)?;
    let (tree, models) = described(package, &manifest, &graphs, frame, render)?;
    // All are made before anything is written.
    let made = models.iter().map(|wanted| target_model(name, wanted, &package.join(&wanted.original)));
    let made = made.collect::<Result<Vec<Model>, Error>>()?;
    for (wanted, model) in models.iter().zip(&made) {
        write_graph(package, &wanted.path, model)?;
        written.push(wanted.path.clone());
    }
    written.extend(write_tree(package, tree)?);
    record(package, &mut manifest, &written)?;
    Ok(written)
}

/// Gives what targets render a package from.
pub(crate) fn described<T>(
    package: &Path,
    manifest: &Manifest,
    graphs: &Graphs,
    frame: (u32, u32),
    use_it: impl FnOnce(&Deployment<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let model = paths::model(&manifest.name, Precision::Fp32);
    let structure = graph::onnx::read_structure(map_file(&package.join(&model))?)?;
    let engine = engine(package);
    use_it(&Deployment {
        name: &manifest.name,
        detector: &manifest.detector,
        model: &model,
        outputs: &structure.graph.outputs,
        precisions: &precisions(manifest),
        max_batch: manifest.max_batch,
        frame,
        graphs,
        engine: engine.as_ref(),
    })
}

/// The engine that the package records and has.
fn engine(package: &Path) -> Option<Engine> {
    let measurements = fs::read_to_string(package.join(paths::MEASUREMENTS)).ok()?;
    let engine = Measurements::from_json(&measurements).ok()?.tensorrt?.engine;
    package.join(&engine.path).is_file().then_some(engine)
}

/// The graphs of a package; those that are made are written into it, `written` gets their paths.
pub(crate) fn package_graphs(
    package: &Path,
    manifest: &Manifest,
    forms: &[Form],
    written: &mut Vec<String>,
) -> Result<Graphs, Error> {
    let onnx = package.join(paths::model(&manifest.name, Precision::Fp32));
    let Manifest { name, detector, max_batch, .. } = manifest;
    let making = Making { name, detector, onnx: &onnx, max_batch: *max_batch };
    // Built by this program, or by the script in the repository.
    let recorded = engine(package);
    let engine = |form: Form| {
        let own = paths::form(name, form);
        let recorded =
            recorded.as_ref().filter(|engine| engine.built_from == own).map(|engine| engine.path.clone());
        let places = [paths::engine_of(name, form, *max_batch), triton::engine_path(name, form)];
        recorded.into_iter().chain(places).find(|path| package.join(path).is_file())
    };
    making.graphs(forms, &engine, &mut |path, model| {
        write_graph(package, path, model)?;
        written.push(path.to_owned());
        Ok(())
    })
}

/// Writes a graph into a package.
fn write_graph(package: &Path, path: &str, model: &Model) -> Result<(), Error> {
    let place = package.join(path);
    let folder = place.parent().unwrap_or(package);
    crate::store::create_dir(folder)?;
    write_whole(folder, &place, |file, path| write_model(model, file, path))
}

/// The precisions of a package: those of its own graphs.
fn precisions(manifest: &Manifest) -> Vec<Precision> {
    let has = |precision: &Precision| {
        let path = paths::model(&manifest.name, *precision);
        manifest.artefacts.iter().any(|artefact| artefact.path == path)
    };
    Precision::ALL.into_iter().filter(has).collect()
}

/// Takes the written files over into the manifest, so that they are what a later check expects.
fn record(package: &Path, manifest: &mut Manifest, written: &[String]) -> Result<(), Error> {
    let before = manifest.artefacts.clone();
    for path in written {
        let file = package.join(path);
        let bytes = fs::metadata(&file).map_err(|source| Error::Io { path: file.clone(), source })?.len();
        let sha256 = Digest::of_file(&file)?.to_string();
        match manifest.artefacts.iter_mut().find(|artefact| artefact.path == *path) {
            Some(known) => (known.sha256, known.bytes) = (sha256, bytes),
            None => manifest.artefacts.push(Artefact {
                path: path.clone(),
                sha256,
                bytes,
                precision: None,
                opset: None,
            }),
        }
    }
    if manifest.artefacts == before {
        return Ok(());
    }
    let text = manifest.to_json();
    let place = package.join(paths::MANIFEST);
    write_whole(package, &place, |out, path| {
        std::io::Write::write_all(out, text.as_bytes())
            .map_err(|source| Error::Io { path: path.to_owned(), source })
    })
}
