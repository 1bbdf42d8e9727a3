//! The parts of a wheel that a program without Python needs: the shared libraries, and the licences that they come with.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use zip::ZipArchive;

use super::Library;
use crate::download::{hash_file, make_parent};
use crate::error::{Error, Result};
use crate::source::{RepoPath, shown};

/// Where the licences go.
const LICENCES: &str = "licences";

/// Puts the parts into a folder; gives their names with their SHA-256.
///
/// The archive's digest was checked, so what it holds is what its makers put there; names are looked at all the same.
pub(super) fn unpack(archive: &Path, library: &Library, into: &Path) -> Result<BTreeMap<String, String>> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refused = |reason: String| Error::Archive { path: name.clone(), reason };
    let file = File::open(archive).map_err(|e| Error::io(archive, e))?;
    let mut zip = ZipArchive::new(file).map_err(|e| refused(e.to_string()))?;
    let mut parts = BTreeMap::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| refused(e.to_string()))?;
        let Some(part) = part_of(entry.name(), library).filter(|_| entry.is_file()) else { continue };
        let path: RepoPath =
            part.parse().map_err(|_| Error::Escapes { named_by: name.clone(), path: shown(entry.name()) })?;
        let place = path.under(into);
        make_parent(&place)?;
        let mut made = File::create(&place).map_err(|e| Error::io(&place, e))?;
        std::io::copy(&mut entry, &mut made).map_err(|e| match e.kind() {
            // A wrong checksum or a broken stream comes from the archive, everything else from the disk.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => refused(e.to_string()),
            _ => Error::io(&place, e),
        })?;
        parts.insert(part, hash_file(&place, false, |_| ())?.sha256);
    }
    if parts.keys().any(|part| part.starts_with(library.main)) {
        return Ok(parts);
    }
    let reason = format!("it holds no `{}{}…`", library.inside, library.main);
    Err(refused(reason))
}

/// Where a file of the wheel goes; `None` for what is not needed.
fn part_of(entry: &str, library: &Library) -> Option<String> {
    let file = entry.rsplit('/').next().filter(|file| !file.is_empty())?;
    if let Some(inside) = entry.strip_prefix(library.inside) {
        // Python's own module is no library that others can open.
        let is_part = library.parts.iter().any(|part| inside.starts_with(part));
        let shared = is_part && inside.contains(".so");
        if shared && inside == file {
            return Some(file.to_owned());
        }
    }
    let upper = file.to_ascii_uppercase();
    let licence =
        ["LICENSE", "LICENCE", "NOTICE", "THIRDPARTYNOTICES", "PRIVACY", "COPYING", "ACKNOWLEDGEMENTS"];
    licence.iter().any(|start| upper.starts_with(start)).then(|| format!("{LICENCES}/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::LIBRARIES;

    #[test]
    fn libraries_and_licences_are_taken_and_nothing_else() {
        for (entry, expected) in [
            ("onnxruntime/capi/libonnxruntime.so.1.32.0", Some("libonnxruntime.so.1.32.0")),
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", Some("libonnxruntime_providers_cuda.so")),
            ("onnxruntime/capi/onnxruntime_pybind11_state.cpython-312-x86_64-linux-gnu.so", None),
            ("onnxruntime/capi/deep/libx.so", None),
            ("onnxruntime/capi/", None),
            ("onnxruntime/tools/libonnxruntime.so", None),
            ("onnxruntime/LICENSE", Some("licences/LICENSE")),
            ("onnxruntime/ThirdPartyNotices.txt", Some("licences/ThirdPartyNotices.txt")),
            ("onnxruntime-1.32.0.dist-info/METADATA", None),
        ] {
            assert_eq!(part_of(entry, &LIBRARIES[0]).as_deref(), expected, "{entry}");
        }
        let rtx = LIBRARIES.iter().find(|library| library.name == "tensorrt-rtx").unwrap();
        for (entry, expected) in [
            ("libtensorrt_rtx.so.1.7.1", Some("libtensorrt_rtx.so.1.7.1")),
            ("libtensorrt_onnxparser_rtx.so.1.7.1", Some("libtensorrt_onnxparser_rtx.so.1.7.1")),
            // Parts of the plug-in for ONNX Runtime.
            ("libonnxruntime_providers_nv_tensorrt_rtx.so", None),
            ("libtensorrt_plugins.so", None),
            ("Acknowledgements.txt", Some("licences/Acknowledgements.txt")),
        ] {
            assert_eq!(part_of(&format!("{}{entry}", rtx.inside), rtx).as_deref(), expected, "{entry}");
        }
    }
}
