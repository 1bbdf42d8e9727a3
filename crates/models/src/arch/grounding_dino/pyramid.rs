//! The image's side: feature maps of the backbone as one row of cells.

use graph::{Builder, Value};

use super::config::{Backbone, GroundingDinoConfig};
use crate::Error;
use crate::config::CONFIG;
use crate::layers::{Padding, Positions, Pyramid, PyramidSpec, Sine, pyramid};
use crate::weights::Weights;

pub(super) fn build(
    b: &mut Builder,
    w: &Weights,
    config: &GroundingDinoConfig,
    pixels: &Value,
    padding: &Padding,
) -> Result<Pyramid, Error> {
    let maps = backbone(b, w, &config.backbone, pixels)?;
    if maps.len() > config.num_feature_levels {
        let expected = format!("at least {}, the maps of the backbone", maps.len());
        return Err(Error::unsupported(CONFIG, "num_feature_levels", config.num_feature_levels, expected));
    }
    let sine = Sine { temperatures: [config.temperature; 2], ..Sine::new(config.d_model) };
    let spec = PyramidSpec {
        levels: config.num_feature_levels,
        width: config.d_model,
        projections: "input_proj_vision",
        positions: if config.learned_positions {
            Positions::Learned("backbone.position_embedding")
        } else {
            Positions::Sine(sine)
        },
    };
    pyramid(b, w, &maps, spec, padding)
}

fn backbone(b: &mut Builder, w: &Weights, backbone: &Backbone, pixels: &Value) -> Result<Vec<Value>, Error> {
    match backbone {
        Backbone::Swin(swin) => {
            let maps = w.scope(b, "backbone.model", |b, w| swin.build(b, w, pixels))?;
            Ok(maps.iter().map(|map| map.map(b)).collect())
        }
        Backbone::Other(network) => Ok(network.build(b, w, pixels)),
    }
}
