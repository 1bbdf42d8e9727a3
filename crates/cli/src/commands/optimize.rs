//! `sightline optimize`: passes over an ONNX file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, ValueEnum};
use pipeline::graph::passes::Batch;
use pipeline::{ExternalData, Frozen, Halving, Optimized, Optimizing, Verdict};
use serde::Serialize;

use super::in_graph::{self, InGraphArgs};
use super::planner::{self, PlanArgs};
use crate::Failure;
use crate::output::Output;

/// Arguments of `optimize`.
#[expect(clippy::struct_excessive_bools, reason = "they are flags of the command line")]
#[derive(Debug, clap::Args)]
#[command(
    // Jobs that run the model on images, and those of them that take them from `--images`.
    group(ArgGroup::new("image_job").args(["fp16", "budget_map", "preprocess_in_graph", "suppress_in_graph"]).multiple(true)),
    group(ArgGroup::new("folder_job").args(["budget_map", "preprocess_in_graph", "suppress_in_graph"]).multiple(true))
)]
pub(crate) struct Args {
    /// An ONNX file; with `--fp16`, `--budget-map`, `--preprocess-in-graph` and `--suppress-in-graph` also a package
    model: PathBuf,
    /// Where the result goes (default: `<name>_optimized.onnx` beside MODEL)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// All passes that keep the outputs; the default when no other pass is named
    #[arg(long, help_heading = "Passes")]
    simplify: bool,
    /// The batch: a number, or `dynamic`
    #[arg(long, value_name = "N|dynamic", help_heading = "Passes", value_parser = batch)]
    batch: Option<Batch>,
    /// The operator set
    #[arg(long, value_name = "N", help_heading = "Passes")]
    opset: Option<i64>,
    /// Another name for an input or output; repeatable
    #[arg(long, value_name = "OLD=NEW", help_heading = "Passes", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Cut here: these values become the inputs
    #[arg(long, value_name = "VALUE,…", help_heading = "Passes", value_delimiter = ',')]
    extract_inputs: Vec<String>,
    /// Cut here: these values become the outputs
    #[arg(long, value_name = "VALUE,…", help_heading = "Passes", value_delimiter = ',')]
    extract_outputs: Vec<String>,
    /// Make an input a constant: one number, or an .npy file; repeatable
    #[arg(long, value_name = "INPUT=VALUE", help_heading = "Passes", value_parser = pair)]
    freeze: Vec<(String, String)>,
    /// Compute in float16 where the values on `--calibrate`'s images allow it: a run of its own
    #[arg(long, help_heading = "Precision", conflicts_with = "budget_map")]
    fp16: bool,
    /// With `--fp16`: what goes in and comes out is in float16 too
    #[arg(long, help_heading = "Precision", requires = "fp16")]
    half_io: bool,
    /// Weights into the ONNX file, or beside it
    #[arg(long, value_name = "HOW", help_heading = "Passes")]
    external_data: Option<Place>,
    /// Say what each pass did and where it stopped
    #[arg(long)]
    explain: bool,
    /// Do not compare the outputs with those of before
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    in_graph: InGraphArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Where weights go.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    /// Into the ONNX file
    Fold,
    /// Into a file beside it
    Split,
}

fn batch(text: &str) -> Result<Batch, String> {
    match (text, text.parse()) {
        ("dynamic", _) => Ok(Batch::Dynamic),
        (_, Ok(size @ 1..)) => Ok(Batch::Fixed(size)),
        _ => Err(format!("`{text}` is no batch: write a number or `dynamic`")),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{text}` is not of the form NAME=VALUE")),
    }
}

#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    made: Optimized,
    #[serde(skip)]
    explain: bool,
}

impl Args {
    /// Whether a pass was named.
    fn changes_the_graph(&self) -> bool {
        self.simplify || self.changes_more_than_nodes()
    }

    /// Whether a pass other than `simplify` was named.
    fn changes_more_than_nodes(&self) -> bool {
        !self.extract_inputs.is_empty()
            || !self.extract_outputs.is_empty()
            || !self.freeze.is_empty()
            || !self.rename.is_empty()
            || self.batch.is_some()
            || self.opset.is_some()
            || self.external_data.is_some()
    }

    /// The passes; `otherwise` is whether to simplify when no other pass is named.
    fn options(&self, otherwise: bool) -> Optimizing {
        let extract = (!self.extract_inputs.is_empty() || !self.extract_outputs.is_empty())
            .then(|| (self.extract_inputs.clone(), self.extract_outputs.clone()));
        let frozen = |value: &String| {
            value.parse().map_or_else(|_| Frozen::File(PathBuf::from(value)), Frozen::Number)
        };
        Optimizing {
            extract,
            freeze: self.freeze.iter().map(|(name, value)| (name.clone(), frozen(value))).collect(),
            batch: self.batch,
            opset: self.opset,
            simplify: self.simplify || (otherwise && !self.changes_more_than_nodes()),
            rename: self.rename.clone(),
            external: self.external_data.map(|place| match place {
                Place::Fold => ExternalData::Fold,
                Place::Split => ExternalData::Split,
            }),
            unchecked: self.unchecked,
        }
    }
}

fn beside(model: &Path) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    model.with_file_name(format!("{stem}_optimized.onnx"))
}

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    if args.fp16 || args.plan.budget_map.is_some() {
        if args.changes_the_graph() {
            return Err(pipeline::Error::Options(
                "`--fp16` and `--budget-map` are runs of their own: run the passes before, in another command"
                    .into(),
            )
            .into());
        }
        let half = Halving { half_io: args.half_io, ..Halving::default() };
        return planner::run(args.plan, &args.model, args.out, args.fp16.then_some(half), output);
    }
    if let Some(wanted) = args.in_graph.wanted() {
        let (subject, samples) = (args.plan.open(&args.model)?, args.plan.samples()?);
        let passes = args.options(false);
        return in_graph::run(
            (&args.model, &subject),
            &passes,
            &wanted,
            (samples, args.plan.backend()),
            args.out,
            output,
        );
    }
    let to = args.out.clone().unwrap_or_else(|| beside(&args.model));
    let made = pipeline::optimize(&args.model, &args.options(true), &to)?;
    if let (Verdict::NotRun, Some(reason), false) = (made.check.verdict, &made.check.reason, args.unchecked) {
        output.warn(&format!("the outputs were not compared: {reason}"));
    }
    output.result(&Summary { made, explain: args.explain })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = &self.made;
        writeln!(f, "{}", made.path.display())?;
        writeln!(f, "  {} nodes became {}, {:.2} s", made.nodes_before, made.nodes_after, made.seconds)?;
        if let (Some(difference), Some(bound)) = (made.check.difference, made.check.bound) {
            writeln!(f, "  outputs within {difference:.1e} of their scale ({bound:.1e} is allowed)")?;
        }
        for applied in made.passes.iter().filter(|_| self.explain) {
            writeln!(f, "  {:<18} {:.3} s", applied.pass, applied.seconds)?;
            for (pass, count) in applied.outcome.changes.iter().filter(|(pass, _)| **pass != applied.pass) {
                writeln!(f, "    {pass:<16} {count}")?;
            }
            for note in &applied.outcome.notes {
                writeln!(f, "    stopped short: {note}")?;
            }
        }
        Ok(())
    }
}
