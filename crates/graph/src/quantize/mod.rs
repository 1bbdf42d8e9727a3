//! INT8: which values are rounded to eight bits, to which range, and the graph that says so.
//!
//! The steps are apart, so that each can be looked at: [`Histogram`] watches a value over many images, [`Method`] picks
//! its range, [`Placement`] says by TensorRT's rules which values and weights are rounded, [`quantize`] writes the
//! `QuantizeLinear` and `DequantizeLinear` nodes. Everything is symmetric (zero point 0), values have one scale, weights
//! one a channel: what TensorRT and ONNX Runtime both run.

mod histogram;
mod kin;
mod method;
mod placement;
mod rewrite;
mod scales;
mod weights;
mod wiring;

#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use kin::{Kin, shares};
pub use method::Method;
pub use placement::{Float, Layer, Placement, PlacementOptions};
pub use rewrite::quantize;
pub use scales::{CacheUse, Scales, scales, scales_of_cache};

/// The largest code: -128 stays unused, so that a sign change is exact.
pub(crate) const LARGEST_CODE: f32 = 127.0;
