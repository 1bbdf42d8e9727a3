//! PP-DocLayoutV3: RT-DETR whose queries start from the boxes of their masks, and whose heads are the encoder's own.

use detect::{BoxFormat, Detector, ImageInput, Labels};
use graph::{Builder, Value};
use serde::Deserialize;

use super::masks::{self, Masks};
use super::{Network, detector};
use crate::arch::rt_detr::anchors::BoxShape;
use crate::arch::rt_detr::decoder::Chosen;
use crate::arch::rt_detr::{self, encoder};
use crate::arch::{Architecture, Source};
use crate::config::Config;
use crate::layers::{Deformable, Reference, layer_norm, linear, mlp};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

/// The modules that only the reading order needs.
const ORDER: &[&str] = &["model.decoder_order_head.", "model.decoder_global_pointer."];

pub(in crate::arch) struct PpDocLayoutV3;

#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    /// Whether queries start from their masks.
    mask_enhanced: bool,
    /// Whether the decoder's heads are the encoder's.
    tie_word_embeddings: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self { mask_enhanced: true, tie_word_embeddings: true }
    }
}

impl Architecture for PpDocLayoutV3 {
    fn model_type(&self) -> &'static str {
        "pp_doclayout_v3"
    }

    fn renames(&self) -> &'static [Rename] {
        rt_detr::RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        let format = BoxFormat::CxcywhNormalized;
        detector(self.model_type(), source.config, labels, input, "pred_boxes", format)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let raw: Raw = Config::parse(source.config.raw())?;
        let masks = raw.mask_enhanced.then(|| Masks::read(source.config)).transpose()?;
        let network = Network::read(source, detector, w, &[1, 2, 3, 4])?;
        let pixels = network.frame.input(b, detector);
        let (logits, boxes) = w.scope(b, "model", |b, w| {
            body(b, w, &network, masks.as_ref(), raw.tie_word_embeddings, &pixels)
        })?;
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        rt_detr::ignore_training(w, &network.config);
        let unused = if masks.is_some() { &[] } else { masks::MODULES };
        w.ignore(|name| ORDER.iter().chain(unused).any(|module| name.starts_with(module)));
        Ok(())
    }

    fn left_out(&self) -> Option<&'static str> {
        Some("the reading order (`order_logits`) and the masks (`out_masks`)")
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}

/// Class logits and boxes.
fn body(
    b: &mut Builder,
    w: &Weights,
    network: &Network<'_>,
    masks: Option<&Masks>,
    tied: bool,
    pixels: &Value,
) -> Result<(Value, Value), Error> {
    let config = &network.config;
    let maps = network.maps(b, w, pixels);
    // The finest map is for the masks alone.
    let (finest, coarser) = maps.split_at(1.min(maps.len()));
    let pyramid = encoder::build(b, w, config, coarser)?;
    let features = match (masks, finest) {
        (Some(masks), [finest]) => {
            Some(w.scope(b, "encoder", |b, w| masks.features(b, w, config, &pyramid, finest))?)
        }
        _ => None,
    };
    let decoder = network.decoder(b, w, &pyramid)?;
    let mut chosen = decoder.choose(b, w, network.frame.classes, BoxShape::Rectangle)?;
    if let (Some(masks), Some(features)) = (masks, &features) {
        let logits = masks.boxes(b, w, config, &chosen.rows, features);
        chosen = Chosen { logits, ..chosen };
    }
    let start = (chosen.queries(b, w, config), chosen.logits);

    let d_model = config.d_model;
    let around = |b: &mut Builder, w: &Weights, boxes: &Value, attention: &Deformable| {
        Reference::boxes(b, w, boxes, None, attention)
    };
    let box_head = head(w, tied, ["decoder.bbox_embed", "layers.0.weight"], "enc_bbox_head");
    let moves =
        |b: &mut Builder, _: &Weights, _: usize, x: &Value| mlp(b, w, box_head, x, &[d_model, d_model, 4]);
    let (x, boxes) = w.scope(b, "decoder", |b, w| decoder.refine(b, w, start, around, moves));
    let x = layer_norm(b, w, "decoder_norm", &x, config.layer_norm_eps);
    let class_head = head(w, tied, ["decoder.class_embed", "weight"], "enc_score_head");
    Ok((linear(b, w, class_head, &x, network.frame.classes), boxes))
}

/// The decoder's own head where the checkpoint has one (it may have been untied), else the encoder's.
fn head<'a>(w: &Weights, tied: bool, [own, tensor]: [&'a str; 2], shared: &'a str) -> &'a str {
    if tied && w.child(own).shape(tensor).is_none() { shared } else { own }
}
