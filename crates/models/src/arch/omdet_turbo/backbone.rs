//! The backbones of OmDet-Turbo: a Swin or a `ResNet`, of timm or of transformers.
//!
//! timm's Swin gives its maps channels last, as the normalizations behind it want them; all others give them channels
//! first, and work without those normalizations only.

use graph::{Builder, Value};
use serde_json::{Map, Value as Json, json};

use crate::Error;
use crate::config::CONFIG;
use crate::layers::{ResNet, ResNetKind, Swin, TimmResNet, TokenMap, layer_norm};
use crate::weights::Weights;

/// timm's model where the configuration names none.
const DEFAULT: &str = "swin_tiny_patch4_window7_224";

/// What makes feature maps of the image.
#[derive(Debug)]
pub(super) struct VisionBackbone {
    network: Network,
    /// Whether the maps are normalized (`apply_layernorm_after_vision_backbone`).
    normalizes: bool,
}

#[derive(Debug)]
enum Network {
    Swin(Swin),
    TimmSwin(Swin),
    ResNet(ResNet),
    TimmResNet(TimmResNet),
}

impl VisionBackbone {
    /// Reads the configuration of the detector.
    pub(super) fn from_config(object: &Map<String, Json>) -> Result<Self, Error> {
        let network = match object.get("backbone_config") {
            Some(Json::Object(raw)) => Network::from_backbone_config(raw)?,
            None | Some(Json::Null) => Network::by_name(object)?,
            Some(other) => return Err(refuse("backbone_config", other, "an object")),
        };
        let key = "apply_layernorm_after_vision_backbone";
        let normalizes = flag(object, key)?;
        let channels_last = matches!(network, Network::TimmSwin(_));
        if normalizes != channels_last {
            let expected = format!("{channels_last} for this backbone");
            return Err(refuse(key, normalizes, &expected));
        }
        Ok(Self { network, normalizes })
    }

    /// The feature maps `[batch, channels, height, width]`, the finest first.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        w: &Weights,
        pixels: &Value,
        epsilon: f32,
    ) -> Result<Vec<Value>, Error> {
        let tokens = |b: &mut Builder, maps: Vec<TokenMap>| maps.iter().map(|map| map.map(b)).collect();
        match &self.network {
            Network::Swin(swin) => {
                let maps = w.scope(b, "vision_backbone", |b, w| swin.build(b, w, pixels))?;
                Ok(tokens(b, maps))
            }
            Network::TimmSwin(swin) => {
                let mut maps = w.scope(b, "vision_backbone._backbone", |b, w| swin.build(b, w, pixels))?;
                for (index, map) in maps.iter_mut().enumerate().filter(|_| self.normalizes) {
                    map.tokens = layer_norm(b, w, &format!("layer_norms.{index}"), &map.tokens, epsilon);
                }
                Ok(tokens(b, maps))
            }
            Network::ResNet(network) => Ok(w.scope(b, "vision_backbone", |b, w| network.build(b, w, pixels))),
            Network::TimmResNet(network) => {
                Ok(w.scope(b, "vision_backbone._backbone", |b, w| network.build(b, w, pixels)))
            }
        }
    }

    /// Whether the normalizations behind the backbone are in the graph.
    pub(super) fn normalizes(&self) -> bool {
        self.normalizes
    }
}

impl Network {
    fn from_backbone_config(raw: &Map<String, Json>) -> Result<Self, Error> {
        match raw.get("model_type").and_then(Json::as_str) {
            Some("swin") => Swin::from_config(raw).map(Self::Swin),
            Some("resnet") => ResNet::from_config(ResNetKind::Plain, Some(raw)).map(Self::ResNet),
            Some("timm_backbone") => Self::of_timm(raw),
            other => {
                let value = other.map_or_else(|| "absent".to_owned(), |name| format!("`{name}`"));
                Err(refuse("backbone_config.model_type", value, "`swin`, `resnet` or `timm_backbone`"))
            }
        }
    }

    /// Without a configuration of its own: timm's by name, or transformers' Swin.
    fn by_name(object: &Map<String, Json>) -> Result<Self, Error> {
        if !flag(object, "use_timm_backbone")? {
            if let Some(name) = object.get("backbone").filter(|name| !name.is_null()) {
                let expected = "null: the configuration of another repository's backbone is not fetched";
                return Err(refuse("backbone", name, expected));
            }
            let default = json!({"image_size": 640, "out_indices": [2, 3, 4]});
            return Swin::from_config(default.as_object().unwrap_or(&Map::new())).map(Self::Swin);
        }
        let mut arguments = match object.get("backbone_kwargs").and_then(Json::as_object) {
            Some(own) if !own.is_empty() => own.clone(),
            _ => {
                let image = object.get("image_size").filter(|size| !size.is_null());
                let mut arguments = Map::new();
                arguments.insert("img_size".into(), image.cloned().unwrap_or_else(|| json!(640)));
                arguments.insert("always_partition".into(), json!(true));
                arguments.insert("out_indices".into(), json!([1, 2, 3]));
                arguments
            }
        };
        let name = object.get("backbone").and_then(Json::as_str).unwrap_or(DEFAULT);
        arguments.insert("backbone".into(), json!(name));
        Self::of_timm(&arguments)
    }

    fn of_timm(raw: &Map<String, Json>) -> Result<Self, Error> {
        let name = raw.get("backbone").and_then(Json::as_str).unwrap_or_default();
        if name.starts_with("swin_") {
            return Swin::from_timm(name, raw).map(Self::TimmSwin);
        }
        TimmResNet::from_config(raw).map(Self::TimmResNet)
    }
}

/// A switch that is on where nothing is said.
fn flag(object: &Map<String, Json>, key: &str) -> Result<bool, Error> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(true),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(other) => Err(refuse(key, other, "true or false")),
    }
}

fn refuse(field: &str, value: impl ToString, expected: &str) -> Error {
    Error::unsupported(CONFIG, field, value, expected)
}
