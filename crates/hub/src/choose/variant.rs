//! The precision of an ONNX file by its name, and which one to prefer.
//!
//! A name is only a claim: `int8` and `quantized` of community repositories are dynamic quantization
//! (`DynamicQuantizeLinear`, `ConvInteger`, `MatMulInteger`), operators that TensorRT does not have, while an NGC
//! file of the same name may hold Q/DQ nodes. The suffixes are those of Transformers.js.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::source::{RepoPath, shown};

/// What the name of an ONNX file says about its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// No suffix, or `fp32`.
    Fp32,
    /// `fp16`.
    Fp16,
    /// `int8`.
    Int8,
    /// `uint8`.
    Uint8,
    /// `q4`, `int4`, `bnb4`, `q4f16` and the narrower ones.
    Int4,
    /// `quantized` or `q8`.
    Quantized,
}

impl Variant {
    /// All of them, with their names.
    pub const ALL: [Self; 6] = [Self::Fp32, Self::Fp16, Self::Int8, Self::Uint8, Self::Int4, Self::Quantized];

    /// The variant that the name of an ONNX file claims.
    pub fn of(path: &RepoPath) -> Self {
        let name = path.file_name().to_ascii_lowercase();
        let stem = name.strip_suffix(".onnx").unwrap_or(&name);
        // The last word that means something wins: `int8_encoder_fp16` is an fp16 file.
        stem.rsplit(['_', '-', '.']).find_map(Self::of_word).unwrap_or(Self::Fp32)
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "fp32" | "float32" => Some(Self::Fp32),
            "fp16" | "float16" | "half" => Some(Self::Fp16),
            "int8" => Some(Self::Int8),
            "uint8" => Some(Self::Uint8),
            "q1" | "q2" | "q4" | "int4" | "uint4" | "bnb4" | "q4f16" | "q2f16" | "q1f16" => Some(Self::Int4),
            "q8" | "quantized" | "quant" => Some(Self::Quantized),
            _ => None,
        }
    }

    /// The name as typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Int4 => "int4",
            Self::Quantized => "quantized",
        }
    }

    /// What to know before taking a file of this name.
    pub(super) fn remark(self) -> &'static str {
        match self {
            Self::Fp32 => "full precision: other precisions are made and checked from it",
            Self::Fp16 => "half precision made by someone else: usable, accuracy to be checked",
            Self::Int8 | Self::Uint8 | Self::Quantized => {
                "by convention dynamic quantization (ConvInteger, MatMulInteger), which TensorRT cannot run"
            }
            Self::Int4 => "block-quantized weights (MatMulNBits), which TensorRT cannot run",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which of several files to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantPreference {
    /// fp32 first, because fp16 and INT8 are made from it and checked against it.
    #[default]
    Fp32First,
    /// fp16 first, then fp32, int8, int4, quantized, then by name.
    Seeds,
    /// Only this one.
    Variant(Variant),
    /// Only the file of this name or path.
    File(RepoPath),
}

impl VariantPreference {
    /// The place of a variant, smallest first; `None` where it may not be taken.
    pub(super) fn rank(&self, variant: Variant) -> Option<usize> {
        use Variant::{Fp16, Fp32, Int4, Int8, Quantized, Uint8};
        let order: &[Variant] = match self {
            Self::Fp32First => &[Fp32, Fp16, Int8, Uint8, Quantized, Int4],
            Self::Seeds => &[Fp16, Fp32, Int8, Int4, Quantized, Uint8],
            Self::Variant(only) => return (*only == variant).then_some(0),
            Self::File(_) => return Some(0),
        };
        order.iter().position(|v| *v == variant)
    }
}

impl FromStr for VariantPreference {
    type Err = Error;

    /// `default`, `seeds`, the name of a variant, or a file name with its extension.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "default" | "fp32-first" => return Ok(Self::Fp32First),
            "seeds" => return Ok(Self::Seeds),
            _ => {}
        }
        if let Some(variant) = Variant::of_word(&text.to_ascii_lowercase()) {
            return Ok(Self::Variant(variant));
        }
        if text.contains('.') {
            return Ok(Self::File(text.parse()?));
        }
        Err(Error::BadName {
            kind: "a variant",
            text: shown(text),
            reason: "it is `default`, `seeds`, `fp32`, `fp16`, `int8`, `uint8`, `int4`, `quantized` or a file name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_names_the_variant() {
        let cases = [
            ("onnx/model.onnx", Variant::Fp32),
            ("model_fp16.onnx", Variant::Fp16),
            ("model-fp16.onnx", Variant::Fp16),
            ("model.FP16.onnx", Variant::Fp16),
            ("model_int8.onnx", Variant::Int8),
            ("model_uint8.onnx", Variant::Uint8),
            ("model_quantized.onnx", Variant::Quantized),
            ("model_q4.onnx", Variant::Int4),
            ("model_q4f16.onnx", Variant::Int4),
            ("model_bnb4.onnx", Variant::Int4),
            ("dfine_n_coco.onnx", Variant::Fp32),
            ("resnet34_peoplenet.onnx", Variant::Fp32),
        ];
        for (path, expected) in cases {
            assert_eq!(Variant::of(&path.parse().unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn preferences_are_words_or_file_names() {
        let cases = [
            ("default", Some(VariantPreference::Fp32First)),
            ("seeds", Some(VariantPreference::Seeds)),
            ("FP16", Some(VariantPreference::Variant(Variant::Fp16))),
            ("q4", Some(VariantPreference::Variant(Variant::Int4))),
            ("model_fp16.onnx", Some(VariantPreference::File("model_fp16.onnx".parse().unwrap()))),
            ("../model.onnx", None),
            ("best", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
