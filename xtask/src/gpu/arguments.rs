//! The command line of `xtask gpu`.

use std::path::PathBuf;

const USAGE: &str = "\
usage: cargo run --release -p xtask -- gpu --program SIGHTLINE --python PY --images DIR CHECKPOINT…

  --program SIGHTLINE    the program, with an ONNX Runtime for the backend installed
  --python PY            interpreter with PyTorch, transformers, ultralytics and ONNX Runtime for CUDA
  --images DIR           JPEG files that frames are made from
  --frame 640x480        size of the frames
  --batch 1,8,32         images in a run
  --precision fp32,fp16  number formats
  --backend NAME         backend [default: onnxruntime-cuda]
  --json FILE            all figures";

/// What is measured, and with what.
pub(super) struct Arguments {
    pub(super) program: PathBuf,
    pub(super) python: PathBuf,
    pub(super) images: PathBuf,
    pub(super) frame: (String, String),
    pub(super) batches: Vec<String>,
    pub(super) precisions: Vec<String>,
    pub(super) backend: String,
    pub(super) json: Option<PathBuf>,
    /// Folders of Hugging Face or files of Ultralytics.
    pub(super) checkpoints: Vec<PathBuf>,
}

impl Arguments {
    pub(super) fn read(arguments: &[String]) -> Result<Self, String> {
        let (mut program, mut python, mut images, mut json) = (None, None, None, None);
        let (mut frame, mut backend) = ("640x480".to_owned(), "onnxruntime-cuda".to_owned());
        let (mut batches, mut precisions) = ("1,8,32".to_owned(), "fp32,fp16".to_owned());
        let mut checkpoints = Vec::new();
        let mut rest = arguments.iter().cloned();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{argument}` wants a value\n{USAGE}"));
            match argument.as_str() {
                "--program" => program = Some(value()?),
                "--python" => python = Some(value()?),
                "--images" => images = Some(value()?),
                "--json" => json = Some(value()?),
                "--frame" => frame = value()?,
                "--batch" => batches = value()?,
                "--precision" => precisions = value()?,
                "--backend" => backend = value()?,
                option if option.starts_with('-') => {
                    return Err(format!("unknown option `{option}`\n{USAGE}"));
                }
                file => checkpoints.push(PathBuf::from(file)),
            }
        }
        let listed = |text: String| text.split(',').map(str::to_owned).collect();
        match (program, python, images, frame.split_once('x')) {
            (Some(program), Some(python), Some(images), Some((width, height))) if !checkpoints.is_empty() => {
                Ok(Self {
                    program: program.into(),
                    python: python.into(),
                    images: images.into(),
                    frame: (width.to_owned(), height.to_owned()),
                    batches: listed(batches),
                    precisions: listed(precisions),
                    backend,
                    json: json.map(PathBuf::from),
                    checkpoints,
                })
            }
            _ => Err(USAGE.to_owned()),
        }
    }
}
