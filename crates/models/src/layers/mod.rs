//! Building blocks that several architectures share, each written once.
//!
//! A block takes the builder, the weights of its parent module and its own name there, so that tensors, nodes and scopes
//! carry the names of the original. With `weights.exact()` a block keeps the operations of the original one by one;
//! otherwise it folds what is constant into the weights, and both give the same numbers up to rounding.

mod activation;
mod attention;
mod conv;
mod deformable;
mod interpolate;
mod linear;
mod resnet_d;
mod sine;
mod stored;
mod vit;

pub(crate) use activation::Activation;
#[expect(unused_imports, reason = "the families that follow use them")]
pub(crate) use attention::{Attended, attend, attention};
pub(crate) use attention::{Attention, self_attention};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use conv::conv2d;
pub(crate) use conv::{ConvNorm, conv_norm, rep_vgg};
pub(crate) use deformable::{Deformable, Reference, Sampling, deformable_attention};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use interpolate::{Interpolate, Kernel};
pub(crate) use linear::{layer_norm, linear, mlp};
pub(crate) use resnet_d::ResNetD;
pub(crate) use sine::sine_positions;
pub(crate) use stored::deferred_floats;
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use vit::{VitAttention, VitBlock, VitMlp, vit_block};
