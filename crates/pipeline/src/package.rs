//! A package on the disk: written whole, and what can be done with one afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Component, Path, PathBuf};

use deploy::report::{ReportData, render};
use deploy::{Bound, Check, Content, FileTree, Manifest, Measurements, Precision, paths};
use detect::Detector;
use detect::metrics::MapDifference;

use crate::bounds::{AllBounds, Bounds};
use crate::images::{Annotations, ImageSet};
use crate::place::{self, PackageFile};
use crate::run::{Event, Step};
use crate::steps::EXPORT;
use crate::steps::evaluate::{change, evaluate};
use crate::steps::export::{Exported, Origin};
use crate::steps::verify;
use crate::subject::read_manifest;
use crate::{Digest, Error, Request, Store};

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

/// What a package is verified with.
pub struct Reverifying<'a> {
    /// Images that are compared, as far as `limit` allows.
    pub images: &'a ImageSet,
    /// At most this many; `None` for as many as an import compares.
    pub limit: Option<usize>,
    /// Annotations and their images, for mAP.
    pub scored: Option<(&'a Annotations, &'a ImageSet)>,
    /// What may differ.
    pub bounds: &'a AllBounds,
    /// The backend that runs the graphs.
    pub backend: &'a str,
}

/// Compares the models of a package with its source-exact graph again.
///
/// # Errors
/// [`Error::NoExactGraph`] when the store beside the package no longer has that graph.
pub fn reverify(
    package: &Path,
    with: &Reverifying<'_>,
    tell: &dyn Fn(Event<'_>),
) -> Result<Vec<Check>, Error> {
    let package =
        &fs::canonicalize(package).map_err(|source| Error::Io { path: package.to_owned(), source })?;
    let manifest = read_manifest(package)?;
    let (exact, exported) = exact_graph(package, &manifest)?;
    let is_ours = exported.origin == Origin::Checkpoint;
    let Step { name: step, .. } = crate::steps::VERIFY.first();
    let progress = |unit| move |done, total| tell(Event::Progress { step, unit, done, total });
    let score = |onnx: &Path, detector: &Detector, (annotations, images): (&Annotations, &ImageSet)| {
        evaluate(onnx, detector, with.backend, annotations, images, &progress("images"))
    };
    let reference = with.scored.map(|scored| score(&exact, &exported.detector, scored)).transpose()?;
    let mut checks = vec![integrity(package, &manifest), description(package, &manifest, &exported)];
    let first = paths::model(&manifest.name, Precision::Fp32);
    for artefact in &manifest.artefacts {
        let Some(precision) = artefact.precision else { continue };
        let (is_first, onnx) = (artefact.path == first, package.join(&artefact.path));
        let detector = verify::carried(&onnx)?;
        let bounds = with.bounds.of(if is_first { Precision::Fp32 } else { precision });
        let subject = verify::Subject {
            exact: &exact,
            source: &exported.detector,
            delivered: &onnx,
            detector: &detector,
            name: &artefact.path,
            backend: with.backend,
            max_batch: manifest.max_batch as usize,
            claims: (is_ours || !is_first).then_some(precision),
        };
        let images = with.images.first(with.limit.unwrap_or(Request::verified(&bounds)));
        checks.extend(verify::verify(&subject, &images, &bounds, &progress("runs"))?);
        if let (Some(scored), Some((_, before))) = (with.scored, &reference) {
            let (_, found) = score(&onnx, &detector, scored)?;
            let change = change(&exported.detector, scored.0, before, &found)?;
            checks.push(map_check(&artefact.path, "the source", &change, &bounds));
        }
    }
    Ok(checks)
}

/// Whether the package's own descriptions are still the one that came out of the source.
fn description(package: &Path, manifest: &Manifest, exported: &Exported) -> Check {
    let file = fs::read_to_string(package.join(paths::DETECTOR)).ok();
    let file = file.and_then(|text| Detector::from_json(&text).ok());
    let own = [Some(&manifest.detector), file.as_ref()];
    let differ = own.into_iter().filter(|detector| *detector != Some(&exported.detector)).count();
    let name = "descriptions that differ from the source's";
    Check::of(name, "manifest.json, config/detector.json", differ as f64, Bound::AtMost(0.0), "")
}

/// The source-exact graph of a package, and the record of the export.
fn exact_graph(package: &Path, manifest: &Manifest) -> Result<(PathBuf, Exported), Error> {
    let missing = || Error::NoExactGraph { package: package.to_owned() };
    let store = Store::open_to_look(package.parent().ok_or_else(missing)?);
    let record = manifest.steps.iter().find(|step| step.name == EXPORT.name).ok_or_else(missing)?;
    let key = Digest::from_hex(&record.key).ok_or_else(missing)?;
    let exported = store.load::<Exported>(EXPORT.name, &key).ok_or_else(missing)?.output;
    Ok((store.path(&exported.exact), exported))
}

/// Whether a variant is as accurate as another, with the interval that the images leave.
pub(crate) fn map_check(path: &str, against: &str, change: &MapDifference, bounds: &Bounds) -> Check {
    let name = format!(
        "mAP lost against {against} (95 % interval {:.4} to {:.4})",
        0.0 - change.high,
        0.0 - change.low
    );
    Check::of(&name, path, 0.0 - change.map, Bound::AtMost(bounds.map_loss), "")
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

/// Writes files into a package that is there, each one whole; gives their paths.
pub(crate) fn write_tree(package: &Path, tree: FileTree) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    for (path, content) in tree {
        let target = package.join(&path);
        let at = |source| Error::Io { path: target.clone(), source };
        let folder = target.parent().unwrap_or(package);
        crate::store::create_dir(folder)?;
        match content {
            Content::Bytes(bytes) => {
                write_whole(folder, &target, |out, _| std::io::Write::write_all(out, &bytes).map_err(at))?;
            }
            Content::SameAs(original) => link_whole(folder, &package.join(original), &target)?,
        }
        written.push(path);
    }
    Ok(written)
}

/// Gives a file a second name, or copies it where the file system has no links; a file of that name is replaced whole.
fn link_whole(folder: &Path, original: &Path, target: &Path) -> Result<(), Error> {
    let at = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let work =
        tempfile::Builder::new().prefix(".partial-").tempdir_in(folder).map_err(|error| at(folder, error))?;
    let beside = work.path().join("file");
    fs::hard_link(original, &beside)
        .or_else(|_| fs::copy(original, &beside).map(drop))
        .map_err(|error| at(original, error))?;
    // When both are one file already nothing is renamed, and what lies beside goes with its folder.
    fs::rename(&beside, target).map_err(|error| at(target, error))
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
