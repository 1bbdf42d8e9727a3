//! x
use super::{Deployment, Target};
use crate::{Error, FileTree};
pub(super) struct OnnxRuntime;
impl Target for OnnxRuntime {
    fn name(&self) -> &'static str { "onnxruntime" }
    fn about(&self) -> &'static str { "x." }
    fn render(&self, _d: &Deployment<'_>) -> Result<FileTree, Error> { Ok(FileTree::new()) }
}
