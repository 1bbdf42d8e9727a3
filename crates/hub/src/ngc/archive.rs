//! Archives of the catalog, unpacked without trust.
//!
//! A name may not leave the folder, a link is refused, and what comes out is counted while it is written, because
//! the sizes in an archive's directory are only claims. A zip inside of a zip is unpacked once; deeper ones stay.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::choose::{Digest, Entry, Listing};
use crate::download::make_parent;
use crate::error::{Error, Result};
use crate::source::{RepoPath, shown};

/// Entries in all.
const MOST_ENTRIES: usize = 10_000;
/// Bytes that may come out in all.
const MOST_BYTES: u64 = 20 << 30;
/// How much larger than its archive the content may be, once it is larger than [`HARMLESS`].
const LARGEST_RATIO: u64 = 200;
/// Bytes that are never a bomb.
const HARMLESS: u64 = 64 << 20;

/// Counts what has come out.
struct Budget {
    entries: usize,
    bytes: u64,
    most_bytes: u64,
}

/// Unpacks all archives into one new folder, which is there complete or not at all.
pub(super) fn unpack_all(archives: &[PathBuf], into: &Path) -> Result<()> {
    make_parent(into)?;
    let above = into.parent().unwrap_or(Path::new("."));
    let folder = tempfile::tempdir_in(above).map_err(|e| Error::io(above, e))?;
    let packed: u64 = archives.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum();
    let most_bytes = packed.saturating_mul(LARGEST_RATIO).clamp(HARMLESS, MOST_BYTES);
    let mut budget = Budget { entries: 0, bytes: 0, most_bytes };
    for archive in archives {
        unpack(archive, folder.path(), &mut budget, true)?;
    }
    let made = folder.keep();
    std::fs::rename(&made, into).map_err(|e| Error::io(into, e))
}

fn unpack(archive: &Path, into: &Path, budget: &mut Budget, outermost: bool) -> Result<()> {
    let shown_path = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refused = |reason: String| Error::Archive { path: shown_path.clone(), reason };
    let file = File::open(archive).map_err(|e| Error::io(archive, e))?;
    let mut zip = ZipArchive::new(file).map_err(|e| refused(e.to_string()))?;
    for index in 0..zip.len() {
        budget.entries += 1;
        if budget.entries > MOST_ENTRIES {
            return Err(refused(format!("it has more than {MOST_ENTRIES} entries")));
        }
        let mut entry = zip.by_index(index).map_err(|e| refused(e.to_string()))?;
        if entry.is_symlink() {
            return Err(refused(format!("`{}` is a link", shown(entry.name()))));
        }
        let name = entry.name().trim_end_matches('/').to_owned();
        let path: RepoPath =
            name.parse().map_err(|_| Error::Escapes { named_by: shown_path.clone(), path: shown(&name) })?;
        if entry.is_dir() {
            continue;
        }
        let place = path.under(into);
        make_parent(&place)?;
        let file = File::options().write(true).create_new(true).open(&place).map_err(|cause| {
            if cause.kind() == std::io::ErrorKind::AlreadyExists {
                return refused(format!("it has `{path}` twice"));
            }
            Error::io(&place, cause)
        })?;
        copy(&mut entry, file, &place, budget, &refused)?;
        drop(entry);
        if outermost && path.extension() == "zip" {
            unpack_inner(&place, budget)?;
        }
    }
    Ok(())
}

/// Replaces a zip by the folder of its content.
fn unpack_inner(archive: &Path, budget: &mut Budget) -> Result<()> {
    let into = archive.with_extension("");
    std::fs::create_dir_all(&into).map_err(|e| Error::io(&into, e))?;
    unpack(archive, &into, budget, false)?;
    std::fs::remove_file(archive).map_err(|e| Error::io(archive, e))
}

fn copy(
    from: &mut impl Read,
    mut to: File,
    place: &Path,
    budget: &mut Budget,
    refused: &impl Fn(String) -> Error,
) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        // A wrong checksum or a broken stream arrives here.
        let n = from.read(&mut buffer).map_err(|e| refused(e.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        budget.bytes += n as u64;
        if budget.bytes > budget.most_bytes {
            return Err(refused(format!("more than {} bytes come out of it", budget.most_bytes)));
        }
        to.write_all(&buffer[..n]).map_err(|e| Error::io(place, e))?;
    }
}

/// What lies in a folder of the cache; `sha256` are the digests that are known.
pub(super) fn listing(root: &Path, sha256: &BTreeMap<RepoPath, String>) -> Listing {
    let mut listing = Listing::default();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else if let Ok(path) = name.parse::<RepoPath>() {
                let is_partial = name.ends_with(".incomplete") || name.ends_with(".damaged");
                if metadata.is_file() && !is_partial {
                    let digest = sha256.get(&path).cloned().map(Digest::Sha256);
                    listing.entries.push(Entry { path, size: Some(metadata.len()), digest });
                }
            }
        }
    }
    listing.sorted()
}

#[cfg(test)]
mod tests {
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn unpacked(content: &[u8]) -> Result<Vec<String>> {
        let root = tempfile::tempdir().unwrap();
        let archive = root.path().join("a.zip");
        std::fs::write(&archive, content).unwrap();
        let into = root.path().join("out");
        unpack_all(&[archive], &into).inspect_err(|_| assert!(!into.exists()))?;
        Ok(listing(&into, &BTreeMap::new()).entries.into_iter().map(|entry| entry.path.to_string()).collect())
    }

    #[test]
    fn one_level_of_nesting_is_unpacked() {
        let deepest = zip_of(&[("x.txt", b"x")]);
        let inner = zip_of(&[("model.onnx", b"onnx"), ("deep.zip", &deepest)]);
        let outer = zip_of(&[("v1/labels.txt", b"car;bicycle"), ("v1/inner.zip", &inner)]);
        assert_eq!(unpacked(&outer).unwrap(), ["v1/inner/deep.zip", "v1/inner/model.onnx", "v1/labels.txt"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../evil.onnx", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:/evil", "a//b"] {
            let error = unpacked(&zip_of(&[("ok.txt", b"x"), (name, b"evil")])).unwrap_err();
            assert!(matches!(error, Error::Escapes { .. }), "{name}: {error}");
            assert_eq!(error.exit_code(), 11);
        }
        let inner = zip_of(&[("../../evil", b"evil")]);
        assert!(unpacked(&zip_of(&[("inner.zip", &inner)])).is_err());
    }

    #[test]
    fn bombs_links_and_rubbish_are_refused() {
        let zeros = vec![0; 80 << 20];
        let error = unpacked(&zip_of(&[("bomb", &zeros)])).unwrap_err();
        assert!(error.to_string().contains("come out of it"), "{error}");

        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let error = unpacked(&zip.finish().unwrap().into_inner()).unwrap_err();
        assert!(error.to_string().contains("is a link"), "{error}");

        assert!(matches!(unpacked(b"not a zip").unwrap_err(), Error::Archive { .. }));
        let mut damaged = zip_of(&[("a.txt", &[7; 1000])]);
        damaged[40] ^= 0xff;
        assert!(unpacked(&damaged).is_err());
    }
}
