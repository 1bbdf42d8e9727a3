//! Passes: graph to graph, with the same outputs.
//!
//! A pass that has to compute something takes an evaluator from its caller: there is no operator kernel in this crate.

mod convert_fp16;
mod fold_constants;

pub use convert_fp16::{Full, HalfOptions, Halved, convert_fp16, float_values};
pub use fold_constants::{Evaluate, fold_constants};
