//! Building blocks that several architectures share, each written once.
//!
//! A block takes the builder, the weights of its parent module and its own name there, so that tensors, nodes and scopes
//! carry the names of the original. With `weights.exact()` a block keeps the operations of the original one by one;
//! otherwise it folds what is constant into the weights, and both give the same numbers up to rounding.

#![allow(dead_code, unused_imports, reason = "the families that follow use them")]

mod activation;
mod attention;
mod backbone;
mod bert;
mod box_sine;
mod clip_text;
mod constant;
mod conv;
mod deformable;
mod dinov3;
mod feed_forward;
mod fold;
mod group_norm;
mod hgnet;
mod interpolate;
mod linear;
mod padding;
mod proposals;
mod pyramid;
mod pyramid_cells;
mod resnet;
mod rms_norm;
mod sine;
mod stages;
mod stored;
mod swin;
mod timm_resnet;
mod vit;

pub(crate) use activation::Activation;
pub(crate) use attention::{
    Attended, Attention, attend, attend_heads, attention, head_factor, self_attention,
};
pub(crate) use backbone::Backbone;
pub(crate) use bert::{Bert, Tokens};
pub(crate) use box_sine::box_sine;
pub(crate) use clip_text::{ClipText, cut, pooled};
pub(crate) use constant::{FixedRows, Layer, Norm as ConstantNorm, Rows};
pub(crate) use conv::{ConvNorm, conv_norm, conv2d, rep_vgg};
pub(crate) use deformable::{
    Deformable, LevelRatios, Memory, Reference, Sampling, bare_deformable_attention, deformable_attention,
};
pub(crate) use dinov3::DinoV3;
pub(crate) use feed_forward::{Between, feed_forward};
pub(crate) use fold::{Branch, Norm, fold};
pub(crate) use group_norm::group_norm;
pub(crate) use hgnet::HgNetV2;
pub(crate) use interpolate::{Interpolate, Kernel};
pub(crate) use linear::{
    activated_mlp, joined_linear, layer_norm, linear, mlp, mlp_of, scaled_linear, unbiased_linear,
};
pub(crate) use padding::{Level, Padding};
pub(crate) use proposals::{BoxForm, Proposals, proposals};
pub(crate) use pyramid::{CspRep, Fusion, Steps, both_ways, fuse, require_halving};
pub(crate) use pyramid_cells::{GROUPS, Padded, Positions, Pyramid, PyramidSpec, pyramid};
pub(crate) use resnet::{ResNet, ResNetKind};
pub(crate) use rms_norm::rms_norm;
pub(crate) use sine::{Sine, sine_of, sine_positions, sine_rows};
pub(crate) use stages::chosen_stages;
pub(crate) use stored::{
    RowScale, beside as side_by_side, deferred_floats, end_to_end, floats, joined_rows as joined_tensors,
    rescaled, rows_of, sum_of, transposed, widened,
};
pub(crate) use swin::{SWIN_RENAMES, Swin, TokenMap};
pub(crate) use timm_resnet::TimmResNet;
pub(crate) use vit::{VitAttention, VitBlock, VitMlp, vit_block};
