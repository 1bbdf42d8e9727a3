//! Puts a package where it belongs: built beside, then put in place in one step. A package is complete or absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use deploy::{Content, FileTree, paths};
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
        let blob = blob.ok_or_else(|| {
            Error::Options(format!("`{path}` is the same as `{original}`, which is not there"))
        })?;
        files.push(PackageFile { path, blob });
    }
    Ok(files)
}

/// Builds the package of these files beside `place` and puts it there, replacing an older package.
///
/// What an older package holds that no import wrote (engines, logs, videos made since) is taken over.
pub(crate) fn place(store: &Store, files: &[PackageFile], name: &str, place: &Path) -> Result<(), Error> {
    let older = place.exists();
    if older && !place.join(paths::MANIFEST).is_file() && !is_empty_folder(place) {
        return Err(Error::NotAPackage { path: place.to_owned() });
    }
    let folder = store.temporary_folder()?;
    let result = build(store, files, &folder)
        .and_then(|()| if older { take_over(store, files, name, place, &folder) } else { Ok(()) })
        .and_then(|()| put_in_place(&folder, place, older));
    // In place, `folder` now is the older package, or gone; after a failure it is what was built so far.
    let _ = fs::remove_dir_all(&folder);
    result?;
    let written: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let list =
        serde_json::to_vec(&written).map_err(|source| Error::Record { what: "file list".into(), source })?;
    store.write_whole(&list_path(store, name), &list)
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

/// Moves files that no import wrote from the older package into the new one, as links, so that the older one stays
/// whole until it is replaced.
fn take_over(
    store: &Store,
    files: &[PackageFile],
    name: &str,
    older: &Path,
    folder: &Path,
) -> Result<(), Error> {
    let list = fs::read(list_path(store, name)).ok();
    let Some(written) = list.and_then(|list| serde_json::from_slice::<BTreeSet<String>>(&list).ok()) else {
        return Ok(());
    };
    let now: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for path in files_below(older)? {
        let Some(relative) = path.strip_prefix(older).ok().and_then(Path::to_str) else { continue };
        if written.contains(relative) || now.contains(relative) {
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

/// One step: an exchange where a package is there already. File systems that cannot exchange get two renames.
fn put_in_place(folder: &Path, place: &Path, older: bool) -> Result<(), Error> {
    if !older {
        return rename(folder, place);
    }
    match rustix::fs::renameat_with(CWD, folder, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let mut aside = folder.as_os_str().to_owned();
            aside.push(".old");
            let aside = PathBuf::from(aside);
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

fn list_path(store: &Store, name: &str) -> PathBuf {
    store.folder().join("last").join(name).join("files.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_replaced_whole_and_keeps_what_was_added() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let file = |path: &str, text: &str| PackageFile {
            path: path.into(),
            blob: store.put(text.as_bytes()).unwrap(),
        };
        let target = out.path().join("p");
        place(&store, &[file("manifest.json", "1"), file("a/b.txt", "old")], "p", &target).unwrap();
        fs::write(target.join("a/engine"), "built since").unwrap();
        place(&store, &[file("manifest.json", "2")], "p", &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("manifest.json")).unwrap(), "2");
        assert_eq!(fs::read_to_string(target.join("a/engine")).unwrap(), "built since");
        assert!(!target.join("a/b.txt").exists(), "what an import wrote goes with it");
        assert_eq!(fs::read_dir(out.path().join(".sightline/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn another_folder_is_never_replaced() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let target = out.path().join("thesis");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("chapter.txt"), "years").unwrap();
        let placed = place(&store, &[], "thesis", &target);
        assert!(matches!(placed, Err(Error::NotAPackage { .. })));
        assert!(target.join("chapter.txt").exists());
    }
}
