//! The places a detector is deployed to.
//!
//! One file and one line in [`targets`] a target. A target renders its whole folder from the [`Detector`]; what it
//! cannot express is an error, never an approximation.

mod deepstream;
mod graphs;
mod isaac_ros;
mod onnxruntime;
pub mod triton;
mod video;

use detect::Detector;
use detect::in_graph::Scaled;
use graph::ValueInfo;

pub use deepstream::files::{DeepStreamFiles, key as deepstream_key, with_keys as with_deepstream_keys};
pub use graphs::{DeliveredGraph, Form, Graphs};

use crate::{Engine, Error, FileTree, PackageName, Precision};

/// What a target renders from.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The package's name.
    pub name: &'a PackageName,
    /// The one description of the detector.
    pub detector: &'a Detector,
    /// Path of the ONNX file in the package: `model/<name>.onnx`.
    pub model: &'a str,
    /// The outputs that the ONNX file states; empty where it was not looked at.
    pub outputs: &'a [ValueInfo],
    /// The precisions that the package holds.
    pub precisions: &'a [Precision],
    /// The largest batch that was verified.
    pub max_batch: u32,
    /// Width and height of the frames, for targets that process video.
    pub frame: (u32, u32),
    /// What the files of its graphs state: at least the forms that the target asks for.
    pub graphs: &'a Graphs,
    /// The TensorRT engine that was built of one of its graphs.
    pub engine: Option<&'a Engine>,
}

impl Deployment<'_> {
    /// The engine that was built of this graph, for INT8 or for floating point.
    pub(crate) fn built(&self, onnx: &str, precision: Precision) -> Option<&Engine> {
        let is_same = |number: Precision| (number == Precision::Int8) == (precision == Precision::Int8);
        self.engine.filter(|engine| engine.built_from == onnx && is_same(engine.precision))
    }
}

/// Width and height of the frames where nothing else is said: those of DeepStream's sample video.
pub const USUAL_FRAME: (u32, u32) = (1280, 720);

/// A graph that a target needs beside those of the package.
#[derive(Debug, Clone)]
pub struct TargetModel {
    /// Its path in the package.
    pub path: String,
    /// The path of the graph in the package that it is made of.
    pub original: String,
    /// How it is made.
    pub scaled: Scaled,
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

    /// The graphs that its files name and the package does not have yet.
    ///
    /// # Errors
    /// [`Error::Inexpressible`], as [`Target::render`].
    fn models(&self, _deployment: &Deployment<'_>) -> Result<Vec<TargetModel>, Error> {
        Ok(Vec::new())
    }

    /// The files of the deployment, in memory, by path from the package's root. Same input, same bytes.
    ///
    /// # Errors
    /// [`Error::Path`] for a model path that leaves the package; [`Error::Inexpressible`] for a detector that this target
    /// cannot run as it is described; [`Error::NoGraph`] and [`Error::Tensor`] of targets that look at graphs.
    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error>;
}

/// Every target, in alphabetical order.
pub fn targets() -> &'static [&'static dyn Target] {
    static TARGETS: &[&dyn Target] =
        &[&deepstream::DeepStream, &isaac_ros::IsaacRos, &onnxruntime::OnnxRuntime, &triton::Triton];
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
