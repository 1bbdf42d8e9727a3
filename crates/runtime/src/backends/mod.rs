//! Everything that can run a graph. To add one: a file, its `mod` line, its line in [`BACKENDS`].

pub mod embedded;

use crate::{Backend, Error};

/// All backends, the default one first.
pub static BACKENDS: &[&dyn Backend] = &[&embedded::Embedded];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name_or_not_at_all() {
        for known in BACKENDS {
            assert_eq!(backend(known.name()).map(Backend::name).ok(), Some(known.name()));
        }
        let error = backend("cuda").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("there is no backend `cuda`, there is `embedded`"));
    }
}
