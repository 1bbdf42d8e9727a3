//! Scalars and arrays of `numpy`.
//!
//! Formats: `__reduce__` of `numpy.dtype`, `numpy.generic` and `numpy.ndarray`.

use std::sync::Arc;

use bytes::Bytes;
use half::f16;

use super::machine::Machine;
use super::object::{ElementType, Id, Object};

impl Machine {
    /// `scalar(dtype, bytes)` or `_frombuffer(bytes, dtype, shape, order)`.
    pub(super) fn numpy(&mut self, function: &str, items: &[Id], arguments: Id) -> Result<Id, String> {
        let made = match items {
            [dtype, value] => self.scalar(*dtype, *value),
            [buffer, dtype, shape, order] => {
                let column_major = self.objects.text(*order).is_some_and(|order| &**order == "F");
                return match self.contiguous(*dtype, *shape, column_major, *buffer)? {
                    Some(array) => Ok(array),
                    None => self.instance(function.into(), arguments),
                };
            }
            _ => None,
        };
        match made {
            Some(value) => self.objects.add(value),
            None => self.instance(function.into(), arguments),
        }
    }

    fn scalar(&self, dtype: Id, value: Id) -> Option<Object> {
        let dtype = self.element_type(dtype)?;
        let Object::Bytes(bytes) = self.raw(value)? else { return None };
        let bytes = &bytes[..];
        Some(match dtype.name {
            "F64" => Object::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            "F32" => Object::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            "F16" => Object::Float(f16::from_le_bytes(bytes.try_into().ok()?).into()),
            "I64" => Object::Int(i64::from_le_bytes(bytes.try_into().ok()?).into()),
            "I32" => Object::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            "I16" => Object::Int(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            "I8" => Object::Int(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            "U64" => Object::Int(u64::from_le_bytes(bytes.try_into().ok()?).into()),
            "U32" => Object::Int(u32::from_le_bytes(bytes.try_into().ok()?).into()),
            "U16" => Object::Int(u16::from_le_bytes(bytes.try_into().ok()?).into()),
            "U8" => Object::Int(u8::from_le_bytes(bytes.try_into().ok()?).into()),
            "BOOL" => Object::Bool(*bytes.first()? != 0),
            _ => return None,
        })
    }

    /// The array that `_reconstruct(ndarray, (0,), b'b')` becomes with the state
    /// `(version, shape, dtype, is it column-major, bytes)`; `None` for other objects and for elements that are no
    /// numbers.
    pub(super) fn array(&mut self, object: Id, state: Id) -> Result<Option<Id>, String> {
        match self.objects.get(object) {
            Object::Instance(instance) if &*instance.class == "numpy.core.multiarray._reconstruct" => {}
            _ => return Ok(None),
        }
        let [_, shape, dtype, order, buffer] = *self.objects.items(state) else { return Ok(None) };
        let column_major = matches!(self.objects.get(order), Object::Bool(true));
        self.contiguous(dtype, shape, column_major, buffer)
    }

    fn contiguous(
        &mut self,
        dtype: Id,
        shape: Id,
        column_major: bool,
        buffer: Id,
    ) -> Result<Option<Id>, String> {
        let Some(dtype) = self.element_type(dtype) else { return Ok(None) };
        let Some(Object::Bytes(bytes)) = self.raw(buffer) else { return Ok(None) };
        let shape = self.objects.sizes(shape).ok_or("the shape of an array is none")?;
        let expected = shape.iter().try_fold(dtype.width, |bytes, size| bytes.checked_mul(*size));
        if expected != Some(bytes.len() as u64) {
            return Err(format!("{} bytes are no array {shape:?} of `{}`", bytes.len(), dtype.name));
        }
        let mut strides = vec![0; shape.len()];
        let mut stride = 1_u64;
        for at in 0..shape.len() {
            let at = if column_major { at } else { shape.len() - 1 - at };
            strides[at] = stride;
            stride = stride.saturating_mul(shape[at]);
        }
        let storage = self.inline(dtype, bytes)?;
        self.tensor(storage, 0, &shape, strides).map(Some)
    }

    /// The bytes of an object; Python 2 has texts where it means bytes.
    fn raw(&self, id: Id) -> Option<Object> {
        Some(Object::Bytes(match self.objects.get(id) {
            Object::Bytes(bytes) => bytes.clone(),
            Object::Text(text) => Bytes::from_owner(SharedText(Arc::clone(text))),
            _ => return None,
        }))
    }

    /// The element type that `dtype('f4', False, True)` with the state `(3, '<', …)` means, where it is a number that
    /// is stored little-endian.
    fn element_type(&self, id: Id) -> Option<ElementType> {
        let Object::Instance(instance) = self.objects.get(id) else { return None };
        if &*instance.class != "numpy.dtype" {
            return None;
        }
        let code = self.objects.items(instance.arguments).first()?;
        let order = instance.state.and_then(|state| self.objects.items(state).get(1));
        let order = order.and_then(|order| self.objects.text(*order));
        if order.is_some_and(|order| &**order == ">") {
            return None;
        }
        let (name, width) = match &**self.objects.text(*code)? {
            "f8" => ("F64", 8),
            "f4" => ("F32", 4),
            "f2" => ("F16", 2),
            "i8" => ("I64", 8),
            "i4" => ("I32", 4),
            "i2" => ("I16", 2),
            "i1" => ("I8", 1),
            "u8" => ("U64", 8),
            "u4" => ("U32", 4),
            "u2" => ("U16", 2),
            "u1" => ("U8", 1),
            "b1" => ("BOOL", 1),
            _ => return None,
        };
        Some(ElementType { name, width })
    }
}

struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
