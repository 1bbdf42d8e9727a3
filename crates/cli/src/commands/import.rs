//! `sightline import`: the whole job.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pipeline::deploy::{Manifest, Measurements, PackageName, Precision, Verdict};
use pipeline::{Built, Calibrating, Error, Event, Imported, Load, Mode, Request, Run, Store};
use serde::Serialize;

use super::engine::{self, Engine};
use super::shared::{BoundArgs, CalibrationArgs, ExportArgs, bound, hub_config, number, python, source};
use crate::args::Size;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, exit_code};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Hugging Face id or URL, NGC catalog URL, folder or file
    source: String,
    /// Folder that the package goes to
    #[arg(long, value_name = "DIR", default_value = "models")]
    out: PathBuf,
    /// Name of the package [default: the source's own]
    #[arg(long, value_name = "NAME")]
    name: Option<PackageName>,
    /// Print what each step would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Folder of images to verify and measure with
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    images: Option<PathBuf>,
    /// COCO annotations of those images: adds mAP
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "images")]
    annotations: Option<PathBuf>,
    /// Evaluate at most this many images
    #[arg(long, value_name = "N", help_heading = "Data", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Which ONNX file of a repository: fp32, fp16, int8, quantized …, `seeds` (fp16 first), or a file name
    #[arg(long, value_name = "VARIANT", help_heading = "Export", default_value = "default")]
    variant: pipeline::hub::VariantPreference,
    #[command(flatten)]
    export: ExportArgs,
    /// Precisions that are delivered, with commas; fp32 always is
    #[arg(long, value_name = "PRECISION", value_delimiter = ',', default_value = "fp32")]
    precision: Vec<Precision>,
    /// Folder of images, or a COCO file that names some, that fp16 and int8 take their ranges from
    #[arg(long, value_name = "PATH", help_heading = "Calibration")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    calibration: CalibrationArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Where it is deployed to; several with commas [default: everywhere]
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Option<Vec<String>>,
    /// Size of the frames, for targets that process video (DeepStream, Isaac ROS)
    #[arg(long, value_name = "WxH", default_value_t = Size::USUAL_FRAME)]
    frame: Size,
    /// Whether a TensorRT engine is built too, compared with the graph and timed
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    engine: Engine,
    /// Backend that verifies, scores and measures
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    backend: String,
    /// The larger of the two batches that are verified and measured
    #[arg(long, value_name = "N", help_heading = "Measurement", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    max_batch: u32,
    /// Most seconds of counting for each batch
    #[arg(long, value_name = "SECONDS", help_heading = "Measurement", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Take new figures even when this machine has some
    #[arg(long, help_heading = "Measurement")]
    remeasure: bool,
}

/// What `import` prints.
#[derive(Serialize)]
struct Summary {
    package: PathBuf,
    passed: bool,
    manifest: Manifest,
    measurements: Measurements,
    /// The engines that were built this time.
    engines: Vec<Built>,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let hub = hub_config()?;
    let (dry_run, engine) = (args.dry_run, args.engine);
    let request = request(args, &hub, output)?;
    let progress = Progress::new(output);
    let report = |event: Event<'_>| progress.show(&event);
    let name = pipeline::package_name(&request)?;
    if dry_run {
        let mut steps = plan(&request, &hub, name.as_str())?;
        if engine == Engine::Auto && engine::builder(&request).is_ok_and(|builder| builder.is_some()) {
            let because = Some("unless the package has an engine".to_owned());
            steps.push(PlannedStep { step: "build", reuse: false, because });
        }
        output.result(&Plan { steps })?;
        return Ok(ExitCode::SUCCESS);
    }
    let waiting = || output.say("another import works in this folder: waiting for it");
    let store = Store::open(&request.out, &waiting)?;
    let run = Run::new(store, name.as_str(), Mode::Execute, &report).with_python(python());
    let imported = pipeline::import(&request, &hub, &run);
    progress.clear();
    let mut made = (imported?, Vec::new());
    if engine == Engine::Auto {
        // The build opens the store again.
        drop(run);
        made = engine::add(made.0, &request, output)?;
    }
    let (imported, engines) = made;
    let passed = imported.passed();
    let Imported { folder, manifest, measurements } = imported;
    output.result(&Summary { package: folder, passed, manifest, measurements, engines })?;
    Ok(exit_code::passed(passed))
}

/// What each step would do.
fn plan(request: &Request, hub: &pipeline::hub::Config, name: &str) -> Result<Vec<PlannedStep>, Error> {
    let steps = RefCell::new(Vec::new());
    let collect = |event: Event<'_>| {
        if let Event::Planned { step, reuse, because } = event {
            steps.borrow_mut().push(PlannedStep { step, reuse, because });
        }
    };
    let run = Run::new(Store::open_to_look(&request.out), name, Mode::Plan, &collect);
    pipeline::plan(request, hub, &run)?;
    drop(run);
    Ok(steps.into_inner())
}

/// What `--dry-run` prints.
#[derive(Serialize)]
struct Plan {
    steps: Vec<PlannedStep>,
}

#[derive(Serialize)]
struct PlannedStep {
    step: &'static str,
    /// Whether a record answers; otherwise it runs.
    reuse: bool,
    /// Why it runs.
    because: Option<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.steps {
            let word = if planned.reuse { "reuse" } else { "run" };
            let why = planned.because.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            writeln!(f, "{:>9}  {word}{why}", planned.step)?;
        }
        Ok(())
    }
}

fn request(args: Args, hub: &pipeline::hub::Config, output: &Output) -> Result<Request, Error> {
    let command_line = command_line(std::env::args_os().skip(1));
    Ok(Request {
        source: source(&args.source, hub, output)?,
        variant: args.variant,
        name: args.name,
        out: args.out,
        export: args.export.options()?,
        images: args.images,
        annotations: args.annotations,
        limit: args.limit.map(|limit| limit as usize),
        backend: args.backend,
        bounds: args.bounds.all(),
        precisions: args.precision,
        calibration: args.calibrate.map(|images| Calibrating { images, options: args.calibration.options() }),
        max_batch: args.max_batch as usize,
        load: Load { at_most: Duration::from_secs(args.seconds), ..Load::default() },
        remeasure: args.remeasure,
        targets: args.target,
        frame: (args.frame.width, args.frame.height),
        command_line,
    })
}

/// The command line as it can be pasted into a shell, without what changes only how it talks: the report must not differ
/// for that.
pub(super) fn command_line(words: impl Iterator<Item = OsString>) -> String {
    let talk = ["--json", "--quiet", "--verbose", "--dry-run", "--remeasure", "--fresh"];
    let quoted = |word: String| {
        let plain =
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c));
        if plain { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let mut after_color = false;
    let words = words.filter(move |word| {
        let value = std::mem::replace(&mut after_color, word == "--color");
        let switches =
            word.strip_prefix('-').is_some_and(|s| !s.is_empty() && s.chars().all(|c| "qv".contains(c)));
        !(value || switches || talk.contains(&word.as_str()) || word.starts_with("--color"))
    });
    std::iter::once("sightline".to_owned()).chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = &self.manifest.checks;
        let failed: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
        let input = &self.manifest.detector.input;
        writeln!(f, "package     {}", self.package.display())?;
        writeln!(
            f,
            "model       {}, input {}×{}, {} classes",
            self.manifest.detector.architecture,
            input.width,
            input.height,
            self.manifest.detector.labels.len()
        )?;
        let passed = checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
        let not_run = match checks.len() - passed - failed.len() {
            0 => String::new(),
            count => format!(", {count} not run (the manifest says why)"),
        };
        writeln!(f, "checks      {passed} passed, {} failed{not_run}", failed.len())?;
        for check in failed {
            let value = check.value.map_or("–".into(), number);
            let bound = check.bound.map(bound).unwrap_or_default();
            writeln!(f, "  failed    {} ({}): {value}, wanted {bound}", check.name, check.subject)?;
        }
        for accuracy in &self.manifest.accuracy {
            let score = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
            let precision = self.manifest.artefact(&accuracy.subject).and_then(|artefact| artefact.precision);
            let change = accuracy.change.map_or(String::new(), |change| {
                format!(", {:+.4} (95 % {:+.4} to {:+.4})", change.map, change.low, change.high)
            });
            writeln!(
                f,
                "accuracy    {} mAP {}, AP50 {} on {} images{change}",
                precision.map_or(String::new(), |precision| precision.to_string()),
                score(accuracy.metrics.map),
                score(accuracy.metrics.ap50),
                accuracy.dataset.images
            )?;
        }
        for figure in &self.measurements.figures {
            writeln!(
                f,
                "speed       {} {} batch {}: {:.1} images/s, p50 {:.1} ms",
                figure.precision,
                figure.backend,
                figure.batch,
                figure.images_per_second,
                figure.latency.p50_ms
            )?;
        }
        for built in &self.engines {
            let engine = &built.tensorrt.engine;
            let speed = built.tensorrt.batch_max.map_or(String::new(), |run| {
                format!(": {:.1} images/s at batch {}", run.images_per_second(), run.batch)
            });
            writeln!(
                f,
                "engine      {} TensorRT, batch up to {}{speed}",
                engine.precision, engine.max_batch
            )?;
            for check in built.tensorrt.checks.iter().filter(|check| check.verdict == Verdict::Fail) {
                writeln!(f, "  failed    {} ({})", check.name, check.subject)?;
            }
        }
        writeln!(f, "report      {}", self.package.join("reports/benchmark_report.html").display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_command_line_can_be_pasted_and_leaves_talk_out() {
        let words = [
            "import",
            "a b",
            "it's",
            "--json",
            "-qv",
            "--color",
            "never",
            "--out",
            "/tmp/x",
            "--color=never",
        ];
        let line = command_line(words.iter().map(OsString::from));
        assert_eq!(line, r"sightline import 'a b' 'it'\''s' --out /tmp/x");
    }
}
