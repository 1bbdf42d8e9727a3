//! `tao-converter`: the only program that reads the encrypted `.etlt` files of NVIDIA TAO. It makes engines of them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::Error;
use crate::tools::child::{self, Ending, Heard};
use crate::tools::programs;

const NAME: &str = "tao-converter";
/// Where NVIDIA's packages and containers put it.
const INSTALLED: &str = "/opt/nvidia/tao";
const PATIENCE: Duration = Duration::from_hours(3);

/// What is converted, and into what.
#[derive(Debug, Clone)]
pub struct Conversion<'a> {
    /// The `.etlt` file.
    pub model: &'a Path,
    /// The engine to write.
    pub engine: &'a Path,
    /// The key that it was encrypted with; NVIDIA's own models have public ones.
    pub key: &'a str,
    /// Channels, height and width.
    pub dims: [u32; 3],
    /// Names of the outputs.
    pub outputs: &'a [String],
    /// Name of the input of an ONNX graph, which takes a range of batches; `None` for a UFF graph, which takes any up to the
    /// largest.
    pub input: Option<&'a str>,
    /// The smallest, the fastest and the largest batch.
    pub batches: [u32; 3],
    /// `fp32`, `fp16` or `int8`.
    pub precision: &'a str,
    /// Scales for `int8`.
    pub calibration: Option<&'a Path>,
}

impl Conversion<'_> {
    /// The arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let [channels, height, width] = self.dims;
        let shape = |batch: u32| format!("{batch}x{channels}x{height}x{width}");
        let mut arguments: Vec<OsString> = vec!["-k".into(), self.key.into()];
        arguments.extend(["-d".into(), format!("{channels},{height},{width}").into()]);
        match self.input {
            Some(input) => {
                let shapes = self.batches.map(shape).join(",");
                arguments.extend(["-p".into(), format!("{input},{shapes}").into()]);
            }
            None => arguments.extend(["-m".into(), self.batches[2].to_string().into()]),
        }
        arguments.extend(["-t".into(), self.precision.into()]);
        if let Some(cache) = self.calibration {
            arguments.extend(["-c".into(), cache.into()]);
        }
        arguments.extend(["-o".into(), self.outputs.join(",").into(), "-e".into(), self.engine.into()]);
        arguments.push(self.model.into());
        arguments
    }
}

/// The program on `path` (the value of `PATH`), else in NVIDIA's own place.
pub fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    programs::find(NAME, path, &[Path::new(INSTALLED)])
}

/// Converts. What it prints goes line by line to `tell`.
///
/// # Errors
/// [`Error::Tool`] with its last words, also when it ends well and has written nothing; [`Error::Cancelled`].
pub fn convert(
    program: &Path,
    conversion: &Conversion<'_>,
    cancelled: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let failed = |reason: String| Error::Tool { tool: NAME, reason };
    let mut command = Command::new(program);
    command.args(conversion.arguments());
    let ended = child::run(&mut command, PATIENCE, Some(cancelled), &mut |heard| {
        if let Heard::Line(line) = heard {
            tell(line);
        }
    });
    let ended = ended.map_err(|error| failed(error.to_string()))?;
    if ended.ending == Ending::Cancelled {
        return Err(Error::Cancelled);
    }
    if !ended.is_success() {
        return Err(failed(ended.last_words()));
    }
    let is_written = conversion.engine.metadata().is_ok_and(|file| file.len() > 0);
    if is_written { Ok(()) } else { Err(failed("it ended well and wrote no engine".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_the_documentation() {
        let outputs = ["argmax_1".to_owned()];
        let onnx = Conversion {
            model: Path::new("m.etlt"),
            engine: Path::new("m.engine"),
            key: "tlt_encode",
            dims: [3, 544, 960],
            outputs: &outputs,
            input: Some("input_2:0"),
            batches: [1, 1, 1],
            precision: "int8",
            calibration: Some(Path::new("cache.txt")),
        };
        let text = |conversion: &Conversion<'_>| {
            let words: Vec<String> =
                conversion.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        assert_eq!(
            text(&onnx),
            "-k tlt_encode -d 3,544,960 -p input_2:0,1x3x544x960,1x3x544x960,1x3x544x960 -t int8 -c cache.txt -o argmax_1 -e m.engine m.etlt"
        );
        let uff =
            Conversion { input: None, batches: [1, 8, 16], precision: "fp16", calibration: None, ..onnx };
        assert_eq!(text(&uff), "-k tlt_encode -d 3,544,960 -m 16 -t fp16 -o argmax_1 -e m.engine m.etlt");
    }
}
