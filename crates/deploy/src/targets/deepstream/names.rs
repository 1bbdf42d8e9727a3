//! What the files, library and symbol of a package are called.

use crate::PackageName;

/// The names that C and the linker take.
pub(super) struct Names {
    /// The package's name with `_` for what a C name cannot hold.
    pub(super) safe: String,
    /// The parser's symbol: `NvDsInferParseCustomShapesRtdetr`.
    pub(super) symbol: String,
}

impl Names {
    pub(super) fn of(name: &PackageName) -> Self {
        let safe = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let pascal: String = safe
            .split('_')
            .filter_map(|word| {
                let (first, rest) = word.split_at_checked(1)?;
                Some(first.to_ascii_uppercase() + rest)
            })
            .collect();
        Self { safe, symbol: format!("NvDsInferParseCustom{pascal}") }
    }

    /// Path of the parser's source.
    pub(super) fn source(&self) -> String {
        format!("parser/nvdsinfer_custombboxparser_{}.cpp", self.safe)
    }

    /// Path of the library that `make` builds.
    pub(super) fn library(&self) -> String {
        format!("parser/libnvdsinfer_{}_parser.so", self.safe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_c_name() {
        let cases = [
            ("shapes-rtdetr", "shapes_rtdetr", "NvDsInferParseCustomShapesRtdetr"),
            ("rtdetr_v2_r18vd", "rtdetr_v2_r18vd", "NvDsInferParseCustomRtdetrV2R18vd"),
            ("11n", "11n", "NvDsInferParseCustom11n"),
            ("a-", "a_", "NvDsInferParseCustomA"),
        ];
        for (name, safe, symbol) in cases {
            let names = Names::of(&name.parse().unwrap());
            assert_eq!((names.safe.as_str(), names.symbol.as_str()), (safe, symbol));
        }
    }
}
