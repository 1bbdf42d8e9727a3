//! `sightline build`: TensorRT engines.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::builder::PossibleValuesParser;
use pipeline::deploy::{Check, Precision, TrtexecRun, Verdict};
use pipeline::runtime;
use pipeline::runtime::tools::{tao_converter, tensorrt_rtx, trtexec::Trtexec};
use pipeline::{
    BUILDERS, Batches, Builder, Building, Built, Capabilities, Converted, Converting, Error, Event, ImageSet,
    PlannedEngine,
};
use serde::Serialize;

use super::shared::{BoundArgs, DescribeArgs, bound, number, on_interrupt};
use crate::args::Size;
use crate::output::Output;
use crate::progress::{Progress, seconds};
use crate::{Failure, env, exit_code};

/// Arguments of `build`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Args {
    /// A package, an ONNX file, or an encrypted `.etlt` file of NVIDIA TAO
    model: PathBuf,
    /// What builds the engine
    #[arg(long, value_name = "NAME", default_value = "trtexec", value_parser = PossibleValuesParser::new(BUILDERS))]
    backend: String,
    /// The program for `trtexec` [default: the one on PATH, else in /usr/src/tensorrt/bin]
    #[arg(long, value_name = "PATH")]
    trtexec: Option<PathBuf>,
    /// What `tensorrt-rtx` builds for, an engine each; `8.6+8.9` is one engine for both [default: the GPU of this machine]
    #[arg(long, value_name = "CAPABILITIES", value_delimiter = ',')]
    compute_capability: Vec<Capabilities>,
    /// What the engine computes with: fp32, fp16 or int8
    #[arg(long, value_name = "PRECISION", default_value = "fp16")]
    precision: Precision,
    /// The batches that it takes: MIN:OPT:MAX, or MAX alone [default: 1:64:64, by `trtexec` doubled up to 512 while the
    /// engine would serve more 30 fps streams than that]
    #[arg(long, value_name = "BATCHES", conflicts_with = "static_batch")]
    batch: Option<Batches>,
    /// One batch only, fixed in the graph
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    static_batch: Option<u32>,
    /// Limit of the workspace in MiB; never more than the free memory allows [default: 32768]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    workspace: Option<u64>,
    /// Image size of a graph that leaves it open: width and height in pixels (640x480), or one number for a square
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// How hard the builder tries, 0 to 5 [default: TensorRT's own, 3]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(0..=5))]
    level: Option<u32>,
    /// Library of a plug-in; repeatable
    #[arg(long, value_name = "FILE")]
    plugin: Vec<PathBuf>,
    /// Scales for int8 up to TensorRT 10 [default: the package's `config/calibration.cache`]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Numbers of the GPUs to build for; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',')]
    gpu: Vec<u32>,
    /// Folder for what is built from an ONNX file [default: here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print what would be built and by which command, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Build again, also when an earlier build answers
    #[arg(long)]
    fresh: bool,
    /// Leave out the timing, and the search for a larger batch
    #[arg(long)]
    no_timing: bool,
    /// Leave out the comparison of the engine's answers with those of the graph
    #[arg(long)]
    no_compare: bool,
    /// Folder of images to compare answers on [default: two scenes that come with the program]
    #[arg(long, value_name = "DIR", help_heading = "Verification")]
    images: Option<PathBuf>,
    /// Compare on at most this many images
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Verification", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Backend that runs the graph for comparison
    #[arg(long, value_name = "NAME", default_value = "embedded", help_heading = "Verification")]
    reference: String,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    describe: DescribeArgs,
    #[command(flatten)]
    tao: TaoArgs,
}

/// What an `.etlt` file needs to be told; else `nvinfer_config.txt` beside it is asked.
#[derive(Debug, clap::Args)]
struct TaoArgs {
    /// Key of an `.etlt` file
    #[arg(long, value_name = "KEY", help_heading = "TAO")]
    key: Option<String>,
    /// Its channels, height and width: 3,544,960
    #[arg(long, value_name = "C,H,W", help_heading = "TAO", value_delimiter = ',', num_args = 1)]
    dims: Vec<u32>,
    /// Names of its outputs, with commas
    #[arg(long, value_name = "NAMES", help_heading = "TAO", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Name of its input
    #[arg(long, value_name = "NAME", help_heading = "TAO")]
    input: Option<String>,
}

#[derive(Serialize)]
struct Engines {
    passed: bool,
    engines: Vec<Built>,
}

/// What `--dry-run` prints.
#[derive(Serialize)]
struct Plan {
    engines: Vec<PlannedEngine>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.engines {
            let word = if planned.reuse { "reuse" } else { "build" };
            writeln!(f, "{word}  {} from {}, for {}", planned.engine, planned.source, planned.gpu)?;
            if let Some(command) = &planned.command {
                writeln!(f, "       {command}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let cancelled = on_interrupt()?;
    if args.model.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("etlt")) {
        return convert(&args, &cancelled, output);
    }
    // A missing model is told before a missing builder.
    if let Err(source) = std::fs::metadata(&args.model) {
        return Err(Error::Io { path: args.model, source }.into());
    }
    let builder = args.builder()?;
    output.say(&format!("    build  TensorRT {} ({})", builder.version(), builder.place().display()));
    let images = match &args.images {
        Some(folder) => ImageSet::of_folder(folder)?,
        None => ImageSet::built_in(),
    };
    let (model, dry_run) = (args.model.clone(), args.dry_run);
    let options = args.building(images)?;
    if dry_run {
        output.result(&Plan { engines: pipeline::plan_build(&model, &options, &builder)? })?;
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let built = pipeline::build(&model, &options, &builder, &cancelled, &tell);
    progress.clear();
    let engines = built?;
    // Deployments run the engine of this machine.
    if model.is_dir() && matches!(builder, Builder::Trtexec(_)) {
        output.say(&format!(
            "    build  `sightline deploy {}` names this engine in the deployments",
            model.display()
        ));
    }
    let passed = engines.iter().all(|engine| engine.passed);
    output.result(&Engines { passed, engines })?;
    Ok(exit_code::passed(passed))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Etlt(Converted);

/// An engine of an encrypted model, or the command that makes one where `tao-converter` is.
fn convert(args: &Args, cancelled: &AtomicBool, output: &Output) -> Result<ExitCode, Failure> {
    let dims = match args.tao.dims[..] {
        [] => None,
        [channels, height, width] => Some([channels, height, width]),
        _ => return Err(Error::Options("`--dims` takes three numbers: 3,544,960".into()).into()),
    };
    let options = Converting {
        key: args.tao.key.clone(),
        dims,
        outputs: args.tao.outputs.clone(),
        input: args.tao.input.clone(),
        batches: args.batch.unwrap_or(Batches::up_to(1)),
        precision: args.precision,
        calibration: args.calibration.clone(),
        out: args.out.clone().unwrap_or(".".into()),
    };
    let path = env::lookup("PATH");
    let program = if args.dry_run { None } else { tao_converter::find(path.as_ref().map(AsRef::as_ref)) };
    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let converted = pipeline::convert_etlt(&args.model, &options, program.as_deref(), cancelled, &tell)?;
    progress.clear();
    let is_made = converted.engine.is_some();
    output.result(&Etlt(converted))?;
    if is_made || args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    output.warn("there is no `tao-converter` on this machine: run the command where it is");
    Ok(ExitCode::from(exit_code::NOT_HERE))
}

impl fmt::Display for Etlt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.engine {
            Some(engine) => writeln!(f, "{}", engine.display()),
            None => writeln!(f, "{}", self.0.command),
        }
    }
}

impl Args {
    /// What builds: the program, or the library where this one has the bindings.
    fn builder(&self) -> Result<Builder, Error> {
        if self.backend == tensorrt_rtx::NAME {
            let library = super::runtime::tensorrt_rtx_library();
            // A program without the bindings says that before it says what is not installed.
            if tensorrt_rtx::Builder::IS_COMPILED && library.is_none() {
                let places = "among the installed libraries".to_owned();
                return Err(runtime::Error::ToolMissing { tool: tensorrt_rtx::NAME, places }.into());
            }
            return Ok(Builder::TensorRtRtx(tensorrt_rtx::Builder::open(&library.unwrap_or_default())?));
        }
        let named = self.trtexec.clone().or_else(|| env::lookup("SIGHTLINE_TRTEXEC").map(PathBuf::from));
        let path = env::lookup("PATH");
        Ok(Builder::Trtexec(Trtexec::find(named.as_deref(), path.as_ref().map(AsRef::as_ref))?))
    }

    fn building(self, images: ImageSet) -> Result<Building, Failure> {
        Ok(Building {
            precision: self.precision,
            batches: self.batch,
            static_batch: self.static_batch,
            workspace_mib: self.workspace,
            size: self.size.map(|size| (size.width, size.height)),
            level: self.level,
            plugins: absolute(self.plugin)?,
            calibration: self.calibration,
            gpus: self.gpu,
            targets: self.compute_capability,
            out: self.out,
            describe: self.describe.options()?,
            images,
            limit: self.limit as usize,
            bounds: self.bounds.all(),
            reference: self.reference,
            timed: !self.no_timing,
            compared: !self.no_compare,
            fresh: self.fresh,
            command_line: super::import::command_line(std::env::args_os().skip(1)),
        })
    }
}

fn absolute(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let each = files
        .into_iter()
        .map(|file| std::fs::canonicalize(&file).map_err(|source| Error::Io { path: file, source }.into()));
    each.collect()
}

impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for engine in &self.engines {
            one(f, engine)?;
        }
        writeln!(f, "{}", if self.passed { "no check failed" } else { "a check failed" })
    }
}

fn one(f: &mut fmt::Formatter<'_>, built: &Built) -> fmt::Result {
    let engine = &built.tensorrt.engine;
    writeln!(f, "{}", built.folder.join(&engine.path).display())?;
    let time = std::time::Duration::try_from_secs_f64(engine.build_seconds).unwrap_or_default();
    writeln!(
        f,
        "  {}, batch up to {}, {:.1} MB, built in {} {} {}",
        engine.precision,
        engine.max_batch,
        engine.bytes as f64 / 1e6,
        seconds(time),
        if built.untimed.is_some() { "for" } else { "on" },
        built.gpu
    )?;
    for retry in engine.build.iter().flat_map(|build| &build.retries) {
        writeln!(f, "  retried  {}: {}", retry.because, retry.then)?;
    }
    if let Some(why) = built.untimed {
        writeln!(f, "  not timed: {why}")?;
    }
    let one = built.tensorrt.batch_1.filter(|run| run.batch != engine.max_batch);
    let figures: Vec<&TrtexecRun> = one.iter().chain(&built.tried).collect();
    if !figures.is_empty() {
        writeln!(f, "  batch  queries/s   images/s  GPU mean ms   GPU p99 ms")?;
    }
    for run in figures {
        writeln!(
            f,
            "  {:>5} {:>10.1} {:>10.1} {:>12.3} {:>12.3}",
            run.batch,
            run.qps,
            run.images_per_second(),
            run.gpu_mean_ms,
            run.gpu_p99_ms
        )?;
    }
    if let Some(streams) = built.peak_gpu_streams {
        writeln!(f, "  {streams} streams of 30 fps, as far as the GPU goes")?;
    }
    built.tensorrt.checks.iter().try_for_each(|check| checked(f, check))
}

fn checked(f: &mut fmt::Formatter<'_>, check: &Check) -> fmt::Result {
    let verdict = match &check.verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Fail => "FAIL".to_owned(),
        Verdict::NotRun { reason } => format!("not run: {reason}"),
    };
    let value = check.value.map_or("–".into(), number);
    let bound = check.bound.map(bound).unwrap_or_default();
    writeln!(f, "  {verdict:<8}{value:>10}  {bound:<10} {} ({})", check.name, check.subject)
}
