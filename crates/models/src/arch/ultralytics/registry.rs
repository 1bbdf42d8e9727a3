//! Which function builds which module: one line a class.

use graph::{Builder, Value};

use super::module::Layer;
use super::{attention, conv, csp, pools, stages, torch_nn, transformer};
use crate::Error;

/// Builds a module that turns one map into another.
type Build = fn(&mut Builder, &Layer<'_>, &Value) -> Result<Value, Error>;

/// Every module that turns one map into another, in alphabetical order; those that take or give several maps are in
/// [`super::network`].
static MODULES: &[(&str, Build)] = &[
    ("A2C2f", attention::a2c2f),
    ("AAttn", attention::area_attention),
    ("ABlock", attention::area_block),
    ("AConv", conv::a_conv),
    ("ADown", conv::a_down),
    ("AIFI", transformer::aifi),
    ("Attention", attention::attention),
    ("AvgPool2d", torch_nn::average_pool),
    ("BatchNorm2d", torch_nn::batch_norm),
    ("Bottleneck", csp::bottleneck),
    ("BottleneckCSP", csp::bottleneck_csp),
    ("C1", csp::c1),
    ("C2", csp::c2),
    ("C2PSA", attention::c2_psa),
    ("C2f", csp::c2f),
    ("C2fCIB", csp::c2f),
    ("C2fPSA", csp::c2f),
    ("C3", csp::c3),
    ("C3Ghost", csp::c3),
    ("C3TR", csp::c3),
    ("C3f", csp::c3f),
    ("C3k", csp::c3),
    ("C3k2", csp::c2f),
    ("C3x", csp::c3),
    ("CBAM", conv::cbam),
    ("CIB", csp::cib),
    ("ChannelAttention", conv::channel_attention),
    ("Conv", conv::conv),
    ("Conv2d", torch_nn::conv2d),
    ("ConvTranspose", conv::conv_transpose),
    ("ConvTranspose2d", torch_nn::conv_transpose2d),
    ("DWConv", conv::conv),
    ("DWConvTranspose2d", torch_nn::conv_transpose2d),
    ("Dropout", torch_nn::identity),
    ("ELAN1", csp::elan),
    ("Focus", conv::focus),
    ("GELU", torch_nn::activation),
    ("GhostBottleneck", csp::ghost_bottleneck),
    ("GhostConv", conv::ghost_conv),
    ("HGBlock", stages::hg_block),
    ("HGStem", stages::hg_stem),
    ("Hardswish", torch_nn::activation),
    ("Identity", torch_nn::identity),
    ("LeakyReLU", torch_nn::activation),
    ("LightConv", conv::light_conv),
    ("MaxPool2d", torch_nn::max_pool),
    ("Mish", torch_nn::activation),
    ("PSA", attention::psa),
    ("PSABlock", attention::psa_block),
    ("ReLU", torch_nn::activation),
    ("ReLU6", torch_nn::activation),
    ("RepBottleneck", csp::bottleneck),
    ("RepC3", csp::rep_c3),
    ("RepCSP", csp::c3),
    ("RepConv", conv::rep_conv),
    ("RepNCSPELAN4", csp::elan),
    ("RepVGGDW", conv::rep_vgg_dw),
    ("ResNetBlock", stages::resnet_block),
    ("ResNetLayer", stages::resnet_layer),
    ("SCDown", conv::sc_down),
    ("SPP", pools::spp),
    ("SPPELAN", pools::spp_elan),
    ("SPPF", pools::sppf),
    ("Sequential", torch_nn::sequential),
    ("SiLU", torch_nn::activation),
    ("Sigmoid", torch_nn::activation),
    ("Silence", torch_nn::identity),
    ("SpatialAttention", conv::spatial_attention),
    ("Tanh", torch_nn::activation),
    ("TransformerBlock", transformer::transformer_block),
    ("Upsample", torch_nn::upsample),
    ("ZeroPad2d", torch_nn::zero_pad),
];

/// Builds the module that `layer` is.
///
/// # Errors
/// A module that is not in the table, or an attribute that it cannot honour.
pub(super) fn apply(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    match MODULES.iter().find(|(name, _)| *name == layer.kind()) {
        Some((_, build)) => build(b, layer, x),
        None => Err(layer.unsupported("a module of the YOLO and RT-DETR detectors of the library")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_name_is_there_once() {
        assert!(MODULES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
