//! Building blocks that several architectures share, each written once.
//!
//! A block takes the builder, the weights of its parent module and its own name there, so that tensors, nodes and scopes
//! carry the names of the original. With `weights.exact()` a block keeps the operations of the original one by one;
//! otherwise it folds what is constant into the weights, and both give the same numbers up to rounding.

mod activation;
mod attention;
mod backbone;
mod conv;
#[allow(dead_code, reason = "the families that follow use all forms")]
mod deformable;
mod fold;
#[allow(dead_code, reason = "the families that follow use it")]
mod hgnet;
mod linear;
mod padding;
mod resnet;
mod sine;
mod stages;
mod stored;
#[expect(dead_code, reason = "the families that follow use it")]
mod swin;
mod timm_resnet;

pub(crate) use activation::Activation;
#[expect(unused_imports, reason = "the families that follow use them")]
pub(crate) use attention::{Attended, attend, attention};
pub(crate) use attention::{Attention, self_attention};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use backbone::Backbone;
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use conv::conv2d;
pub(crate) use conv::{ConvNorm, conv_norm, rep_vgg};
pub(crate) use deformable::{Deformable, Reference, Sampling, deformable_attention};
#[expect(unused_imports, reason = "the families that follow use them")]
pub(crate) use deformable::{LevelRatios, Memory, bare_deformable_attention};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use hgnet::HgNetV2;
pub(crate) use linear::{layer_norm, linear, mlp, unbiased_linear};
#[expect(unused_imports, reason = "the families that follow use them")]
pub(crate) use padding::{Level, Padding};
pub(crate) use resnet::{ResNet, ResNetKind};
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use sine::Sine;
pub(crate) use sine::sine_positions;
pub(crate) use stages::chosen_stages;
pub(crate) use stored::deferred_floats;
#[expect(unused_imports, reason = "the families that follow use it")]
pub(crate) use swin::{SWIN_RENAMES, Swin, TokenMap};
