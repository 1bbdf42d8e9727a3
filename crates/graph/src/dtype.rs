//! Element types, numbered as in `TensorProto.DataType` of the ONNX specification.

use serde::{Deserialize, Serialize};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DataType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    String,
    Bool,
    F16,
    F64,
    U32,
    U64,
    Complex64,
    Complex128,
    Bf16,
    F8E4M3Fn,
    F8E4M3FnUz,
    F8E5M2,
    F8E5M2FnUz,
    U4,
    I4,
    F4E2M1,
    F8E8M0,
    U2,
    I2,
}

/// Every type with its ONNX number, its size in bits (0: not fixed) and its ONNX name.
const TABLE: &[(DataType, i32, usize, &str)] = &[
    (DataType::F32, 1, 32, "float32"),
    (DataType::U8, 2, 8, "uint8"),
    (DataType::I8, 3, 8, "int8"),
    (DataType::U16, 4, 16, "uint16"),
    (DataType::I16, 5, 16, "int16"),
    (DataType::I32, 6, 32, "int32"),
    (DataType::I64, 7, 64, "int64"),
    (DataType::String, 8, 0, "string"),
    (DataType::Bool, 9, 8, "bool"),
    (DataType::F16, 10, 16, "float16"),
    (DataType::F64, 11, 64, "float64"),
    (DataType::U32, 12, 32, "uint32"),
    (DataType::U64, 13, 64, "uint64"),
    (DataType::Complex64, 14, 64, "complex64"),
    (DataType::Complex128, 15, 128, "complex128"),
    (DataType::Bf16, 16, 16, "bfloat16"),
    (DataType::F8E4M3Fn, 17, 8, "float8e4m3fn"),
    (DataType::F8E4M3FnUz, 18, 8, "float8e4m3fnuz"),
    (DataType::F8E5M2, 19, 8, "float8e5m2"),
    (DataType::F8E5M2FnUz, 20, 8, "float8e5m2fnuz"),
    (DataType::U4, 21, 4, "uint4"),
    (DataType::I4, 22, 4, "int4"),
    (DataType::F4E2M1, 23, 4, "float4e2m1"),
    (DataType::F8E8M0, 24, 8, "float8e8m0"),
    (DataType::U2, 25, 2, "uint2"),
    (DataType::I2, 26, 2, "int2"),
];

impl DataType {
    /// The type with this ONNX number, if the specification has one.
    pub fn from_onnx(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The number that stands for this type in an ONNX file.
    pub fn to_onnx(self) -> i32 {
        self.row().1
    }

    /// Bits an element takes; `None` for strings.
    pub fn bits(self) -> Option<usize> {
        Some(self.row().2).filter(|bits| *bits > 0)
    }

    /// Bytes that `elements` of this type take, packed as ONNX packs them; `None` for strings or when it overflows.
    pub fn bytes_for(self, elements: usize) -> Option<usize> {
        Some(elements.checked_mul(self.bits()?)?.div_ceil(8))
    }

    /// The name that users know: `float32`, `int64`.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Whether the elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        self.name().contains("float")
    }

    fn row(self) -> &'static (Self, i32, usize, &'static str) {
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }
}

impl From<DataType> for &'static str {
    fn from(dtype: DataType) -> Self {
        dtype.name()
    }
}

impl TryFrom<String> for DataType {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let row = TABLE.iter().find(|row| row.3 == name);
        row.map(|row| row.0).ok_or_else(|| format!("`{name}` is no element type"))
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_number_and_back() {
        for (dtype, number, bits, name) in TABLE {
            assert_eq!(DataType::from_onnx(*number), Some(*dtype));
            assert_eq!(dtype.to_onnx(), *number, "{name}");
            assert_eq!(dtype.bits().unwrap_or(0), *bits, "{name}");
            assert_eq!(DataType::try_from((*name).to_owned()), Ok(*dtype));
        }
        assert_eq!(DataType::from_onnx(0), None);
        assert_eq!(DataType::U4.bytes_for(3), Some(2));
    }
}
