//! Which files of the Python Package Index hold a library, by digest. To add or raise one: its line here.

/// An inference library that can be installed.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    /// The name by which users ask for it.
    pub name: &'static str,
    /// The project's name on the index.
    pub project: &'static str,
    /// The release of the project.
    pub version: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The folder of a wheel that holds the shared libraries.
    pub inside: &'static str,
    /// How the name of the library that a program opens begins.
    pub main: &'static str,
    /// How the names of the shared libraries begin that are taken.
    pub parts: &'static [&'static str],
    /// A wheel for each processor.
    pub wheels: &'static [Wheel],
}

/// A file of the index.
#[derive(Debug, Clone, Copy)]
pub struct Wheel {
    /// The processor, as Rust names it. All are for Linux with the GNU C library.
    pub architecture: &'static str,
    /// Where it is: at the index's own file host.
    pub url: &'static str,
    /// Its SHA-256 in lower-case hexadecimal: whatever host it comes from, nothing else is unpacked.
    pub sha256: &'static str,
    /// Its length in bytes.
    pub size: u64,
}

impl Wheel {
    /// The file's name.
    pub fn file(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }
}

/// Every library, sorted by name.
pub static LIBRARIES: &[Library] = &[
    Library {
        name: "onnxruntime",
        project: "onnxruntime",
        version: "1.32.0",
        about: "ONNX Runtime for the processor: backend `onnxruntime`",
        inside: "onnxruntime/capi/",
        main: "libonnxruntime.so",
        parts: &["lib"],
        wheels: &[
            Wheel {
                architecture: "aarch64",
                url: "https://files.pythonhosted.org/packages/4a/8f/1e43fb994513c7c7a9c6965272ef89d963c1bd4080993a6267bf913701d1/onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
                sha256: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
                size: 23_196_724,
            },
            Wheel {
                architecture: "x86_64",
                url: "https://files.pythonhosted.org/packages/a3/81/55845186c20cba59f614991f4065dea148e48eeb9749893768c85ce64327/onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
                sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
                size: 27_780_211,
            },
        ],
    },
    Library {
        name: "onnxruntime-gpu",
        project: "onnxruntime-gpu",
        version: "1.31.1",
        about: "ONNX Runtime with CUDA 13 and TensorRT 10: backends `onnxruntime-cuda`, `onnxruntime-tensorrt` and `onnxruntime`",
        inside: "onnxruntime/capi/",
        main: "libonnxruntime.so",
        parts: &["lib"],
        wheels: &[
            Wheel {
                architecture: "aarch64",
                url: "https://files.pythonhosted.org/packages/7b/dc/0e7674377dd204170a4e077c719ee735a2eea6b7f102aa66873af74cced4/onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_34_aarch64.whl",
                sha256: "a0f1725c5a6d1ef82d63498b5ebc25e2c90c9560e91dc76db9be4a49162d4d33",
                size: 212_341_829,
            },
            Wheel {
                architecture: "x86_64",
                url: "https://files.pythonhosted.org/packages/22/97/9531b4d9e566cf2a0f04b4b5c26a3bc0ef2e2e0b6bc943a02c0eead98cf7/onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl",
                sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
                size: 255_569_273,
            },
        ],
    },
    Library {
        name: "tensorrt-rtx",
        project: "onnxruntime-ep-nv-tensorrt-rtx-cu13",
        version: "0.5.0",
        about: "TensorRT for RTX 1.7 with its ONNX parser: `build --backend tensorrt-rtx`",
        inside: "onnxruntime_ep_nv_tensorrt_rtx/",
        main: "libtensorrt_rtx.so",
        parts: &["libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"],
        wheels: &[Wheel {
            architecture: "x86_64",
            url: "https://files.pythonhosted.org/packages/6b/ea/033a6d73b74a443cbf67247e3700b2a2f5076b37af4b00e433fbbd46fa6d/onnxruntime_ep_nv_tensorrt_rtx_cu13-0.5.0-py3-none-manylinux_2_28_x86_64.whl",
            sha256: "32f575c633d171b4edf4b53d3bb22b72a6c9c0a850d2982ce9a788a5d40d3298",
            size: 146_476_965,
        }],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::is_hex;

    #[test]
    fn every_line_is_whole() {
        assert!(LIBRARIES.is_sorted_by_key(|library| library.name));
        for library in LIBRARIES {
            assert!(library.inside.ends_with('/') && library.main.starts_with("lib"), "{}", library.name);
            assert!(library.parts.iter().all(|part| part.starts_with("lib")), "{}", library.name);
            assert!(library.parts.iter().any(|part| library.main.starts_with(part)), "{}", library.name);
            assert!(library.wheels.is_sorted_by_key(|wheel| wheel.architecture));
            for wheel in library.wheels {
                assert!(url::Url::parse(wheel.url).is_ok_and(|url| url.scheme() == "https"), "{}", wheel.url);
                assert!(is_hex(wheel.sha256, 64) && wheel.size > 1 << 20, "{}", wheel.url);
                let project = library.project.replace('-', "_");
                let start = format!("{project}-{}-", library.version);
                assert!(wheel.file().starts_with(&start), "{}", wheel.url);
                let end = format!("_{}.whl", wheel.architecture);
                assert!(wheel.file().ends_with(&end) && wheel.file().contains("manylinux"), "{}", wheel.url);
            }
        }
    }
}
