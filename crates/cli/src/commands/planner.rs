//! Precision of a model: `sightline optimize MODEL --fp16`, and the search of `--budget-map …`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use pipeline::deploy::{Plan, Precision};
use pipeline::{Annotations, Event, Halving, ImageSet, Load, Mode, PlanFiles, Planning, Run, Store, Subject};
use serde::Serialize;

use super::half;
use super::shared::{CalibrationArgs, DescribeArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, exit_code};

/// What the search needs besides the model.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Search for the fastest precision (fp32, fp16, INT8, INT8 with layers in floating point) that loses no more mAP
    /// than this: 0.005
    #[arg(long, value_name = "LOSS", help_heading = "Precision", value_parser = loss, requires_all = ["images", "annotations", "calibrate"])]
    pub(crate) budget_map: Option<f64>,
    /// The median time of one image that is wanted: 5ms
    #[arg(long, value_name = "TIME", help_heading = "Precision", value_parser = duration, requires = "budget_map")]
    budget_latency: Option<Duration>,
    /// Choose this precision whatever its speed here (fp16, int8): for another machine
    #[arg(long, value_name = "PRECISION", help_heading = "Precision", requires = "budget_map")]
    precision: Option<Precision>,
    /// Folder of images to score with; with `--preprocess-in-graph` and `--suppress-in-graph`, to compare on
    #[arg(long, value_name = "DIR", help_heading = "Precision", requires = "folder_job")]
    images: Option<PathBuf>,
    /// Their annotations in COCO form
    #[arg(long, value_name = "FILE", help_heading = "Precision", requires = "budget_map")]
    annotations: Option<PathBuf>,
    /// Folder of images, or a COCO file that names some, that ranges are taken from (or graphs compared on, as `--images`)
    #[arg(long, value_name = "PATH", help_heading = "Precision", requires = "image_job")]
    calibrate: Option<PathBuf>,
    /// Backend that runs the model, to compare, to score, to time (`sightline list backends`)
    #[arg(long, value_name = "NAME", default_value = "embedded")]
    backend: String,
    /// Most seconds of timing for each candidate
    #[arg(long, value_name = "SECONDS", help_heading = "Precision", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Time anew even where this machine has figures
    #[arg(long, help_heading = "Precision", requires = "budget_map")]
    remeasure: bool,
    #[command(flatten)]
    calibration: CalibrationArgs,
    #[command(flatten)]
    describe: DescribeArgs,
}

impl PlanArgs {
    /// The model with its description.
    pub(crate) fn open(&self, model: &Path) -> Result<Subject, pipeline::Error> {
        Subject::open(model, &self.describe.options()?)
    }

    /// The backend's name.
    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// At most `--count` of the images that were given, by whichever option.
    pub(crate) fn samples(&self) -> Result<Option<ImageSet>, pipeline::Error> {
        match (&self.images, &self.calibrate) {
            (Some(_), Some(_)) => {
                let reason = "`--images` and `--calibrate` name the same thing here: give one of them";
                Err(pipeline::Error::Options(reason.into()))
            }
            (Some(path), None) | (None, Some(path)) => self.calibration.sample(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn loss(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a loss of mAP from 0 to 1, such as 0.005".into()),
    }
}

/// `5ms`, `2.5ms`, `0.02s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write it as 5ms or 0.02s");
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => return Err(wrong()),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).map_err(|_| wrong()) } else { Err(wrong()) }
}

/// What is printed.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    files: PlanFiles,
    report: Option<PathBuf>,
    result: Plan,
}

/// Converts, or searches when a budget was given.
pub(crate) fn run(
    args: PlanArgs,
    model: &Path,
    out: Option<PathBuf>,
    fp16: Option<Halving>,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let subject = args.open(model)?;
    let Some(map_budget) = args.budget_map else {
        let options = args.calibration.options();
        let sample = |path: &PathBuf| ImageSet::sample(path, options.count, options.seed);
        let images = args.calibrate.as_ref().map(sample).transpose()?;
        let half = Halving { pinned: options.pinned, ..fp16.unwrap_or_default() };
        let to = out.unwrap_or_else(|| half::beside(model, &subject.name));
        return half::run(&subject, images, &half, &args.backend, &to, output);
    };
    let missing = |what| move || pipeline::Error::Options(format!("a search needs {what}"));
    let (folder, file) = (args.images.ok_or_else(missing("`--images`"))?, args.annotations);
    let annotations = Annotations::open(&file.ok_or_else(missing("`--annotations`"))?)?;
    let images = ImageSet::of_annotations(&folder, &annotations.dataset)?;
    let options = args.calibration.options();
    let calibrate = args.calibrate.ok_or_else(missing("`--calibrate`"))?;
    let calibration = ImageSet::sample(&calibrate, options.count, options.seed)?;
    let to = out.unwrap_or_else(|| beside(model, &subject.name));
    if std::fs::canonicalize(&to)
        .is_ok_and(|to| std::fs::canonicalize(&subject.onnx).is_ok_and(|of| of == to))
    {
        let reason = format!("`{}` is the model itself: the chosen graph needs another name", to.display());
        return Err(pipeline::Error::Options(reason).into());
    }
    let place = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));

    let progress = Progress::new(output);
    let tell = |event: Event<'_>| progress.show(&event);
    let waiting = || output.say("another job works in this folder: waiting for it");
    let store = Store::open(place, &waiting)?;
    let run = Run::new(store, &subject.name, Mode::Execute, &tell);
    let planning = Planning {
        map_budget,
        latency_budget: args.budget_latency,
        wanted: args.precision,
        backend: &args.backend,
        annotations: &annotations,
        images: &images,
        calibration: &calibration,
        options: &options,
        load: Load { at_most: Duration::from_secs(args.seconds), ..Load::default() },
        remeasure: args.remeasure,
    };
    let planned = pipeline::plan_precision(&subject, &planning, &run);
    progress.clear();
    let planned = planned?;
    let files = planned.write(&subject.name, &run.store, &to)?;
    let report = model.is_dir().then(|| pipeline::report_plan(model, &planned.plan)).transpose()?;
    let report = report.map(|_| model.join("reports/benchmark_report.html"));
    let is_found = planned.plan.chosen.is_some();
    output.result(&Summary { files, report, result: planned.plan })?;
    Ok(exit_code::passed(is_found))
}

/// `<name>_planned.onnx` beside the file or the package.
fn beside(model: &Path, name: &str) -> PathBuf {
    model.with_file_name(format!("{name}_planned.onnx"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.result;
        for said in &plan.conclusions {
            writeln!(f, "{said}")?;
        }
        let names = plan.candidates.iter().map(|candidate| candidate.name.chars().count());
        let widest = names.max().unwrap_or(0);
        writeln!(
            f,
            "\n  {:<widest$}  {:>6}  {:>8}  {:<19}  {:>9}  {:>6}",
            "candidate", "mAP", "lost", "(95 %)", "time", "speed"
        )?;
        for candidate in &plan.candidates {
            let interval = format!("({:+.4} to {:+.4})", candidate.loss_low, candidate.loss_high);
            let mark = match () {
                () if plan.chosen.as_ref() == Some(&candidate.name) => "*",
                () if candidate.front => "·",
                () => " ",
            };
            writeln!(
                f,
                "{mark} {:<widest$}  {:.4}  {:>+8.4}  {interval:<19}  {:>6.2} ms  {:>4.2} ×",
                candidate.name, candidate.map, candidate.loss, candidate.latency_ms, candidate.speed
            )?;
        }
        writeln!(f, "  * chosen, · no other one is both faster and more accurate\n")?;
        match &self.files.model {
            Some(model) => writeln!(f, "model   {}", model.display())?,
            None if plan.chosen.is_some() => writeln!(f, "model   as it is: no graph is written")?,
            None => {}
        }
        if let Some(cache) = &self.files.cache {
            writeln!(f, "cache   {}", cache.display())?;
        }
        writeln!(f, "plan    {}", self.files.plan.display())?;
        writeln!(f, "drawing {}", self.files.drawing.display())?;
        match &self.report {
            Some(report) => writeln!(f, "report  {}", report.display()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("2.5 ms"), Ok(Duration::from_micros(2500)));
        assert_eq!(duration("0.02s"), Ok(Duration::from_millis(20)));
        for wrong in ["5", "ms", "-1ms", "0s", "nans", "infs", "1e300s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
