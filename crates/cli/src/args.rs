//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Import an object detector from anywhere and hand back a deployment that can be trusted.
#[derive(Debug, Parser)]
#[command(name = "sightline", version, max_term_width = 110, after_long_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Say nothing but warnings and errors
    #[arg(long, short, global = true, help_heading = "Output", conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// When to use colour
    #[arg(long, global = true, help_heading = "Output", value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// One line a command; each is a file in `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole job: fetch, export, verify, evaluate, package, measure, report
    Import(Box<commands::import::Args>),
    /// Say what a file is: ONNX, safetensors, PyTorch checkpoint, engine plan, calibration cache
    Inspect(commands::inspect::Args),
    /// Checkpoint to checked ONNX
    Export(commands::export::Args),
    /// Graph passes: simplify, batch, operator set, names, parts; precision; preprocessing and suppression in the graph
    Optimize(commands::optimize::Args),
    /// Calibration images to INT8: a Q/DQ graph and TensorRT's calibration cache
    Quantize(commands::quantize::Args),
    /// Boxes on images: as a table, as JSON, or drawn
    Detect(commands::detect::Args),
    /// COCO mAP of a model
    Eval(commands::eval::Args),
    /// Compare a package's model with its source on real images
    Verify(commands::verify::Args),
    /// TensorRT engines: built, timed, compared with their graph
    Build(Box<commands::build::Args>),
    /// Latency and throughput
    Bench(commands::bench::Args),
    /// A video through the detector: boxes, KITTI files, a gate
    Run(commands::run::Args),
    /// Deployment folders of a package, or its models into a Triton repository
    Deploy(commands::deploy::Args),
    /// Markdown, HTML and PDF from what a package records
    Report(commands::report::Args),
    /// Inference libraries: what is there, and how more come here
    Runtime(commands::runtime::Args),
    /// What this machine can do, what is missing for which job, and what repairs it
    Doctor(commands::doctor::Args),
    /// What this program has: architectures, backends, targets
    List(commands::list::Args),
    /// Remove what finished steps remember, or the models of a Triton repository
    Clean(commands::clean::Args),
    /// Shell completions
    Completions(commands::completions::Args),
}

/// A size as typed: `640x480` or `640` for a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Size {
    /// The frames of video where nothing else is said.
    pub(crate) const USUAL_FRAME: Self = {
        let (width, height) = pipeline::deploy::targets::USUAL_FRAME;
        Self { width, height }
    };
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let side = |side: &str| match side.parse() {
            Ok(size @ 1..=16_384) => Ok(size),
            _ => Err(format!("`{text}` is no size: write WIDTHxHEIGHT in pixels, such as 640x480")),
        };
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

fn after_help() -> String {
    format!(
        "A SOURCE is a Hugging Face id or URL (`owner/name`, with `@revision`), an NGC catalog URL, a folder or a file.\n\
         A MODEL is an ONNX file or a package; a PACKAGE is the folder that `import` makes.\n\n{}\n{}",
        crate::exit_code::help(),
        crate::env::help()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        let cases = [
            ("640", Some((640, 640))),
            ("640x480", Some((640, 480))),
            ("0x4", None),
            ("4x", None),
            ("-1", None),
            ("99999", None),
        ];
        for (text, expected) in cases {
            let parsed: Option<Size> = text.parse().ok();
            assert_eq!(parsed.map(|size| (size.width, size.height)), expected, "{text}");
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
