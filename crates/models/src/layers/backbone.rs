//! The backbone of DETR and its relatives: a `ResNet` of timm, or one of transformers.
//!
//! Three generations of configurations name it: `backbone: "resnet50"` with `use_timm_backbone` (true where nothing
//! is said) and perhaps `backbone_kwargs`, or `backbone_config` with a `model_type`.

use graph::{Builder, Value};
use serde_json::{Map, Value as Json, json};

use super::resnet::{ResNet, ResNetKind};
use super::timm_resnet::TimmResNet;
use crate::Error;
use crate::config::CONFIG;
use crate::weights::{Rename, Weights};

/// What makes feature maps of the image.
#[derive(Debug, Clone)]
pub(crate) enum Backbone {
    Native(ResNet),
    Timm(TimmResNet),
}

impl Backbone {
    /// From the names that generations of the library gave to the backbone's tensors to `backbone.model`.
    pub(crate) const RENAMES: [Rename; 2] = [
        Rename { from: "backbone.conv_encoder.model", to: "backbone.model", anchored: false },
        Rename { from: "backbone.model._backbone", to: "backbone.model", anchored: false },
    ];

    /// Reads the configuration of a DETR; `outputs` are the maps that it takes of a timm backbone when it does not say.
    pub(crate) fn from_config(object: &Map<String, Json>, outputs: &[i64]) -> Result<Self, Error> {
        match object.get("backbone_config") {
            Some(Json::Object(raw)) => Self::from_backbone_config(raw),
            None | Some(Json::Null) => Self::by_name(object, outputs),
            Some(other) => Err(refuse("backbone_config", other.to_string(), "an object")),
        }
    }

    /// Reads `backbone_config` of a network that several families use.
    pub(crate) fn from_backbone_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        match raw.get("model_type").and_then(Json::as_str) {
            Some("resnet") => ResNet::from_config(ResNetKind::Plain, Some(raw)).map(Self::Native),
            Some("timm_backbone") => TimmResNet::from_config(raw).map(Self::Timm),
            other => {
                let value = other.map_or_else(|| "absent".to_owned(), |name| format!("`{name}`"));
                Err(refuse("backbone_config.model_type", value, "`resnet` or `timm_backbone`"))
            }
        }
    }

    fn by_name(object: &Map<String, Json>, outputs: &[i64]) -> Result<Self, Error> {
        let name = object.get("backbone").and_then(Json::as_str);
        let uses_timm = match object.get("use_timm_backbone") {
            None | Some(Json::Null) => true,
            Some(Json::Bool(uses_timm)) => *uses_timm,
            Some(other) => return Err(refuse("use_timm_backbone", other.to_string(), "true or false")),
        };
        match (uses_timm, name) {
            (true, name) => Self::of_timm(object, name.unwrap_or("resnet50"), outputs),
            (false, None) => ResNet::from_config(ResNetKind::Plain, None).map(Self::Native),
            (false, Some(name)) => {
                let expected = "null: the configuration of another repository's backbone is not fetched";
                Err(refuse("backbone", format!("`{name}`"), expected))
            }
        }
    }

    /// The backbone that timm calls so, with `backbone_kwargs` and `dilation` of the file.
    pub(crate) fn of_timm(object: &Map<String, Json>, name: &str, outputs: &[i64]) -> Result<Self, Error> {
        let mut raw = Map::new();
        raw.insert("out_indices".into(), json!(outputs));
        if object.get("dilation").and_then(Json::as_bool) == Some(true) {
            raw.insert("output_stride".into(), json!(16));
        }
        let own = object.get("backbone_kwargs").and_then(Json::as_object);
        for (key, value) in own.into_iter().flatten() {
            let key = if key == "in_chans" { "num_channels" } else { key.as_str() };
            raw.insert(key.to_owned(), value.clone());
        }
        raw.insert("backbone".into(), json!(name));
        TimmResNet::from_config(&raw).map(Self::Timm)
    }

    /// The feature maps, the finest first.
    pub(crate) fn build(&self, b: &mut Builder, w: &Weights, pixels: &Value) -> Vec<Value> {
        w.scope(b, "backbone.model", |b, w| match self {
            Self::Native(network) => network.build(b, w, pixels),
            Self::Timm(network) => network.build(b, w, pixels),
        })
    }
}

fn refuse(key: &str, value: String, expected: &str) -> Error {
    Error::unsupported(CONFIG, key, value, expected)
}
