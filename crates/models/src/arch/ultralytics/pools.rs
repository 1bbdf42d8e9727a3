//! Spatial pyramid pooling: the same map seen through windows of several sizes.

use graph::{Builder, Value};

use super::module::Layer;
use crate::Error;

/// Most windows.
const MOST: usize = 64;

/// `SPP`: windows of several sizes side by side.
pub(super) fn spp(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let x = layer.apply(b, "cv1", x)?;
    let windows = layer.child("m")?;
    let mut maps = vec![x.clone()];
    b.scoped("m", |b| {
        windows.names().try_for_each(|name| -> Result<(), Error> {
            maps.push(windows.apply(b, name, &x)?);
            Ok(())
        })
    })?;
    joined(b, layer, &maps, "cv2")
}

/// `SPPF`: one window again and again; early files do not say how often.
pub(super) fn sppf(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let times = layer.size_or("n", 3)?;
    if times > MOST {
        return Err(layer.unusable("n", &format!("at most {MOST}")));
    }
    let mut maps = vec![layer.apply(b, "cv1", x)?];
    for at in 0..times {
        maps.push(layer.apply(b, "m", &maps[at])?);
    }
    let y = joined(b, layer, &maps, "cv2")?;
    Ok(if layer.flag_or("add", false) { b.add(&y, x) } else { y })
}

/// `SPPELAN`: three windows one after the other.
pub(super) fn spp_elan(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let mut maps = vec![layer.apply(b, "cv1", x)?];
    for (at, name) in ["cv2", "cv3", "cv4"].into_iter().enumerate() {
        maps.push(layer.apply(b, name, &maps[at])?);
    }
    joined(b, layer, &maps, "cv5")
}

fn joined(b: &mut Builder, layer: &Layer<'_>, maps: &[Value], last: &str) -> Result<Value, Error> {
    let joined = b.concat(&maps.iter().collect::<Vec<_>>(), 1);
    layer.apply(b, last, &joined)
}
