//! Building blocks that several architectures share, each written once.
//!
//! A block takes the builder, the weights of its parent module and its own name there, so that tensors, nodes and scopes
//! carry the names of the original. With `weights.exact()` a block keeps the operations of the original one by one;
//! otherwise it folds what is constant into the weights, and both give the same numbers up to rounding.

mod activation;
mod attention;
mod backbone;
mod constant;
mod conv;
mod deformable;
mod feed_forward;
mod linear;
mod padding;
mod resnet;
mod sine;
mod stored;
mod timm_resnet;

pub(crate) use activation::Activation;
pub(crate) use attention::{Attended, Attention, attend, attention, head_factor, self_attention};
pub(crate) use backbone::Backbone;
pub(crate) use constant::{FixedRows, Layer, Norm as ConstantNorm, Rows};
pub(crate) use conv::{ConvNorm, conv_norm, conv2d, rep_vgg};
pub(crate) use deformable::{Deformable, Reference, Sampling, deformable_attention};
pub(crate) use feed_forward::{Between, feed_forward};
pub(crate) use linear::{layer_norm, linear, mlp, mlp_of};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use padding::Level;
pub(crate) use padding::Padding;
pub(crate) use resnet::{ResNet, ResNetKind};
pub(crate) use sine::{Sine, sine_of, sine_positions, sine_rows};
pub(crate) use stored::deferred_floats;
