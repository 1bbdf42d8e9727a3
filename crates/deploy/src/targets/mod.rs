//! The places a detector is deployed to.
//!
//! One file and one line in [`targets`] a target. A target renders its whole folder from the [`Detector`]; what it
//! cannot express is an error, never an approximation.

mod graphs;
mod onnxruntime;
pub mod triton;

use detect::Detector;

pub use graphs::{DeliveredGraph, Form, Graphs};

use crate::{Error, FileTree, PackageName};

/// What a target renders from.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The package's name.
    pub name: &'a PackageName,
    /// The one description of the detector.
    pub detector: &'a Detector,
    /// Path of the ONNX file in the package: `model/<name>.onnx`.
    pub model: &'a str,
    /// What the files of its graphs state: at least the forms that the target asks for.
    pub graphs: &'a Graphs,
}

/// A place a detector is deployed to.
pub trait Target: Sync {
    /// Its name, which is also its folder in the package.
    fn name(&self) -> &'static str;

    /// What it is, in a sentence.
    fn about(&self) -> &'static str;

    /// The graphs that it looks at.
    fn forms(&self) -> &'static [Form] {
        &[]
    }

    /// The files of the deployment, in memory, by path from the package's root. Same input, same bytes.
    ///
    /// # Errors
    /// [`Error::Path`] for a model path that leaves the package; [`Error::NoGraph`] and [`Error::Tensor`] of targets that look
    /// at graphs.
    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error>;
}

/// Every target, in alphabetical order.
pub fn targets() -> &'static [&'static dyn Target] {
    static TARGETS: &[&dyn Target] = &[&onnxruntime::OnnxRuntime, &triton::Triton];
    TARGETS
}

/// The target of this name.
///
/// # Errors
/// [`Error::UnknownTarget`], whose hint lists the names.
pub fn target(name: &str) -> Result<&'static dyn Target, Error> {
    let found = targets().iter().find(|target| target.name() == name).copied();
    found.ok_or_else(|| Error::UnknownTarget { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(targets().is_sorted_by_key(|target| target.name()));
        for one in targets() {
            assert_eq!(target(one.name()).unwrap().name(), one.name());
            assert!(one.about().ends_with('.'));
        }
        let error = target("android").err().unwrap();
        assert!(error.hint().unwrap().contains("onnxruntime"));
    }
}
