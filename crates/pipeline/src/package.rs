//! A package on the disk: written whole, and what can be done with one afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Component, Path};

use deploy::report::{ReportData, render};
use deploy::targets::{Deployment, target};
use deploy::{Bound, Check, Content, FileTree, Manifest, Measurements, Precision, paths};

use crate::images::ImageSet;
use crate::place::{self, PackageFile};
use crate::run::{Event, Step};
use crate::steps::EXPORT;
use crate::steps::export::Exported;
use crate::steps::verify::{self, Bounds};
use crate::subject::read_manifest;
use crate::{Digest, Error, Store};

/// Writes a package and puts it in place.
pub(crate) fn write(
    store: &Store,
    folder: &Path,
    manifest: &Manifest,
    measurements: &Measurements,
    delivered: Vec<PackageFile>,
    reports: Vec<PackageFile>,
) -> Result<(), Error> {
    let mut files = delivered;
    files.extend(reports);
    for (path, text) in [(paths::MANIFEST, manifest.to_json()), (paths::MEASUREMENTS, measurements.to_json())]
    {
        files.push(PackageFile { path: path.to_owned(), blob: store.put(text.as_bytes())? });
    }
    place::place(store, &files, folder)
}

/// Compares a package's model with its source-exact graph again, on these images.
///
/// # Errors
/// [`Error::NoExactGraph`] when the store beside the package no longer has that graph.
pub fn reverify(
    package: &Path,
    images: &ImageSet,
    bounds: &Bounds,
    backend: &str,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Check>, Error> {
    let package =
        &fs::canonicalize(package).map_err(|source| Error::Io { path: package.to_owned(), source })?;
    let manifest = read_manifest(package)?;
    let missing = || Error::NoExactGraph { package: package.clone() };
    let store = Store::open_to_look(package.parent().ok_or_else(missing)?);
    let record = manifest.steps.iter().find(|step| step.name == EXPORT.name).ok_or_else(missing)?;
    let key = Digest::from_hex(&record.key).ok_or_else(missing)?;
    let exported = store.load::<Exported>(EXPORT.name, &key).ok_or_else(missing)?.output;
    let path = paths::model(&manifest.name, Precision::Fp32);
    let subject = verify::Subject {
        exact: &store.path(&exported.exact),
        delivered: &package.join(&path),
        name: &path,
        detector: &manifest.detector,
        backend,
        max_batch: manifest.max_batch as usize,
    };
    let Step { name: step, .. } = crate::steps::VERIFY;
    let mut checks = vec![integrity(package, &manifest)];
    checks.extend(verify::verify(&subject, images, bounds, &|done, total| {
        tell(Event::Progress { step, unit: "runs", done, total });
    })?);
    Ok(checks)
}

/// Whether every file is still what the manifest says.
fn integrity(package: &Path, manifest: &Manifest) -> Check {
    let differs = |artefact: &&deploy::Artefact| {
        let digest = Digest::of_file(&package.join(&artefact.path));
        !digest.is_ok_and(|digest| digest.as_hex() == artefact.sha256)
    };
    let changed = manifest.artefacts.iter().filter(differs).count();
    Check::of("files that differ from the manifest", "package", changed as f64, Bound::AtMost(0.0), "")
}

/// Writes the report of a package again from what it records.
pub fn rereport(package: &Path) -> Result<Vec<String>, Error> {
    let text = |path: &str| {
        let path = package.join(path);
        fs::read_to_string(&path).map_err(|source| Error::Io { path, source })
    };
    read_manifest(package)?;
    let data = ReportData::from_recorded(
        &text(paths::MANIFEST)?,
        &text(paths::MEASUREMENTS)?,
        &text(paths::BENCHMARK_DATA)?,
    )?;
    let mut images = BTreeMap::new();
    for sample in &data.samples {
        let inside = Path::new(&sample.path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(deploy::Error::Path { path: sample.path.clone() }.into());
        }
        let path = package.join(&sample.path);
        images.insert(sample.path.clone(), fs::read(&path).map_err(|source| Error::Io { path, source })?);
    }
    write_tree(package, render(&data, &images)?)
}

/// Renders a target's folder into a package.
pub fn deliver_target(package: &Path, name: &str) -> Result<Vec<String>, Error> {
    let manifest = read_manifest(package)?;
    let model = paths::model(&manifest.name, Precision::Fp32);
    let deployment = Deployment { name: &manifest.name, detector: &manifest.detector, model: &model };
    write_tree(package, target(name)?.render(&deployment)?)
}

/// Writes files into a package that is there, each one whole; gives their paths.
fn write_tree(package: &Path, tree: FileTree) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    for (path, content) in tree {
        let target = package.join(&path);
        let at = |source| Error::Io { path: target.clone(), source };
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::SameAs(original) => fs::read(package.join(original)).map_err(at)?,
        };
        let folder = target.parent().unwrap_or(package);
        crate::store::create_dir(folder)?;
        write_whole(folder, &target, |out, _| std::io::Write::write_all(out, &bytes).map_err(at))?;
        written.push(path);
    }
    Ok(written)
}

/// Writes a file beside and renames it into place. `write` is told where it lies meanwhile.
pub(crate) fn write_whole(
    folder: &Path,
    target: &Path,
    write: impl FnOnce(&mut fs::File, &Path) -> Result<(), Error>,
) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let at = |source| Error::Io { path: target.to_owned(), source };
    let permissions = fs::Permissions::from_mode(0o644);
    let made = tempfile::Builder::new().prefix(".partial-").permissions(permissions).tempfile_in(folder);
    let mut file = made.map_err(at)?;
    let place = file.path().to_owned();
    write(file.as_file_mut(), &place)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(target).map_err(|error| at(error.error))?;
    Ok(())
}

/// Writes a model's ONNX form to `file`, which is called `path`.
pub(crate) fn write_model(model: &graph::Model, file: &mut fs::File, path: &Path) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    graph::onnx::write(model, &mut out)?;
    out.flush().map_err(|source| Error::Io { path: path.to_owned(), source })
}
