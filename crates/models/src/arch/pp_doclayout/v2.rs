//! PP-DocLayoutV2: RT-DETR, and a transformer for the reading order that is left out.

use detect::{BoxFormat, Detector, ImageInput, Labels};
use graph::Builder;

use super::{Network, detector};
use crate::arch::rt_detr::{self, decoder, encoder};
use crate::arch::{Architecture, Source};
use crate::weights::{Rename, Weights};
use crate::{Checkpoint, Error};

pub(in crate::arch) struct PpDocLayoutV2;

impl Architecture for PpDocLayoutV2 {
    fn model_type(&self) -> &'static str {
        "pp_doclayout_v2"
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
        let network = Network::read(source, detector, w, &[2, 3, 4])?;
        let pixels = network.frame.input(b, detector);
        let (logits, boxes) = w.scope(b, "model", |b, w| -> Result<_, Error> {
            let maps = network.maps(b, w, &pixels);
            let pyramid = encoder::build(b, w, &network.config, &maps)?;
            let decoder = network.decoder(b, w, &pyramid)?;
            decoder::build(b, w, &decoder, network.frame.classes)
        })?;
        b.output("logits", &logits);
        b.output("pred_boxes", &boxes);
        rt_detr::ignore_training(w, &network.config);
        w.ignore(|name| name.starts_with("reading_order."));
        Ok(())
    }

    fn left_out(&self) -> Option<&'static str> {
        Some("the reading order (`order_logits`)")
    }

    fn classes(&self, checkpoint: &Checkpoint) -> Option<usize> {
        rt_detr::classes(checkpoint)
    }
}
