//! `deploy --into`: the next version of each model of a package.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deploy::targets::USUAL_FRAME;
use deploy::targets::triton::{self, Message, ModelKind, Options, Tier, Versions};
use deploy::{Content, PackageName};
use rustix::fs::{CWD, RenameFlags};
use serde::Serialize;

use super::{CONFIG, Repository, versions};
use crate::deployment::{described, package_graphs};
use crate::package::write_whole;
use crate::store::{create_dir, rename};
use crate::subject::read_manifest;
use crate::{Error, graphs};

/// How models are added. What is not given leaves the configuration of a model that is there as it is.
#[derive(Debug, Clone, Default)]
pub struct Adding {
    /// Which traffic the configuration is made for.
    pub tier: Option<Tier>,
    /// Which versions the server loads.
    pub versions: Option<Versions>,
}

/// A model of the package, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Its name, which is its folder.
    pub model: String,
    /// The version that was added; `None` when it was not.
    pub version: Option<u64>,
    /// Whether its configuration was written; one that was there and fits stays as it is.
    pub configured: bool,
    /// Those that the server loads, by the configuration's policy.
    pub served: Vec<u64>,
    /// Why it was not added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// A model of the package: its files by their path in the model's folder.
type Files = BTreeMap<String, Content>;

/// Adds the models of a package to a repository, each as the version after the newest one that is there. Older versions
/// stay; which are loaded is the configuration's policy.
///
/// # Errors
/// [`Error::NotARepository`]; [`Error::ModelTaken`] for a model that takes or gives something else, before anything is
/// written.
pub fn add_to_repository(package: &Path, repository: &Path, adding: &Adding) -> Result<Vec<Added>, Error> {
    super::look(repository)?;
    let options = Options {
        tier: adding.tier.unwrap_or_default(),
        versions: adding.versions.clone().unwrap_or_default(),
    };
    let Rendered { name, models, unbuilt } = rendered(package, &options)?;
    let repository = Repository::open(repository)?;
    for (model, files) in &models {
        check(&repository.root.join(model), model, files)?;
    }
    let is_explicit = adding.tier.is_some() || adding.versions.is_some();
    let mut added = Vec::new();
    for (model, files) in &models {
        added.push(place(&repository, package, model, files, is_explicit)?);
    }
    let left_out =
        "its engine is not built: run `triton/build.sh` of the package on the machine that serves it";
    added.extend(unbuilt.into_iter().map(|model| Added {
        model,
        version: None,
        configured: false,
        served: Vec::new(),
        left_out: Some(left_out.into()),
    }));
    debug_assert!(added.iter().all(|one| one.model.starts_with(name.as_str())));
    Ok(added)
}

/// What a package has for a repository.
struct Rendered {
    /// The package.
    name: PackageName,
    /// The models that are complete, ensembles last.
    models: Vec<(String, Files)>,
    /// The names of those without their engine.
    unbuilt: Vec<String>,
}

fn rendered(package: &Path, options: &Options) -> Result<Rendered, Error> {
    let manifest = read_manifest(package)?;
    let wanted = graphs::wanted(&[deploy::targets::target(triton::FOLDER)?]);
    let graphs = package_graphs(package, &manifest, &wanted, &mut Vec::new())?;
    let tree = described(package, &manifest, &graphs, USUAL_FRAME, |deployment| {
        Ok(triton::render(deployment, options)?)
    })?;
    let mut models: BTreeMap<String, Files> = BTreeMap::new();
    let mut unbuilt = Vec::new();
    for (path, content) in tree {
        let Some(path) = path.strip_prefix(triton::FOLDER).and_then(|path| path.strip_prefix('/')) else {
            continue;
        };
        match path.split_once('/') {
            Some((model, file)) => {
                models.entry(model.to_owned()).or_default().insert(file.to_owned(), content);
            }
            // `<model>.pbtxt`; those of the other tiers have a point in their names.
            None => unbuilt.extend(
                path.strip_suffix(".pbtxt")
                    .filter(|model| !Tier::ALL.iter().any(|tier| model.ends_with(&format!(".{tier}"))))
                    .map(str::to_owned),
            ),
        }
    }
    let mut models: Vec<(String, Files)> = models.into_iter().collect();
    models.sort_by_key(|(_, files)| is_ensemble(files));
    Ok(Rendered { name: manifest.name, models, unbuilt })
}

fn is_ensemble(files: &Files) -> bool {
    text(files, CONFIG).is_some_and(|config| config.contains("platform: \"ensemble\""))
}

fn text<'a>(files: &'a Files, path: &str) -> Option<&'a str> {
    match files.get(path)? {
        Content::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Content::SameAs(_) => None,
    }
}

/// Whether the model may get a version of these files.
fn check(folder: &Path, model: &str, files: &Files) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let taken =
        |reason: String| Error::ModelTaken { model: model.to_owned(), path: folder.to_owned(), reason };
    if !folder.is_dir() {
        return Err(taken("it is not a folder".into()));
    }
    for (file, compare) in
        [(CONFIG, same_kind as fn(&str, &str) -> Result<Option<String>, Error>), (LABELS, same_labels)]
    {
        let path = folder.join(file);
        let there = match fs::read_to_string(&path) {
            Ok(there) => there,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { path, source }),
        };
        let Some(new) = text(files, file) else { continue };
        let difference = compare(&there, new).map_err(|error| taken(format!("`{file}`: {error}")))?;
        if let Some(difference) = difference {
            return Err(taken(difference));
        }
    }
    Ok(())
}

/// The file of class names.
const LABELS: &str = "labels.txt";

fn same_kind(there: &str, new: &str) -> Result<Option<String>, Error> {
    let difference = ModelKind::read(there)?.difference(&ModelKind::read(new)?);
    Ok(difference.map(|difference| difference.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "has the form of `same_kind`")]
fn same_labels(there: &str, new: &str) -> Result<Option<String>, Error> {
    let differ = !there.lines().eq(new.lines());
    Ok(differ.then(|| "the classes in its `labels.txt` are others".into()))
}

/// Puts one model in place.
fn place(
    repository: &Repository,
    package: &Path,
    model: &str,
    files: &Files,
    is_explicit: bool,
) -> Result<Added, Error> {
    let work = repository.work()?;
    let folder = repository.root.join(model);
    let is_new = !folder.exists();
    let staged = work.path().join(model);
    let of_version = |path: &str| path.strip_prefix("1/").map(str::to_owned);
    if is_new {
        write(package, files.iter().map(|(path, content)| (path.clone(), content)), &staged)?;
        put(&staged, &folder)?;
        return added(model, &folder, 1, true);
    }
    let version_files = files.iter().filter_map(|(path, content)| Some((of_version(path)?, content)));
    write(package, version_files, &staged)?;
    let configured = configure(&folder, files, is_explicit)?;
    let mut version = versions(&folder)?.last().map_or(1, |newest| newest + 1);
    // A folder that someone else made meanwhile is never replaced.
    while let Err(error) = put(&staged, &folder.join(version.to_string())) {
        match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => version += 1,
            other => return Err(other),
        }
    }
    added(model, &folder, version, configured)
}

fn added(model: &str, folder: &Path, version: u64, configured: bool) -> Result<Added, Error> {
    let path = folder.join(CONFIG);
    let config = fs::read_to_string(&path).map_err(|source| Error::Io { path, source })?;
    let served = Versions::of(&Message::parse(&config)?).served(&versions(folder)?);
    Ok(Added { model: model.to_owned(), version: Some(version), configured, served, left_out: None })
}

/// Writes what the model's folder lacks beside its versions; a configuration that is there only when that was asked for,
/// and not without keeping it as `config.pbtxt.older`.
fn configure(folder: &Path, files: &Files, is_explicit: bool) -> Result<bool, Error> {
    let mut configured = false;
    for (path, content) in files.iter().filter(|(path, _)| !path.starts_with("1/")) {
        let Content::Bytes(bytes) = content else { continue };
        let target = folder.join(path);
        let is_config = path == CONFIG || path.starts_with("configs/");
        if target.exists() && !(is_explicit && is_config) {
            continue;
        }
        let parent = target.parent().unwrap_or(folder);
        create_dir(parent)?;
        if target.exists() && path == CONFIG {
            let older = folder.join(format!("{CONFIG}.older"));
            fs::copy(&target, &older).map_err(|source| Error::Io { path: older, source })?;
        }
        let at = |source| Error::Io { path: target.clone(), source };
        write_whole(parent, &target, |file, _| std::io::Write::write_all(file, bytes).map_err(at))?;
        configured |= path == CONFIG;
    }
    Ok(configured)
}

/// Writes files below a folder. Copies, no links: whoever changes the repository must not change the package.
fn write<'a>(
    package: &Path,
    files: impl Iterator<Item = (String, &'a Content)>,
    folder: &Path,
) -> Result<(), Error> {
    create_dir(folder)?;
    for (path, content) in files {
        let target = folder.join(path);
        create_dir(target.parent().unwrap_or(folder))?;
        let written = match content {
            Content::Bytes(bytes) => fs::write(&target, bytes),
            Content::SameAs(original) => fs::copy(package.join(original), &target).map(drop),
        };
        written.map_err(|source| Error::Io { path: target, source })?;
    }
    let at = |source| Error::Io { path: PathBuf::from(folder), source };
    let handle = fs::File::open(folder).map_err(at)?;
    rustix::fs::syncfs(&handle).map_err(|error| at(error.into()))
}

/// Renames a folder into a place that is free.
fn put(staged: &Path, place: &Path) -> Result<(), Error> {
    match rustix::fs::renameat_with(CWD, staged, CWD, place, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot promise it: a folder with files in it is not replaced by any.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            rename(staged, place)
        }
        Err(error) => Err(Error::Io { path: place.to_owned(), source: error.into() }),
    }
}
