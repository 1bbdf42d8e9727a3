//! The command line of `xtask parity`.

use std::path::PathBuf;

pub(super) const USAGE: &str = "\
usage: cargo run --release -p xtask -- parity --oracle DIR --python PY [OPTION]… [NAME]…

Each NAME is an architecture (`detr`), one of its variants (`detr:native`) or a network of Ultralytics (`yolo11n`);
without one, all are taken.

  --oracle DIR               folder of `make_checkpoint.py` and its relatives
  --python PY                interpreter with PyTorch, transformers, ONNX and ONNX Runtime
  --size tiny|full           which variants of the oracle are made (default: tiny)
  --ultralytics-python PY    interpreter with Ultralytics: its networks are compared too
  --canvas WIDTHxHEIGHT      input size of families that pad, instead of what their processor says
  --python-export            also export with PyTorch, and slim what it writes
  --f64                      also measure what float32 costs the original; a badly conditioned network is judged by it
  --keep DIR                 leave checkpoints and graphs in this folder
  --json FILE                write the results as JSON too";

/// Which of the oracle's variants are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Tiny,
    Full,
}

impl Size {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Full => "full",
        }
    }
}

/// The arguments, checked.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) oracle: PathBuf,
    pub(super) python: PathBuf,
    pub(super) ultralytics_python: Option<PathBuf>,
    pub(super) size: Size,
    pub(super) canvas: Option<String>,
    pub(super) python_export: bool,
    pub(super) f64: bool,
    pub(super) keep: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
    pub(super) names: Vec<String>,
}

impl Arguments {
    pub(super) fn read(arguments: &[String]) -> Result<Self, String> {
        let (mut oracle, mut python, mut ultralytics_python) = (None, None, None);
        let (mut canvas, mut keep, mut json) = (None, None, None);
        let (mut size, mut python_export, mut f64) = (Size::Tiny, false, false);
        let mut names = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("`{argument}` needs a value\n{USAGE}"));
            match argument.as_str() {
                "--oracle" => oracle = Some(PathBuf::from(value()?)),
                "--python" => python = Some(PathBuf::from(value()?)),
                "--ultralytics-python" => ultralytics_python = Some(PathBuf::from(value()?)),
                "--size" => {
                    size = match value()?.as_str() {
                        "tiny" => Size::Tiny,
                        "full" => Size::Full,
                        other => return Err(format!("`--size` is `{other}`, expected `tiny` or `full`")),
                    }
                }
                "--canvas" => canvas = Some(value()?),
                "--python-export" => python_export = true,
                "--f64" => f64 = true,
                "--keep" => keep = Some(PathBuf::from(value()?)),
                "--json" => json = Some(PathBuf::from(value()?)),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option `{option}`\n{USAGE}"));
                }
                name => names.push(name.to_owned()),
            }
        }
        let (Some(oracle), Some(python)) = (oracle, python) else {
            return Err(USAGE.to_owned());
        };
        Ok(Self { oracle, python, ultralytics_python, size, canvas, python_export, f64, keep, json, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_and_names_may_be_mixed() {
        let arguments = read("--oracle o detr:native --size full --python p yolo11n --f64").unwrap();
        assert_eq!(arguments.names, ["detr:native", "yolo11n"]);
        assert_eq!((arguments.size, arguments.f64, arguments.python_export), (Size::Full, true, false));
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        for line in ["", "--oracle o", "--oracle o --python", "--oracle o --python p --size huge", "--what"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
