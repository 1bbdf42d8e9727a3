//! From a view of a storage to a tensor: a slice where the elements lie one after the other, else computed when it is
//! asked for.

use bytes::Bytes;
use graph::Tensor;

use super::object::{Storage, View};
use crate::checkpoint::data_type;

/// How many times larger than its storage a view may be that repeats elements, and what a small one may be in any case.
const MOST_GROWTH: u64 = 16;
const ALWAYS_ALLOWED: u64 = 16 << 20;

/// The tensor of a view of `whole`, the bytes of all of its storage; `None` when its elements have no counterpart in
/// ONNX.
pub(super) fn tensor(view: &View, storage: &Storage, whole: &Bytes) -> Result<Option<Tensor>, String> {
    let Some(dtype) = data_type(view.dtype.name) else { return Ok(None) };
    let size = view.bytes();
    let stored = storage.elements.saturating_mul(view.dtype.width);
    if size > stored.saturating_mul(MOST_GROWTH).max(ALWAYS_ALLOWED) {
        return Err(format!("a tensor of {size} bytes repeats a storage of {stored}"));
    }
    let outside = || "a tensor lies outside its storage".to_owned();
    let width = view.dtype.width as usize;
    let byte = |element: Option<u64>| {
        element?.checked_mul(view.dtype.width).and_then(|byte| usize::try_from(byte).ok())
    };
    let from = byte(storage.start.checked_add(view.offset)).ok_or_else(outside)?;
    if view.is_contiguous() {
        let end = usize::try_from(size).ok().and_then(|size| from.checked_add(size));
        let end = end.filter(|end| *end <= whole.len() && from <= *end).ok_or_else(outside)?;
        let tensor = Tensor::new(dtype, view.shape.clone(), whole.slice(from..end));
        return tensor.map(Some).map_err(|error| error.to_string());
    }
    let last = view.shape.iter().zip(&view.strides).try_fold(0_u64, |last, (size, stride)| {
        last.checked_add((*size as u64).checked_sub(1)?.checked_mul(*stride)?)
    });
    let end = byte(last.and_then(|last| last.checked_add(1))).and_then(|length| from.checked_add(length));
    let end = end.filter(|end| *end <= whole.len()).ok_or_else(outside)?;
    let (elements, shape) = (whole.slice(from..end), view.shape.clone());
    // The stride of a dimension of one says nothing and may be anything.
    let steps =
        view.shape.iter().zip(&view.strides).map(|(size, stride)| if *size > 1 { *stride } else { 0 });
    let strides: Vec<usize> =
        steps.map(|stride| byte(Some(stride))).collect::<Option<_>>().ok_or_else(outside)?;
    Ok(Some(Tensor::deferred(dtype, view.shape.clone(), move || {
        gathered(&elements, width, &shape, &strides)
    })))
}

/// The elements in order; `strides` count bytes. The bounds are known to hold.
fn gathered(elements: &[u8], width: usize, shape: &[usize], strides: &[usize]) -> Bytes {
    let count: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(count * width);
    let mut position = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..count {
        bytes.extend_from_slice(elements.get(at..at + width).unwrap_or_default());
        for dimension in (0..shape.len()).rev() {
            position[dimension] += 1;
            at += strides[dimension];
            if position[dimension] < shape[dimension] {
                break;
            }
            at -= strides[dimension] * shape[dimension];
            position[dimension] = 0;
        }
    }
    Bytes::from(bytes)
}
