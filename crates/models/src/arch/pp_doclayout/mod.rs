//! PP-DocLayout: RT-DETR with an `HGNetV2` backbone, for the parts of a page.
//!
//! References: `PPDocLayoutV2ForObjectDetection`, `PPDocLayoutV3ForObjectDetection` and `PPDocLayoutV4ForObjectDetection` in
//! transformers. They also compute the order in which the parts are read, and V3 a mask of each part: both are left out.
//! So is the sorting of V2's queries by what would be read first, which changes no detection.

mod masks;
mod quadrilateral;
mod v2;
mod v3;
mod v4;

use detect::{Activation, BoxFormat, Detector, Head, ImageInput, Labels, Selection};
use graph::{Builder, Value};
use serde_json::{Map, Value as Json};

use super::Source;
use super::d_fine::Frame;
use super::d_fine::config::{ConvBackbone, conv_backbone};
use super::rt_detr::config::{Generation, RtDetrConfig};
use super::rt_detr::decoder::Decoder;
use crate::Error;
use crate::config::Config;
use crate::layers::HgNetV2;
use crate::weights::Weights;

pub(super) use v2::PpDocLayoutV2;
pub(super) use v3::PpDocLayoutV3;
pub(super) use v4::PpDocLayoutV4;

/// What the three generations share.
struct Network<'a> {
    source: Source<'a>,
    config: RtDetrConfig,
    backbone: ConvBackbone,
    frame: Frame,
}

impl<'a> Network<'a> {
    /// `stages` of the backbone feed the neck where the configuration does not say.
    fn read(source: Source<'a>, detector: &Detector, w: &Weights, stages: &[usize]) -> Result<Self, Error> {
        let config = RtDetrConfig::read(source.config)?;
        let backbone = backbone(source.config, stages)?;
        Ok(Self { source, config, backbone, frame: Frame::read(w, detector)? })
    }

    /// The maps of the backbone, the finest first; `w` is the whole model's.
    fn maps(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        w.scope(b, "backbone.model", |b, w| self.backbone.build(b, w, pixels))
    }

    fn decoder(&self, b: &mut Builder, w: &Weights, pyramid: &[Value]) -> Result<Decoder<'_>, Error> {
        let form = self.source.options.deformable;
        Decoder::new(b, w, &self.config, Generation::First, pyramid, self.frame.image, form)
    }
}

/// `backbone_config`, or the library's default where nothing else is named.
fn backbone(config: &Config, stages: &[usize]) -> Result<ConvBackbone, Error> {
    let absent = |key: &str| config.raw().get(key).is_none_or(Json::is_null);
    if absent("backbone_config") && absent("backbone") {
        let default = Map::from_iter([("out_indices".to_owned(), stages.into())]);
        return HgNetV2::from_config(&default).map(ConvBackbone::HgNet);
    }
    conv_backbone(config)
}

/// The best pairs of query and class, as many as there are queries; boxes come out under `boxes`.
fn detector(
    architecture: &str,
    config: &Config,
    labels: Labels,
    input: ImageInput,
    boxes: &str,
    format: BoxFormat,
) -> Result<Detector, Error> {
    let count = RtDetrConfig::read(config)?.num_queries as u32;
    let head = Head::Queries {
        logits: "logits".into(),
        boxes: boxes.into(),
        format,
        activation: Activation::Sigmoid,
        selection: Selection::TopK { count },
        iou: None,
        confidence: Head::USUAL_CONFIDENCE,
    };
    Ok(Detector::new(architecture, labels, input, head))
}
