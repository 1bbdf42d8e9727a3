//! Backbones of the library's RT-DETR: `HGNetV2` and `ResNet`.

use graph::{Builder, Value};

use super::conv::bordered;
use super::module::Layer;
use crate::Error;

/// One row below and one column on the right.
const TRAILING: [usize; 4] = [0, 0, 1, 1];

/// `HGStem`: reduces twice; convolutions with even kernels beside a pooling.
pub(super) fn hg_stem(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = layer.apply(b, "stem1", x)?;
    let deep = trailing(b, layer, "stem2a", &x)?;
    let deep = trailing(b, layer, "stem2b", &deep)?;
    let padded = b.zero_border(&x, TRAILING);
    let pooled = layer.apply(b, "pool", &padded)?;
    let joined = b.concat(&[&pooled, &deep], 1);
    let x = layer.apply(b, "stem3", &joined)?;
    layer.apply(b, "stem4", &x)
}

fn trailing(b: &mut Builder, layer: &Layer<'_>, name: &str, x: &Value) -> Result<Value, Error> {
    let conv = layer.child(name)?;
    b.scoped(name, |b| bordered(b, &conv, x, TRAILING))
}

/// `HGBlock`: the results of all its layers, squeezed and spread again.
pub(super) fn hg_block(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let layers = layer.child("m")?;
    let mut maps = vec![x.clone()];
    b.scoped("m", |b| {
        layers.names().try_for_each(|name| -> Result<(), Error> {
            let deep = layers.apply(b, name, &maps[maps.len() - 1])?;
            maps.push(deep);
            Ok(())
        })
    })?;
    let joined = b.concat(&maps.iter().collect::<Vec<_>>(), 1);
    let squeezed = layer.apply(b, "sc", &joined)?;
    let y = layer.apply(b, "ec", &squeezed)?;
    Ok(if layer.flag_or("add", false) { b.add(&y, x) } else { y })
}

pub(super) fn resnet_block(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let mut y = x.clone();
    for name in ["cv1", "cv2", "cv3"] {
        y = layer.apply(b, name, &y)?;
    }
    let around = layer.apply(b, "shortcut", x)?;
    let sum = b.add(&y, &around);
    Ok(b.relu(&sum))
}

/// `ResNetLayer`: a stem, or blocks.
pub(super) fn resnet_layer(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    layer.apply(b, "layer", x)
}
