//! The Hugging Face cache of this machine, in the layout that the Python library reads and writes.
//!
//! ```text
//! CACHEDIR.TAG
//! .locks/models--owner--name/<etag>.lock
//! models--owner--name/
//!   refs/<revision>            the commit it was last seen at
//!   blobs/<etag>               content, named by SHA-256 (large files) or git blob hash
//!   blobs/<etag>.incomplete    what a cut download left; continued by the next
//!   snapshots/<commit>/<path>  relative link to its blob
//! ```
//!
//! `huggingface_hub` 2 gives its own partial files a random part (`<etag>.<8 digits>.incomplete`) and deletes them on
//! failure; earlier versions and the `hf-hub` crate use the plain name under the same lock, as is done here.

use std::path::{Path, PathBuf};

use crate::choose::{Digest, Entry, Listing};
use crate::download::make_parent;
use crate::error::{Error, Result};
use crate::source::{RepoId, RepoPath, Revision, is_hex};

/// The text that the Cache Directory Tagging Specification asks for.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                            # This file marks a cache folder, so that backups may leave it out.\n";

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepoCache {
    root: PathBuf,
    folder: String,
}

impl RepoCache {
    pub(crate) fn new(root: &Path, repo: &RepoId) -> Self {
        Self { root: root.to_owned(), folder: repo.cache_folder() }
    }

    fn repo(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.repo().join("blobs").join(digest.as_str())
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.repo().join("blobs").join(format!("{}.incomplete", digest.as_str()))
    }

    pub(crate) fn lock(&self, digest: &Digest) -> PathBuf {
        self.root.join(".locks").join(&self.folder).join(format!("{}.lock", digest.as_str()))
    }

    /// The folder that looks like the repository at this commit.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo().join("snapshots").join(commit)
    }

    /// The commit that a revision was last seen at.
    pub(crate) fn commit_of(&self, revision: &Revision) -> Option<String> {
        if revision.is_commit() {
            return Some(revision.to_string());
        }
        let text = std::fs::read_to_string(self.ref_file(revision)).ok()?;
        let commit = text.trim();
        is_hex(commit, 40).then(|| commit.to_owned())
    }

    fn ref_file(&self, revision: &Revision) -> PathBuf {
        let mut path = self.repo().join("refs");
        path.extend(revision.as_str().split('/'));
        path
    }

    /// Remembers where a revision is now.
    pub(crate) fn write_ref(&self, revision: &Revision, commit: &str) -> Result<()> {
        if revision.is_commit() || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        write_atomically(&self.ref_file(revision), commit.as_bytes())
    }

    /// Marks the cache as one for backup programs; an unwritable mark changes nothing.
    pub(crate) fn tag(&self) -> Result<()> {
        let tag = self.root.join("CACHEDIR.TAG");
        if tag.exists() {
            return Ok(());
        }
        write_atomically(&tag, CACHEDIR_TAG.as_bytes())
    }

    /// Makes `snapshots/<commit>/<path>` lead to the blob.
    pub(crate) fn link(&self, commit: &str, path: &RepoPath, digest: &Digest) -> Result<PathBuf> {
        let place = path.under(&self.snapshot(commit));
        let up = "../".repeat(2 + path.as_str().matches('/').count());
        let to = PathBuf::from(format!("{up}blobs/{}", digest.as_str()));
        if std::fs::read_link(&place).is_ok_and(|found| found == to) && place.exists() {
            return Ok(place);
        }
        make_parent(&place)?;
        match std::fs::remove_file(&place) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&place, cause));
            }
            _ => {}
        }
        link_or_copy(&to, &self.blob(digest), &place)?;
        Ok(place)
    }

    /// What is in the cache of a commit; the digests are those that the blobs are named by.
    pub(crate) fn listing(&self, commit: &str) -> Listing {
        let root = self.snapshot(commit);
        let mut listing = Listing::default();
        collect(&root, "", 0, &mut listing);
        listing.sorted()
    }
}

/// Folders deeper than this are not model repositories.
const DEEPEST: usize = 16;

fn collect(folder: &Path, prefix: &str, depth: usize, listing: &mut Listing) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        // A link whose blob is gone (a cleaned cache) is not there.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_dir() {
            if depth < DEEPEST {
                collect(&entry.path(), &format!("{name}/"), depth + 1, listing);
            }
            continue;
        }
        match name.parse() {
            Ok(path) => listing.entries.push(Entry {
                path,
                size: Some(metadata.len()),
                digest: blob_name(&entry.path()),
            }),
            Err(_) => listing.left_out.push(name),
        }
    }
}

fn blob_name(link: &Path) -> Option<Digest> {
    let to = std::fs::read_link(link).ok()?;
    let name = to.file_name()?.to_str()?;
    match name.len() {
        64 if is_hex(name, 64) => Some(Digest::Sha256(name.to_owned())),
        40 if is_hex(name, 40) => Some(Digest::GitBlob(name.to_owned())),
        _ => None,
    }
}

/// A small file that is there whole or not at all.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    make_parent(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let io = |e| Error::io(path, e);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, content).map_err(io)?;
    readable_by_others(file.as_file());
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}

/// Temporary files are born private; a cache may be shared.
#[cfg(unix)]
fn readable_by_others(file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    // A filesystem without permissions keeps its own.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn readable_by_others(_file: &std::fs::File) {}

#[cfg(unix)]
fn link_or_copy(to: &Path, _blob: &Path, place: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(to, place) {
        // Another thread or process has made the same link.
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|e| Error::io(place, e)),
    }
}

#[cfg(not(unix))]
fn link_or_copy(_to: &Path, blob: &Path, place: &Path) -> Result<()> {
    std::fs::copy(blob, place).map(drop).map_err(|e| Error::io(place, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_lead_to_the_blob() {
        let root = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(root.path(), &"a/b".parse().unwrap());
        let digest = Digest::Sha256("0".repeat(64));
        let commit = "1".repeat(40);
        make_parent(&cache.blob(&digest)).unwrap();
        std::fs::write(cache.blob(&digest), b"content").unwrap();
        let path: RepoPath = "onnx/model.onnx".parse().unwrap();
        for _ in 0..2 {
            let place = cache.link(&commit, &path, &digest).unwrap();
            assert_eq!(std::fs::read(&place).unwrap(), b"content");
            assert!(std::fs::read_link(&place).unwrap().starts_with("../../../blobs"));
        }
        let listing = cache.listing(&commit);
        assert_eq!(listing.entries, [Entry { path, size: Some(7), digest: Some(digest) }]);
    }

    #[test]
    fn a_revision_is_remembered_as_its_commit() {
        let root = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(root.path(), &"a/b".parse().unwrap());
        let revision: Revision = "refs/pr/1".parse().unwrap();
        assert_eq!(cache.commit_of(&revision), None);
        cache.write_ref(&revision, &"2".repeat(40)).unwrap();
        assert_eq!(cache.commit_of(&revision), Some("2".repeat(40)));
        assert!(root.path().join("models--a--b/refs/refs/pr/1").is_file());
        let broken: Revision = "main".parse().unwrap();
        write_atomically(&root.path().join("models--a--b/refs/main"), b"../../etc").unwrap();
        assert_eq!(cache.commit_of(&broken), None);
    }
}
