//! `sightline export`: one checked ONNX file from a source.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::deploy::PackageName;
use pipeline::{Mode, Run, Store};
use serde::Serialize;

use super::shared::{ExportArgs, hub_config, python, source};
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Hugging Face id or URL, NGC catalog URL, folder or file
    source: String,
    /// Folder that the ONNX file goes to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the file, without `.onnx` [default: the source's own]
    #[arg(long, value_name = "NAME")]
    name: Option<PackageName>,
    /// Which ONNX file of a repository: fp32, fp16, int8, quantized …, `seeds` (fp16 first), or a file name
    #[arg(long, value_name = "VARIANT", help_heading = "Export", default_value = "default")]
    variant: pipeline::hub::VariantPreference,
    #[command(flatten)]
    export: ExportArgs,
}

/// A counter that every batch norm of a checkpoint has; one line stands for all of them.
const COUNTER: &str = "num_batches_tracked";

#[derive(Serialize)]
#[serde(transparent)]
struct Summary(pipeline::ExportedFile);

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let hub = hub_config()?;
    let source = source(&args.source, &hub, output)?;
    let name = match args.name {
        Some(name) => name,
        None => source.name().parse().map_err(pipeline::Error::from)?,
    };
    let progress = Progress::new(output);
    let report = |event: pipeline::Event<'_>| progress.show(&event);
    let run =
        Run::new(Store::open_to_look(&args.out), name.as_str(), Mode::Execute, &report).with_python(python());
    let exported =
        pipeline::export(&source, &args.variant, &args.export.options()?, &name, &args.out, &hub, &run)?;
    for warning in &exported.warnings {
        output.warn(warning);
    }
    output.result(&Summary(exported))?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.0;
        writeln!(f, "{}", file.path.display())?;
        writeln!(
            f,
            "  opset {}, {} nodes, {:.1} M parameters",
            file.opset,
            file.nodes,
            file.parameters as f64 / 1e6
        )?;
        for (word, values) in [("input", &file.inputs), ("output", &file.outputs)] {
            for value in values {
                writeln!(f, "  {word:<7} {value}")?;
            }
        }
        let (counters, others): (Vec<&String>, Vec<&String>) =
            file.ignored.iter().partition(|name| name.ends_with(COUNTER));
        if !counters.is_empty() {
            writeln!(f, "  not needed: {} × {COUNTER}", counters.len())?;
        }
        for name in others {
            writeln!(f, "  not needed: {name}")?;
        }
        Ok(())
    }
}
