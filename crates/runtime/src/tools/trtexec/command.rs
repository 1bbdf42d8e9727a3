//! Command lines of `trtexec`, rendered for the generation of TensorRT that reads them.
//!
//! Options and their arrival: `samples/common/sampleOptions.cpp` at the tags v8.6.1 to v11.1.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Generation, Trtexec, Version};
use crate::tools::Profile;

/// Seconds of counting, and milliseconds before it.
const SECONDS: u32 = 10;
const WARM_UP_MS: u32 = 1000;
/// Workspace that is asked for when nobody says how much.
const WORKSPACE_MIB: u64 = 32_768;
/// Parts in ten of the free memory that the workspace may take: weights and activations need theirs.
const WORKSPACE_SHARE: u64 = 8;

/// The numbers that an engine is to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers<'a> {
    /// 32-bit floats; the graph's own.
    Fp32,
    /// 16-bit floats. From TensorRT 11 on the graph has to hold them.
    Fp16,
    /// 8-bit integers, 16-bit floats elsewhere. Without a cache, and from TensorRT 11 on, the graph has to hold the scales.
    Int8 {
        /// Scales of the tensors, for TensorRT up to 10.
        calibration: Option<&'a Path>,
    },
}

/// A build. All paths have to be absolute.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// The ONNX file.
    pub onnx: &'a Path,
    /// The engine to write.
    pub engine: &'a Path,
    /// What it computes with.
    pub numbers: Numbers<'a>,
    /// Shapes of the inputs that are not fixed in the graph; none when all are, then `trtexec` takes none.
    pub profiles: &'a [Profile],
    /// Limit of the workspace.
    pub workspace_mib: u64,
    /// How hard the builder tries, 0 to 5; `None` for its default.
    pub level: Option<u32>,
    /// A file in which times of kernels are kept between builds.
    pub timing_cache: Option<&'a Path>,
    /// A file for what the layers became.
    pub layers: Option<&'a Path>,
    /// Libraries of plug-ins.
    pub plugins: &'a [PathBuf],
    /// The graphics processor, by its number.
    pub device: Option<u32>,
}

/// An engine that is run.
#[derive(Debug, Clone)]
pub struct Load<'a> {
    /// The engine.
    pub engine: &'a Path,
    /// Shapes of the inputs that are not fixed in it.
    pub shapes: &'a [(String, Vec<usize>)],
    /// Libraries of plug-ins.
    pub plugins: &'a [PathBuf],
    /// The graphics processor, by its number.
    pub device: Option<u32>,
}

impl Build<'_> {
    /// The arguments.
    pub fn arguments(&self, version: Version) -> Vec<OsString> {
        let mut arguments = vec![path("--onnx=", self.onnx), path("--saveEngine=", self.engine)];
        if !self.profiles.is_empty() {
            for (option, shape) in [
                ("--minShapes=", (|profile| &profile.min) as fn(&Profile) -> &Vec<usize>),
                ("--optShapes=", |profile| &profile.opt),
                ("--maxShapes=", |profile| &profile.max),
            ] {
                let shapes =
                    self.profiles.iter().map(|profile| (profile.tensor.as_str(), shape(profile).as_slice()));
                arguments.push(format!("{option}{}", spec(shapes)).into());
            }
        }
        arguments.extend(self.numbers(version));
        // `M`, never `MiB`: of an ending only the last letter counts, and `B` is bytes.
        arguments.push(format!("--memPoolSize=workspace:{}M", self.workspace_mib).into());
        if let Some(level) = self.level {
            arguments.push(format!("--builderOptimizationLevel={level}").into());
        }
        if let Some(file) = self.timing_cache {
            arguments.push(path("--timingCacheFile=", file));
        }
        if let Some(file) = self.layers {
            arguments.push("--profilingVerbosity=detailed".into());
            arguments.push(path("--exportLayerInfo=", file));
        }
        arguments.push("--skipInference".into());
        arguments.extend(place(self.plugins, self.device));
        arguments
    }

    fn numbers(&self, version: Version) -> Vec<OsString> {
        match (self.numbers, version.generation()) {
            // TF32 keeps ten bits of a product's factors: that is not what fp32 says.
            (Numbers::Fp32, _) => vec!["--noTF32".into()],
            (_, Generation::Graph) => Vec::new(),
            (Numbers::Fp16, Generation::Flags) => vec!["--fp16".into()],
            (Numbers::Int8 { calibration }, Generation::Flags) => {
                let mut flags = vec!["--int8".into(), "--fp16".into()];
                flags.extend(calibration.map(|file| path("--calib=", file)));
                flags
            }
        }
    }
}

impl Load<'_> {
    fn begun(&self) -> Vec<OsString> {
        let mut arguments = vec![path("--loadEngine=", self.engine)];
        if !self.shapes.is_empty() {
            let shapes = self.shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
            arguments.push(format!("--shapes={}", spec(shapes)).into());
        }
        arguments
    }

    /// The arguments that time the engine on the graphics processor alone.
    ///
    /// TensorRT 11 leaves the data transfers out by itself, but also replays a CUDA graph and waits actively: both are
    /// switched off, so that figures of all versions are taken in the same way.
    pub fn timing(&self, version: Version) -> Vec<OsString> {
        let mut arguments = self.begun();
        match version.generation() {
            Generation::Flags => arguments.push("--noDataTransfers".into()),
            Generation::Graph => arguments.extend(["--noCudaGraph".into(), "--noSpinWait".into()]),
        }
        arguments.push(format!("--warmUp={WARM_UP_MS}").into());
        arguments.push(format!("--duration={SECONDS}").into());
        arguments.extend(place(self.plugins, self.device));
        arguments
    }

    /// The arguments that run the engine once on what lies in files, and write what comes out to another one.
    pub fn answer(&self, version: Version, inputs: &[(String, String)], output: &Path) -> Vec<OsString> {
        let mut arguments = self.begun();
        let files: Vec<String> = inputs.iter().map(|(name, file)| format!("{name}:{file}")).collect();
        arguments.push(format!("--loadInputs={}", files.join(",")).into());
        arguments.push(path("--exportOutput=", output));
        if version.generation() == Generation::Graph {
            arguments.push("--includeDataTransfers".into());
        }
        arguments.extend(["--iterations=1", "--warmUp=0", "--duration=0"].map(OsString::from));
        arguments.extend(place(self.plugins, self.device));
        arguments
    }

    /// The arguments that write what an engine's layers are.
    pub fn layers(&self, file: &Path) -> Vec<OsString> {
        let mut arguments = vec![
            path("--loadEngine=", self.engine),
            "--profilingVerbosity=detailed".into(),
            path("--exportLayerInfo=", file),
            "--skipInference".into(),
        ];
        arguments.extend(place(self.plugins, self.device));
        arguments
    }
}

impl Trtexec {
    /// A command line for a reader, quoted for a POSIX shell. `names` replaces paths by those that the reader has.
    pub fn line(arguments: &[OsString], names: &dyn Fn(&str) -> String) -> String {
        let words = arguments.iter().map(|argument| quoted(&names(&argument.to_string_lossy())));
        std::iter::once("trtexec".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// The workspace to ask for: what is wanted, as far as the free memory allows.
pub fn workspace_mib(wanted: Option<u64>, free_mib: Option<u64>) -> u64 {
    let wanted = wanted.unwrap_or(WORKSPACE_MIB);
    let most = free_mib.map_or(wanted, |free| free * WORKSPACE_SHARE / 10);
    wanted.min(most).max(1)
}

/// `a:1x3x640x640,b:1x2`. A name may hold colons: `trtexec` splits at the last one.
fn spec<'a>(shapes: impl Iterator<Item = (&'a str, &'a [usize])>) -> String {
    let shapes = shapes.map(|(name, shape)| {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{name}:{}", sizes.join("x"))
    });
    shapes.collect::<Vec<_>>().join(",")
}

fn place(plugins: &[PathBuf], device: Option<u32>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = plugins.iter().map(|file| path("--staticPlugins=", file)).collect();
    arguments.extend(device.map(|device| format!("--device={device}").into()));
    arguments
}

fn path(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// A word for a POSIX shell: as it is when it is plain, else in single quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V8: Version = Version { major: 8, minor: 6, patch: 1 };
    const V10: Version = Version { major: 10, minor: 16, patch: 1 };
    const V11: Version = Version { major: 11, minor: 1, patch: 0 };

    fn text(arguments: &[OsString]) -> String {
        Trtexec::line(arguments, &str::to_owned)
    }

    fn build<'a>(numbers: Numbers<'a>, profiles: &'a [Profile]) -> Build<'a> {
        Build {
            onnx: Path::new("/m.onnx"),
            engine: Path::new("/m.engine"),
            numbers,
            profiles,
            workspace_mib: 4096,
            level: None,
            timing_cache: Some(Path::new("/t.cache")),
            layers: None,
            plugins: &[],
            device: None,
        }
    }

    fn images() -> [Profile; 1] {
        let shape = |batch| vec![batch, 3, 640, 480];
        [Profile { tensor: "images".into(), min: shape(1), opt: shape(32), max: shape(64) }]
    }

    #[test]
    fn each_generation_gets_its_own_line() {
        let shapes =
            "--minShapes=images:1x3x640x480 --optShapes=images:32x3x640x480 --maxShapes=images:64x3x640x480";
        let start = format!("trtexec --onnx=/m.onnx --saveEngine=/m.engine {shapes}");
        let end = "--memPoolSize=workspace:4096M --timingCacheFile=/t.cache --skipInference";
        let int8 = Numbers::Int8 { calibration: Some(Path::new("/c.cache")) };
        let cases = [
            (Numbers::Fp16, V8, " --fp16"),
            (Numbers::Fp16, V10, " --fp16"),
            (Numbers::Fp16, V11, ""),
            (int8, V8, " --int8 --fp16 --calib=/c.cache"),
            (int8, V11, ""),
            (Numbers::Int8 { calibration: None }, V10, " --int8 --fp16"),
            (Numbers::Fp32, V8, " --noTF32"),
            (Numbers::Fp32, V11, " --noTF32"),
        ];
        for (numbers, version, flags) in cases {
            let line = text(&build(numbers, &images()).arguments(version));
            assert_eq!(line, format!("{start}{flags} {end}"), "{version}");
        }
    }

    #[test]
    fn a_fixed_graph_gets_no_shapes_and_options_their_place() {
        let plugins = [PathBuf::from("/p.so")];
        let whole = Build {
            level: Some(2),
            layers: Some(Path::new("/l.json")),
            plugins: &plugins,
            device: Some(1),
            timing_cache: None,
            ..build(Numbers::Fp16, &[])
        };
        let expected = "trtexec --onnx=/m.onnx --saveEngine=/m.engine --fp16 --memPoolSize=workspace:4096M \
                        --builderOptimizationLevel=2 --profilingVerbosity=detailed --exportLayerInfo=/l.json --skipInference \
                        --staticPlugins=/p.so --device=1";
        assert_eq!(text(&whole.arguments(V10)), expected);
    }

    #[test]
    fn an_engine_is_timed_without_transfers_whatever_the_version() {
        let shapes = [("input_1:0".to_owned(), vec![8, 3, 4, 4]), ("sizes".to_owned(), vec![8, 2])];
        let load = Load { engine: Path::new("/a b.engine"), shapes: &shapes, plugins: &[], device: None };
        let start = "trtexec '--loadEngine=/a b.engine' --shapes=input_1:0:8x3x4x4,sizes:8x2";
        let end = "--warmUp=1000 --duration=10";
        assert_eq!(text(&load.timing(V8)), format!("{start} --noDataTransfers {end}"));
        assert_eq!(text(&load.timing(V11)), format!("{start} --noCudaGraph --noSpinWait {end}"));
        let inputs = [("input_1:0".to_owned(), "0.bin".to_owned()), ("sizes".to_owned(), "1.bin".to_owned())];
        let answer = |version| text(&load.answer(version, &inputs, Path::new("/o.json")));
        let files = "--loadInputs=input_1:0:0.bin,sizes:1.bin --exportOutput=/o.json";
        assert_eq!(answer(V10), format!("{start} {files} --iterations=1 --warmUp=0 --duration=0"));
        assert!(answer(V11).contains(" --includeDataTransfers "));
    }

    #[test]
    fn the_workspace_stays_within_the_free_memory() {
        let cases = [
            (None, None, 32_768),
            (None, Some(80_000), 32_768),
            (None, Some(10_000), 8_000),
            (Some(4096), Some(80_000), 4096),
            (Some(4096), Some(1000), 800),
            (Some(4096), Some(0), 1),
        ];
        for (wanted, free, expected) in cases {
            assert_eq!(workspace_mib(wanted, free), expected, "{wanted:?} {free:?}");
        }
    }
}
