//! Cross-stage partial blocks: one part of the channels passes through bottlenecks, the rest goes around them.
//!
//! The classes of the library differ in what their bottlenecks are and in which intermediate maps the last convolution
//! sees; the bottlenecks themselves are read from the file.

use graph::{Builder, Value};

use super::module::Layer;
use crate::Error;

/// `Bottleneck` and `RepBottleneck`: two convolutions, with a shortcut where `add` says so.
pub(super) fn bottleneck(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let y = layer.apply(b, "cv2", &y)?;
    Ok(if layer.flag_or("add", false) { b.add(x, &y) } else { y })
}

/// `CIB`: a sequence of depthwise and pointwise convolutions, with a shortcut where `add` says so.
pub(super) fn cib(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    Ok(if layer.flag_or("add", false) { b.add(x, &y) } else { y })
}

pub(super) fn ghost_bottleneck(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "conv", x)?;
    let around = layer.apply(b, "shortcut", x)?;
    Ok(b.add(&y, &around))
}

pub(super) fn c1(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let deep = layer.apply(b, "m", &y)?;
    Ok(b.add(&deep, &y))
}

/// Two halves of the channels.
pub(super) fn halves(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<[Value; 2], Error> {
    let half = layer.size("c")?;
    let mut parts = b.split(x, &[half, half], 1).into_iter();
    match (parts.next(), parts.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err(layer.unusable("c", "half of the channels")),
    }
}

/// `C2`: one half passes through all bottlenecks.
pub(super) fn c2(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let [deep, around] = halves(b, layer, &y)?;
    let deep = layer.apply(b, "m", &deep)?;
    let joined = b.concat(&[&deep, &around], 1);
    layer.apply(b, "cv2", &joined)
}

/// `C2f` and its relatives: one half passes through the modules of `m`, and all results are seen at the end.
pub(super) fn c2f(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let modules = layer.child("m")?;
    let paths: Vec<String> = modules.names().map(|name| format!("m.{name}")).collect();
    gathered(b, layer, x, &paths, "cv2")
}

/// `RepNCSPELAN4` and `ELAN1`: as `C2f`, with two modules of other widths.
pub(super) fn elan(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    gathered(b, layer, x, &["cv2".into(), "cv3".into()], "cv4")
}

/// The second half of `cv1` passes through the modules at `paths`; `last` sees both halves and every result.
fn gathered(
    b: &mut Builder,
    layer: &Layer<'_>,
    x: &Value,
    paths: &[String],
    last: &str,
) -> Result<Value, Error> {
    let y = layer.apply(b, "cv1", x)?;
    let mut maps = if layer.w.exact() {
        halves(b, layer, &y)?.to_vec()
    } else {
        let half = layer.size("c")?;
        if y.size(1) != 2 * half {
            return Err(layer.unusable("c", "half of the channels"));
        }
        vec![y.clone(), b.slice(&y, 1, half, 2 * half)]
    };
    let mut deep = maps[1].clone();
    if !layer.w.exact() {
        // Both halves lie in `y` already.
        maps.pop();
    }
    for path in paths {
        deep = match path.split_once('.') {
            Some((list, name)) => {
                let list_layer = layer.child(list)?;
                b.scoped(list, |b| list_layer.apply(b, name, &deep))?
            }
            None => layer.apply(b, path, &deep)?,
        };
        maps.push(deep.clone());
    }
    let joined = b.concat(&maps.iter().collect::<Vec<_>>(), 1);
    layer.apply(b, last, &joined)
}

/// `C3` and its relatives: two convolutions of the input, one of them followed by the modules of `m`.
pub(super) fn c3(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let deep = layer.apply(b, "cv1", x)?;
    let deep = layer.apply(b, "m", &deep)?;
    let around = layer.apply(b, "cv2", x)?;
    let joined = b.concat(&[&deep, &around], 1);
    layer.apply(b, "cv3", &joined)
}

/// `C3f`: as `C3`, and all results are seen at the end.
pub(super) fn c3f(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let mut maps = vec![layer.apply(b, "cv2", x)?, layer.apply(b, "cv1", x)?];
    let modules = layer.child("m")?;
    b.scoped("m", |b| {
        modules.names().try_for_each(|name| -> Result<(), Error> {
            let deep = modules.apply(b, name, &maps[maps.len() - 1])?;
            maps.push(deep);
            Ok(())
        })
    })?;
    let joined = b.concat(&maps.iter().collect::<Vec<_>>(), 1);
    layer.apply(b, "cv3", &joined)
}

/// `RepC3`: as `C3`, the two parts summed.
pub(super) fn rep_c3(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let deep = layer.apply(b, "cv1", x)?;
    let deep = layer.apply(b, "m", &deep)?;
    let around = layer.apply(b, "cv2", x)?;
    let sum = b.add(&deep, &around);
    layer.apply(b, "cv3", &sum)
}

/// `BottleneckCSP`: plain convolutions, normalized once they are joined.
pub(super) fn bottleneck_csp(b: &mut Builder, layer: &Layer<'_>, x: &Value) -> Result<Value, Error> {
    let deep = layer.apply(b, "cv1", x)?;
    let deep = layer.apply(b, "m", &deep)?;
    let deep = layer.apply(b, "cv3", &deep)?;
    let around = layer.apply(b, "cv2", x)?;
    let joined = b.concat(&[&deep, &around], 1);
    let joined = layer.apply(b, "bn", &joined)?;
    let joined = layer.apply(b, "act", &joined)?;
    layer.apply(b, "cv4", &joined)
}
