//! The shared library: which file it is, and what it says about itself.
//!
//! A process can load one ONNX Runtime and no second one: the bindings keep the functions that they found first. So the
//! path is set once, by whoever knows where libraries lie (`cli`), and a second path is an error, never a silent use of
//! the first.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::Library;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::sys::OrtApiBase;

use crate::Error;
use crate::backends::fenced;
use crate::loading::opening_failed;

/// The oldest release whose functions are used: 1.17.
const OLDEST_MINOR: u32 = ort::MINOR_VERSION;

static PATH: OnceLock<PathBuf> = OnceLock::new();
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// A library that is in use.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) environment: Environment,
    pub(super) version: String,
}

/// Says which library file the ONNX Runtime backends load. To be called before the first of them is used; nothing is
/// opened yet.
///
/// # Errors
/// [`Error::SecondLibrary`] when another file was named before.
pub fn use_library(path: &Path) -> Result<(), Error> {
    let first = PATH.get_or_init(|| path.to_owned());
    let same = || path.canonicalize().is_ok_and(|path| first.canonicalize().is_ok_and(|first| path == first));
    if first == path || same() {
        return Ok(());
    }
    Err(Error::SecondLibrary { first: first.clone(), second: path.to_owned() })
}

/// The library file that was named.
pub fn library() -> Option<&'static Path> {
    PATH.get().map(PathBuf::as_path)
}

/// The version that a library file states about itself. Opens it, which runs its initialisers: only for files that the
/// user trusts.
///
/// # Errors
/// [`Error::BadLibrary`] with the reason why the file is no ONNX Runtime that can be used here.
pub fn library_version(path: &Path) -> Result<String, Error> {
    usable_version(path).map_err(|reason| Error::BadLibrary { path: path.to_owned(), reason })
}

fn usable_version(path: &Path) -> Result<String, String> {
    let version = stated_version(path)?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if (major, minor) < (1, OLDEST_MINOR) {
        return Err(format!(
            "it is ONNX Runtime {version}, and 1.{OLDEST_MINOR} is the oldest that can be used"
        ));
    }
    Ok(version)
}

#[expect(unsafe_code, reason = "a shared library is opened and asked for its version")]
fn stated_version(path: &Path) -> Result<String, String> {
    // SAFETY: opening a library runs its initialisers. ONNX Runtime's need nothing; of any other file, the user who named
    // it answers for what it does.
    let library = unsafe { Library::new(path) }.map_err(|error| opening_failed(path, &error))?;
    // SAFETY: the symbol has this type in every release (`onnxruntime_c_api.h`); a library that has one of this name with
    // another type was made to deceive.
    let symbol = unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") };
    let base = match symbol {
        // SAFETY: as above; the function takes nothing and gives a pointer to a static table.
        Ok(function) => unsafe { function() },
        Err(_) => return Err("it has no function `OrtGetApiBase`, so it is not ONNX Runtime".into()),
    };
    if base.is_null() {
        return Err("it gives no functions".into());
    }
    // SAFETY: `base` is not null and points to the library's static table, whose second entry gives a static C string.
    let text = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
    let version = text.to_string_lossy().into_owned();
    // Some releases leave threads and exit handlers behind, so a library that was opened is never closed.
    std::mem::forget(library);
    Ok(version)
}

/// The library in use, loaded at the first call.
pub(super) fn loaded(backend: &'static str) -> Result<Loaded, Error> {
    let unavailable = |reason: String| Error::Unavailable { backend, reason };
    let Some(path) = library() else {
        return Err(Error::NotInstalled { backend });
    };
    // Whoever panicked while holding the lock left nothing half done: the value is set in one go.
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        return Ok(loaded.clone());
    }
    let named = |reason: String| unavailable(format!("`{}`: {reason}", path.display()));
    let version = usable_version(path).map_err(named)?;
    let environment = fenced(backend, || {
        let builder = ort::init_from(path).map_err(|error| error.to_string())?;
        // What the library logs is returned as errors too; printed, it would tear the caller's output.
        let silent = Arc::new(|_: LogLevel, _: &str, _: &str, _: &str, _: &str| {});
        let builder = builder.with_name("sightline").with_telemetry(false).with_logger(silent);
        let environment = builder.build().map_err(|error| error.to_string())?;
        environment.set_log_level(LogLevel::Fatal);
        Ok::<_, String>(environment)
    })?
    .map_err(named)?;
    Ok(slot.insert(Loaded { environment, version }).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_library_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("libonnxruntime.so");
        let error = usable_version(&missing).unwrap_err();
        assert!(error.contains("No such file") || error.contains("cannot open"), "{error}");
        std::fs::write(&missing, "not a library").unwrap();
        let error = usable_version(&missing).unwrap_err();
        assert!(!error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(error.contains("invalid ELF header") || error.contains("too short"), "{error}");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn another_library_is_told_apart() {
        let error = usable_version(Path::new("libm.so.6")).unwrap_err();
        assert_eq!(error, "it has no function `OrtGetApiBase`, so it is not ONNX Runtime");
    }
}
