//! Everything that can run a graph. To add one: a file, its `mod` line, its line in [`BACKENDS`].

pub mod embedded;
pub mod onnxruntime;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Backend, Error};

/// All backends, the default one first.
pub static BACKENDS: &[&dyn Backend] =
    &[&embedded::Embedded, &onnxruntime::CPU, &onnxruntime::CUDA_BACKEND, &onnxruntime::TENSORRT_BACKEND];

/// The backend of this name.
///
/// # Errors
/// [`Error::UnknownBackend`] with the names that there are.
pub fn backend(name: &str) -> Result<&'static dyn Backend, Error> {
    BACKENDS.iter().copied().find(|backend| backend.name() == name).ok_or_else(|| Error::UnknownBackend {
        name: name.to_owned(),
        known: BACKENDS.iter().map(|backend| backend.name()).collect(),
    })
}

/// Calls into a backend's library; a panic becomes an error.
///
/// Libraries trust a graph's constants in places: a `Slice` with a step of 0 panics in `rten`, at loading where it is a
/// constant. A server that checks uploaded models must outlive that. What cannot be fenced is memory: a graph that asks
/// for an impossible amount ends the process.
pub(crate) fn fenced<T>(backend: &'static str, call: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Error::Panicked { backend, message: message.unwrap_or_else(|| "without a message".into()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name_or_not_at_all() {
        for known in BACKENDS {
            assert_eq!(backend(known.name()).map(Backend::name).ok(), Some(known.name()));
        }
        let error = backend("cuda").err().map(|error| error.to_string());
        let expected = "there is no backend `cuda`, there is `embedded`, `onnxruntime`, `onnxruntime-cuda`, \
                        `onnxruntime-tensorrt`";
        assert_eq!(error.as_deref(), Some(expected));
    }
}
