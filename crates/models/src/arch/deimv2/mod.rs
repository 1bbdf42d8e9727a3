//! `DEIMv2`: D-FINE's decoder with root-mean-square normalization and gated feed-forward, behind `HGNetV2` or `DINOv3`.
//!
//! Paper: <https://arxiv.org/abs/2509.20787>. Reference: `Deimv2ForObjectDetection` in transformers. The light form
//! (Atto, Femto, Pico) has one map of the backbone and an encoder without attention.

mod adapter;
mod config;
mod encoder;

use detect::{Detector, ImageInput, Labels};
use graph::{Builder, Value};

use super::d_fine::config::ConvBackbone;
use super::d_fine::layer::Kind;
use super::d_fine::{Frame, ignore_training};
use super::rt_detr::encoder::layer;
use super::{Architecture, Source, rt_detr};
use crate::layers::{Activation, ConvNorm, conv_norm};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};
use config::{Backbone, Deimv2Config, Encoder};

/// From the names that the library writes to those of its modules.
static RENAMES: &[Rename] = &[
    Rename { from: "class_embed", to: "model.decoder.class_embed", anchored: true },
    Rename { from: "bbox_embed", to: "model.decoder.bbox_embed", anchored: true },
    Rename { from: "backbone.layer", to: "backbone.model.layer", anchored: false },
];

pub(super) struct Deimv2;

impl Architecture for Deimv2 {
    fn model_type(&self) -> &'static str {
        "deimv2"
    }

    fn renames(&self) -> &'static [Rename] {
        RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        Deimv2Config::read(source.config)?;
        rt_detr::detector(self.model_type(), &source.config.with("encoder_layers", 0.into()), labels, input)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let config = Deimv2Config::read(source.config)?;
        let frame = Frame::read(w, detector)?;
        let pixels = frame.input(b, detector);
        let (logits, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let maps = w.scope(b, "conv_encoder", |b, w| match &config.backbone {
                Backbone::Conv(backbone) => Ok(conv_maps(b, w, &config, backbone, &pixels)),
                Backbone::Dino(backbone) => adapter::build(b, w, &config, backbone, &pixels),
            })?;
            let pyramid = w.scope(b, "encoder", |b, w| match config.encoder {
                Encoder::Hybrid => encoder::hybrid(b, w, &config, maps),
                Encoder::Lite => encoder::lite(b, w, &config, &maps),
            })?;
            let kind = Kind::Deimv2 { gateway: config.gateway };
            frame.decoder(source, &config.inner, kind).build(b, w, &pyramid)
        })?;
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        ignore_training(w, &config.inner);
        w.ignore(|name| name == "model.conv_encoder.backbone.embeddings.mask_token");
        Ok(())
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}

/// The maps of a convolutional backbone, as wide as the encoder unless that is the light one, which does it itself.
fn conv_maps(
    b: &mut Builder,
    w: &Weights,
    config: &Deimv2Config,
    backbone: &ConvBackbone,
    pixels: &Value,
) -> Vec<Value> {
    let maps = w.scope(b, "model", |b, w| backbone.build(b, w, pixels));
    if config.encoder == Encoder::Lite {
        return maps;
    }
    let plain = ConvNorm { activation: Activation::Identity, ..layer(&config.inner.base, 1, 1) };
    let project = |(level, map): (usize, &Value)| {
        w.scope(b, &format!("encoder_input_proj.{level}"), |b, w| conv_norm(b, w, map, plain))
    };
    maps.iter().enumerate().map(project).collect()
}
