//! What the system says of a shared library that cannot be opened.

use std::path::Path;

/// The system's words; they hold the path once more, which the caller has said already.
pub(crate) fn opening_failed(path: &Path, error: &libloading::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}
