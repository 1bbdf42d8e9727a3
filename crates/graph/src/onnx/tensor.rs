//! Tensors of an ONNX file: every form in which the specification lets their data be stored.
//!
//! Only `raw_data` and external files are taken without a copy; the typed lists (`float_data` and so on) are protobuf
//! numbers that have to be unpacked. Types narrower than 32 bits share `int32_data`, one element (or one packed byte)
//! each.

use bytes::Bytes;

use super::external::{EXTERNAL, Files, external_of};
use super::proto::TensorProto;
use crate::{DataType, Error, Tensor};

/// Decodes a tensor.
pub(super) fn tensor(proto: TensorProto, files: &mut Files<'_>) -> Result<Tensor, Error> {
    let bad = |reason: String| Error::BadTensor { name: proto.name.clone(), reason };
    let dtype = DataType::from_onnx(proto.data_type)
        .ok_or_else(|| bad(format!("element type {} is not known", proto.data_type)))?;
    if proto.segment.is_some() {
        return Err(bad("it is cut into segments".into()));
    }
    let shape = proto
        .dims
        .iter()
        .map(|dim| usize::try_from(*dim).map_err(|_| bad(format!("{dim} is no size"))))
        .collect::<Result<Vec<_>, _>>()?;
    if dtype == DataType::String {
        return Tensor::strings(shape, proto.string_data).map_err(|error| named(error, &proto.name));
    }
    let needed =
        crate::tensor::byte_len(dtype, &shape).ok_or_else(|| bad(format!("{shape:?} is too large")))?;
    if proto.data_location == EXTERNAL {
        let external = external_of(&proto)?;
        let made = match files.slice(&proto.name, &external, needed)? {
            Some(bytes) => Tensor::new(dtype, shape, bytes),
            None => Tensor::unresolved(dtype, shape, external),
        };
        return made.map_err(|error| named(error, &proto.name));
    }
    let bytes = match &proto.raw_data {
        Some(raw) => raw.clone(),
        None => typed_data(dtype, &proto),
    };
    Tensor::new(dtype, shape, bytes).map_err(|error| named(error, &proto.name))
}

/// The bytes of the typed list that belongs to `dtype`.
fn typed_data(dtype: DataType, proto: &TensorProto) -> Bytes {
    use DataType as T;
    match dtype {
        T::F32 | T::Complex64 => pack(&proto.float_data, f32::to_le_bytes),
        T::F64 | T::Complex128 => pack(&proto.double_data, f64::to_le_bytes),
        T::I64 => pack(&proto.int64_data, i64::to_le_bytes),
        T::U64 => pack(&proto.uint64_data, u64::to_le_bytes),
        T::U32 => pack(&proto.uint64_data, |v| (v as u32).to_le_bytes()),
        T::I32 => pack(&proto.int32_data, i32::to_le_bytes),
        T::U16 | T::I16 | T::F16 | T::Bf16 => pack(&proto.int32_data, |v| (v as u16).to_le_bytes()),
        // 8 bits and less: one byte each, several elements in it where they are narrower.
        _ => pack(&proto.int32_data, |v| [v as u8]),
    }
}

fn pack<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut bytes = Vec::with_capacity(values.len().saturating_mul(N));
    for value in values {
        bytes.extend_from_slice(&to_bytes(*value));
    }
    bytes.into()
}

/// The same error with the tensor's name in it.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::BadTensor { reason, .. } => Error::BadTensor { name: name.to_owned(), reason },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(proto: TensorProto) -> Result<Tensor, Error> {
        tensor(proto, &mut Files::new(None))
    }

    #[test]
    fn every_typed_list_is_read() {
        let proto = |dtype: DataType, dims: &[i64]| TensorProto {
            name: "t".into(),
            data_type: dtype.to_onnx(),
            dims: dims.to_vec(),
            ..TensorProto::default()
        };
        let cases: Vec<(TensorProto, Vec<u8>)> = vec![
            (
                TensorProto { float_data: vec![1.0], ..proto(DataType::F32, &[]) },
                1.0_f32.to_le_bytes().into(),
            ),
            (TensorProto { int32_data: vec![0x3c00], ..proto(DataType::F16, &[1]) }, vec![0, 0x3c]),
            (TensorProto { int32_data: vec![0x3f80], ..proto(DataType::Bf16, &[1]) }, vec![0x80, 0x3f]),
            (TensorProto { int32_data: vec![-1, 2], ..proto(DataType::I8, &[2]) }, vec![255, 2]),
            (TensorProto { int32_data: vec![1, 0], ..proto(DataType::Bool, &[2]) }, vec![1, 0]),
            (TensorProto { int32_data: vec![-2], ..proto(DataType::I16, &[1]) }, vec![254, 255]),
            (TensorProto { int32_data: vec![0x21, 3], ..proto(DataType::U4, &[3]) }, vec![0x21, 3]),
            (
                TensorProto { int32_data: vec![-2], ..proto(DataType::I32, &[1]) },
                (-2_i32).to_le_bytes().into(),
            ),
            (
                TensorProto { int64_data: vec![-2], ..proto(DataType::I64, &[1]) },
                (-2_i64).to_le_bytes().into(),
            ),
            (TensorProto { uint64_data: vec![7], ..proto(DataType::U32, &[1]) }, 7_u32.to_le_bytes().into()),
            (TensorProto { uint64_data: vec![7], ..proto(DataType::U64, &[1]) }, 7_u64.to_le_bytes().into()),
            (
                TensorProto { double_data: vec![0.5], ..proto(DataType::F64, &[1]) },
                0.5_f64.to_le_bytes().into(),
            ),
            (
                TensorProto { float_data: vec![1.0, 2.0], ..proto(DataType::Complex64, &[1]) },
                [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat(),
            ),
        ];
        for (proto, expected) in cases {
            let (dtype, dims) = (proto.data_type, proto.dims.clone());
            assert_eq!(decode(proto).unwrap().bytes(), expected, "{dtype} {dims:?}");
        }
    }

    #[test]
    fn lies_about_the_data_are_errors() {
        let float = |dims: Vec<i64>, raw: usize| TensorProto {
            name: "w".into(),
            data_type: 1,
            dims,
            raw_data: Some(vec![0; raw].into()),
            ..TensorProto::default()
        };
        let cases = [
            ("too few", float(vec![2], 4)),
            ("too many", float(vec![2], 12)),
            ("negative", float(vec![-1], 4)),
            ("overflow", float(vec![i64::MAX, i64::MAX], 4)),
            ("type", TensorProto { data_type: 99, ..float(vec![1], 4) }),
            ("segment", TensorProto { segment: Some(Bytes::new()), ..float(vec![1], 4) }),
            ("location", TensorProto { data_location: 1, ..float(vec![1], 4) }),
        ];
        for (what, proto) in cases {
            let text = decode(proto).unwrap_err().to_string();
            assert!(text.contains("`w`"), "{what}: {text}");
        }
    }

    #[test]
    fn strings_are_kept() {
        let proto = TensorProto {
            data_type: 8,
            dims: vec![2],
            string_data: vec![Bytes::from_static(b"cat"), Bytes::from_static(b"dog")],
            ..TensorProto::default()
        };
        let tensor = decode(proto).unwrap();
        assert_eq!(tensor.as_strings().unwrap()[1], "dog");
        assert!(tensor.to_f32().is_err());
    }
}
