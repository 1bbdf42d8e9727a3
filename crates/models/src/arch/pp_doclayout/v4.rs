//! PP-DocLayoutV4: RT-DETR that finds quadrilaterals instead of boxes.
//!
//! `pred_boxes` are the quadrilaterals as the original gives them (centre and four corners, each plus one half), `boxes`
//! the upright boxes around them that its post-processing makes.

use detect::{BoxFormat, Detector, ImageInput, Labels};
use graph::{Builder, Value};

use super::quadrilateral::Quadrilaterals;
use super::{Network, detector};
use crate::arch::rt_detr::anchors::BoxShape;
use crate::arch::rt_detr::{self, encoder};
use crate::arch::{Architecture, Source};
use crate::config::CONFIG;
use crate::layers::{Deformable, linear, mlp};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

const SHAPE: BoxShape = BoxShape::Quadrilateral;

/// The modules that only the reading order needs, by the names of files and those of the library.
const ORDER: &[&str] = &[
    "model.decoder_roor_order_head.",
    "model.decoder_roor_global_pointer.",
    "model.decoder_order_head.",
    "model.decoder_global_pointer.",
    "model.s2r_fusion.",
    "model.decoder.successor_order_head.",
    "model.decoder.relative_order_head.",
];

pub(in crate::arch) struct PpDocLayoutV4;

impl Architecture for PpDocLayoutV4 {
    fn model_type(&self) -> &'static str {
        "pp_doclayout_v4"
    }

    fn renames(&self) -> &'static [Rename] {
        rt_detr::RENAMES
    }

    fn detector(&self, source: Source<'_>, labels: Labels, input: ImageInput) -> Result<Detector, Error> {
        let format = BoxFormat::XyxyNormalized;
        detector(self.model_type(), source.config, labels, input, "boxes", format)
    }

    fn build(
        &self,
        source: Source<'_>,
        detector: &Detector,
        w: &Weights,
        b: &mut Builder,
    ) -> Result<(), Error> {
        let numbers = source.config.raw().get("num_coords").filter(|value| !value.is_null());
        if let Some(other) = numbers.filter(|value| value.as_u64() != Some(SHAPE.numbers() as u64)) {
            return Err(Error::unsupported(CONFIG, "num_coords", other, "10"));
        }
        let mut network = Network::read(source, detector, w, &[2, 3, 4])?;
        // Not a switch of this family.
        network.config.learn_initial_query = false;
        let pixels = network.frame.input(b, detector);
        let (logits, numbers) = w.scope(b, "model", |b, w| body(b, w, &network, &pixels))?;
        let boxes = b.scoped("boxes", |b| Quadrilaterals::split(b, w, &numbers).enclosing(b, w));
        b.output("logits", &logits);
        b.output("boxes", &boxes);
        b.output("pred_boxes", &numbers);
        rt_detr::ignore_training(w, &network.config);
        w.ignore(|name| ORDER.iter().any(|module| name.starts_with(module)));
        Ok(())
    }

    fn left_out(&self) -> Option<&'static str> {
        Some("the reading order (`relative_order_logits`, `successor_order_logits`)")
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}

/// Class logits and quadrilaterals.
fn body(
    b: &mut Builder,
    w: &Weights,
    network: &Network<'_>,
    pixels: &Value,
) -> Result<(Value, Value), Error> {
    let config = &network.config;
    let maps = network.maps(b, w, pixels);
    let pyramid = encoder::build(b, w, config, &maps)?;
    if config.num_feature_levels != pyramid.len() {
        let expected = format!("{}, the levels of the encoder", pyramid.len());
        return Err(Error::unsupported(CONFIG, "num_feature_levels", config.num_feature_levels, expected));
    }
    let decoder = network.decoder(b, w, &pyramid)?;
    let chosen = decoder.choose(b, w, network.frame.classes, SHAPE)?;
    let start = (chosen.queries(b, w, config), chosen.logits);
    Ok(w.scope(b, "decoder", |b, w| {
        let around = |b: &mut Builder, w: &Weights, numbers: &Value, attention: &Deformable| {
            Quadrilaterals::split(b, w, numbers).reference(b, w, attention)
        };
        let sizes = [config.d_model, config.d_model, SHAPE.numbers()];
        let moves = |b: &mut Builder, w: &Weights, index: usize, x: &Value| {
            mlp(b, w, &format!("bbox_embed.{index}"), x, &sizes)
        };
        let (x, numbers) = decoder.refine(b, w, start, around, moves);
        let last = format!("class_embed.{}", config.decoder_layers - 1);
        (linear(b, w, &last, &x, network.frame.classes), numbers)
    }))
}
