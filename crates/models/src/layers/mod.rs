//! Building blocks that several architectures share, each written once.
//!
//! A block takes the builder, the weights of its parent module and its own name there, so that tensors, nodes and scopes
//! carry the names of the original. With `weights.exact()` a block keeps the operations of the original one by one;
//! otherwise it folds what is constant into the weights, and both give the same numbers up to rounding.

#![allow(dead_code, unused_imports, reason = "the families that follow use them")]

mod activation;
mod attention;
mod backbone;
mod conv;
mod deformable;
mod fold;
mod hgnet;
mod interpolate;
mod linear;
mod padding;
mod resnet;
mod rms_norm;
mod sine;
mod stages;
mod stored;
mod swin;
mod timm_resnet;
mod vit;

pub(crate) use activation::Activation;
pub(crate) use attention::{Attended, attend, attention};
pub(crate) use attention::{Attention, self_attention};
pub(crate) use backbone::Backbone;
pub(crate) use conv::conv2d;
pub(crate) use conv::{ConvNorm, conv_norm, rep_vgg};
pub(crate) use deformable::{Deformable, Reference, Sampling, deformable_attention};
pub(crate) use deformable::{LevelRatios, Memory, bare_deformable_attention};
pub(crate) use hgnet::HgNetV2;
pub(crate) use interpolate::{Interpolate, Kernel};
pub(crate) use linear::{activated_mlp, layer_norm, linear, mlp, unbiased_linear};
pub(crate) use padding::{Level, Padding};
pub(crate) use resnet::{ResNet, ResNetKind};
pub(crate) use rms_norm::rms_norm;
pub(crate) use sine::Sine;
pub(crate) use sine::sine_positions;
pub(crate) use stages::chosen_stages;
pub(crate) use stored::deferred_floats;
pub(crate) use swin::{SWIN_RENAMES, Swin, TokenMap};
pub(crate) use vit::{VitAttention, VitBlock, VitMlp, vit_block};
