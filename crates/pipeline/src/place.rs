//! Puts a package where it belongs: built beside, then put in place in one step. A package is complete or absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use deploy::{Content, FileTree, Manifest, paths};
use rustix::fs::{CWD, RenameFlags};
use serde::{Deserialize, Serialize};

use crate::store::{Blob, Store, create_dir, files_below, rename};
use crate::{Digest, Error, StepContext};

/// A file of a package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PackageFile {
    /// Its path from the package's root.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) blob: Blob,
}

/// Keeps the files of a tree as blobs; a file that is the same as another one shares its blob.
pub(crate) fn keep(
    tree: FileTree,
    known: &[PackageFile],
    context: &StepContext<'_, '_>,
) -> Result<Vec<PackageFile>, Error> {
    let mut files: Vec<PackageFile> = Vec::new();
    let mut aliases = Vec::new();
    for (path, content) in tree {
        match content {
            Content::Bytes(bytes) => files.push(PackageFile { path, blob: context.put(&bytes)? }),
            Content::SameAs(original) => aliases.push((path, original)),
        }
    }
    for (path, original) in aliases {
        let blob =
            known.iter().chain(&files).find(|file| file.path == original).map(|file| file.blob.clone());
        let Some(blob) = blob else {
            return Err(deploy::Error::Path { path: original }.into());
        };
        files.push(PackageFile { path, blob });
    }
    Ok(files)
}

/// Builds the package of these files beside `place` and puts it there, replacing an older package.
///
/// What an older package holds that no import wrote (engines, logs, videos made since) is taken over.
pub(crate) fn place(store: &Store, files: &[PackageFile], place: &Path) -> Result<(), Error> {
    recover(place)?;
    check_place(place)?;
    let older = place.exists();
    let folder = store.temporary_folder()?;
    let result = build(store, files, &folder)
        .and_then(|()| if older { take_over(files, place, &folder) } else { Ok(()) })
        .and_then(|()| put_in_place(&folder, place, older));
    // In place, `folder` now is the older package, or gone; after a failure it is what was built so far.
    let _ = fs::remove_dir_all(&folder);
    result
}

/// Refuses a place that holds something else than a package.
pub(crate) fn check_place(place: &Path) -> Result<(), Error> {
    let free = !place.exists() || place.join(paths::MANIFEST).is_file() || is_empty_folder(place);
    if free { Ok(()) } else { Err(Error::NotAPackage { path: place.to_owned() }) }
}

/// Where the older package stands while a file system that cannot exchange two folders renames one after the other.
fn aside(place: &Path) -> PathBuf {
    let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    place.with_file_name(format!(".{name}.older"))
}

/// Undoes a replacement that was killed between its two renames.
fn recover(place: &Path) -> Result<(), Error> {
    let aside = aside(place);
    if !aside.exists() {
        return Ok(());
    }
    if place.exists() {
        return fs::remove_dir_all(&aside).map_err(|source| Error::Io { path: aside, source });
    }
    rename(&aside, place)
}

fn build(store: &Store, files: &[PackageFile], folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let at = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|source| at(folder, source))?;
    let mut first: BTreeMap<&Digest, PathBuf> = BTreeMap::new();
    for file in files {
        let target = folder.join(&file.path);
        if let Some(parent) = target.parent() {
            create_dir(parent)?;
        }
        // A file that the package holds already is a link to it. From the store it is a copy: whoever edits the package
        // must not edit the store.
        let linked = first.get(&file.blob.sha256).is_some_and(|same| fs::hard_link(same, &target).is_ok());
        if !linked {
            fs::copy(store.path(&file.blob), &target).map_err(|source| at(&target, source))?;
            first.insert(&file.blob.sha256, target);
        }
    }
    let handle = fs::File::open(folder).map_err(|source| at(folder, source))?;
    rustix::fs::syncfs(&handle).map_err(|error| at(folder, error.into()))
}

/// Links files that no import wrote from the older package into the new one; the older one stays whole until it is
/// replaced.
fn take_over(files: &[PackageFile], older: &Path, folder: &Path) -> Result<(), Error> {
    let now: BTreeSet<&Path> = files.iter().map(|file| Path::new(&file.path)).collect();
    let written = written_by_import(older);
    for path in files_below(older)? {
        let Ok(relative) = path.strip_prefix(older) else { continue };
        if now.contains(relative) || written(relative) {
            continue;
        }
        let target = folder.join(relative);
        if let Some(parent) = target.parent() {
            create_dir(parent)?;
        }
        let linked = fs::hard_link(&path, &target).or_else(|_| fs::copy(&path, &target).map(|_| ()));
        linked.map_err(|source| Error::Io { path: target, source })?;
    }
    Ok(())
}

/// Which files of an older package an import wrote: those of its manifest, and the report's by their fixed names. A
/// package without a readable manifest gives none up.
fn written_by_import(older: &Path) -> impl Fn(&Path) -> bool {
    let manifest = fs::read_to_string(older.join(paths::MANIFEST)).ok();
    let manifest = manifest.and_then(|text| Manifest::from_json(&text).ok());
    let known: Option<BTreeSet<PathBuf>> = manifest
        .map(|manifest| manifest.artefacts.into_iter().map(|artefact| artefact.path.into()).collect());
    move |path| {
        let Some(known) = &known else { return false };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let report = path.starts_with(paths::REPORTS)
            && (name.starts_with("benchmark_") || name.starts_with("chart_"));
        known.contains(path) || report || path == Path::new(paths::MEASUREMENTS)
    }
}

/// One step: an exchange where a package is there already. File systems that cannot exchange get two renames; killed
/// between them, [`recover`] finds the older package.
fn put_in_place(folder: &Path, place: &Path, older: bool) -> Result<(), Error> {
    if !older {
        return rename(folder, place);
    }
    match rustix::fs::renameat_with(CWD, folder, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let aside = aside(place);
            rename(place, &aside)?;
            rename(folder, place)?;
            fs::remove_dir_all(&aside).map_err(|source| Error::Io { path: aside, source })
        }
        Err(error) => Err(Error::Io { path: place.to_owned(), source: error.into() }),
    }
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_replaced_whole_and_keeps_what_was_added() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path(), &|| {}).unwrap();
        let file = |path: &str, text: &str| PackageFile {
            path: path.into(),
            blob: store.put(text.as_bytes()).unwrap(),
        };
        let target = out.path().join("p");
        let first =
            [file("manifest.json", "1"), file("reports/benchmark_report.md", "old"), file("a/b.txt", "old")];
        place(&store, &first, &target).unwrap();
        fs::write(target.join("a/engine"), "built since").unwrap();
        place(&store, &[file("manifest.json", "2")], &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("manifest.json")).unwrap(), "2");
        assert_eq!(fs::read_to_string(target.join("a/engine")).unwrap(), "built since");
        assert!(target.join("a/b.txt").exists(), "without a readable manifest nothing is given up");
        assert_eq!(fs::read_dir(out.path().join(".sightline/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn another_folder_is_never_replaced() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path(), &|| {}).unwrap();
        let target = out.path().join("thesis");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("chapter.txt"), "years").unwrap();
        let placed = place(&store, &[], &target);
        assert!(matches!(placed, Err(Error::NotAPackage { .. })));
        assert!(target.join("chapter.txt").exists());
    }
}
