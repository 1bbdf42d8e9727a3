//! The backends that this machine has. ONNX Runtime is one of them when `SIGHTLINE_ONNXRUNTIME` names its library or
//! `sightline runtime install onnxruntime` was run; `.ci/run` does that.

use std::path::{Path, PathBuf};
use std::sync::Once;

use runtime::backends::onnxruntime;
use runtime::{BACKENDS, Backend};

static NAMED: Once = Once::new();
static TOLD: Once = Once::new();

/// Every backend whose probe succeeds. The others are told by name, so that a green run does not hide them.
#[allow(clippy::print_stdout, reason = "a test's output is for whoever reads why something was skipped")]
pub(crate) fn backends() -> Vec<&'static dyn Backend> {
    name_library();
    let (usable, others): (Vec<_>, Vec<_>) = BACKENDS
        .iter()
        .copied()
        .map(|backend| (backend, backend.probe()))
        .partition(|(_, probe)| probe.is_ok());
    TOLD.call_once(|| {
        for (backend, probe) in others {
            println!("skipped: {}: {}", backend.name(), probe.unwrap_err());
        }
    });
    usable.into_iter().map(|(backend, _)| backend).collect()
}

/// Names the library once for all tests of this process.
fn name_library() {
    NAMED.call_once(|| {
        if let Some(path) = variable("SIGHTLINE_ONNXRUNTIME") {
            onnxruntime::use_library(Path::new(&path)).unwrap();
            // Whoever names a library wants it tested: here a skip would be a lie.
            onnxruntime::CPU.probe().unwrap();
        } else if let Some(path) = installed("onnxruntime-1", "libonnxruntime.so") {
            onnxruntime::use_library(&path).unwrap();
        }
    });
}

/// What `sightline runtime install` left in the data folder: the file that begins with `library`, in the folder that begins
/// with `name`.
pub(crate) fn installed(name: &str, library: &str) -> Option<PathBuf> {
    let data = variable("SIGHTLINE_DATA")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("XDG_DATA_HOME")?).join("sightline")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/share/sightline")))?;
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let named = |path: &PathBuf, start: &str| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    };
    let folder = entries(&data.join("runtime")).find(|path| named(path, name))?;
    entries(&folder).find(|path| named(path, library))
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment which library to use")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
