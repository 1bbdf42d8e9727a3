//! The shared libraries: where they are and of which version.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use libloading::Library;

use super::NAME;
use crate::Error;
use crate::loading::opening_failed;

/// The release whose functions are used: bindings to C++ classes fit one only.
const RELEASE: (u32, u32) = (1, 7);
/// How the names of the library and of its parser begin.
const LIBRARY: &str = "libtensorrt_rtx";
const PARSER: &str = "libtensorrt_onnxparser_rtx";

/// The version that a library file states about itself, `1.7.1`. Opens it, which runs its initialisers: only for files that
/// the user trusts.
///
/// # Errors
/// [`Error::ToolUnusable`] with the reason why the file is no TensorRT for RTX that can be used here, or has no parser beside.
pub fn library_version(path: &Path) -> Result<String, Error> {
    let version = stated(path).and_then(|[major, minor, patch]| {
        let version = format!("{major}.{minor}.{patch}");
        let (wanted_major, wanted_minor) = RELEASE;
        if (major, minor) == RELEASE {
            return Ok(version);
        }
        Err(format!(
            "it is TensorRT for RTX {version}, and {wanted_major}.{wanted_minor} is the one that can be used"
        ))
    });
    let version = version.map_err(|reason| unusable(path, reason))?;
    parser_of(path)?;
    Ok(version)
}

/// The parser, which lies beside the library under a name like its own.
pub(super) fn parser_of(library: &Path) -> Result<PathBuf, Error> {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let parser = library.with_file_name(name.replacen(LIBRARY, PARSER, 1));
    if parser != library && parser.is_file() {
        return Ok(parser);
    }
    Err(unusable(library, format!("its parser `{PARSER}.so…` is not beside it")))
}

pub(super) fn unusable(path: &Path, reason: String) -> Error {
    Error::ToolUnusable { tool: NAME, program: path.to_owned(), reason }
}

#[expect(unsafe_code, reason = "a shared library is opened and asked for its version")]
fn stated(path: &Path) -> Result<[u32; 3], String> {
    // SAFETY: opening a library runs its initialisers. TensorRT's need nothing; of any other file, the user who named it
    // answers for what it does.
    let library = unsafe { Library::new(path) }.map_err(|error| opening_failed(path, &error))?;
    let mut version = [0; 3];
    let parts =
        [&b"getInferLibMajorVersion\0"[..], b"getInferLibMinorVersion\0", b"getInferLibPatchVersion\0"];
    for (number, name) in version.iter_mut().zip(parts) {
        // SAFETY: the symbol has this type in every release (`NvInferRuntime.h`); a library that has one of this name with
        // another type was made to deceive.
        let symbol = unsafe { library.get::<unsafe extern "C" fn() -> c_int>(name) };
        let Ok(function) = symbol else {
            return Err("it has no function that tells TensorRT's version".into());
        };
        // SAFETY: as above; the function takes nothing and gives a number.
        *number = u32::try_from(unsafe { function() }).unwrap_or(0);
    }
    // It may leave threads and exit handlers behind, so a library that was opened is never closed.
    std::mem::forget(library);
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_library_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libtensorrt_rtx.so.1.7.1");
        let message = |path: &Path| library_version(path).unwrap_err().to_string();
        assert!(message(&library).contains("No such file"), "{}", message(&library));
        std::fs::write(&library, "not a library").unwrap();
        assert!(message(&library).contains("cannot be used as `tensorrt-rtx`"), "{}", message(&library));
        assert!(message(&library).contains("invalid ELF header") || message(&library).contains("too short"));
        assert!(parser_of(&library).is_err());
        let parser = folder.path().join("libtensorrt_onnxparser_rtx.so.1.7.1");
        std::fs::write(&parser, "").unwrap();
        assert_eq!(parser_of(&library).unwrap(), parser);
        assert!(parser_of(&parser).is_err());
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_library_of_another_kind_is_refused() {
        let error = library_version(Path::new("libm.so.6")).unwrap_err().to_string();
        assert!(error.contains("no function that tells TensorRT's version"), "{error}");
    }
}
