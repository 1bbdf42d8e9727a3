//! `sightline bench`: latency and throughput.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pipeline::{Event, Figures, FromFiles, ImageSet, Load};
use serde::Serialize;

use super::shared::ModelArgs;
use crate::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of images [default: two scenes that come with the program]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Images in one run: a figure for each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 4], value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: Vec<u32>,
    /// Runs before counting
    #[arg(long, value_name = "N", default_value_t = 2)]
    warm_up: u32,
    /// Runs counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Most seconds of counting for each batch
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Threads of the backend [default: one a physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Measure the whole way too, from files to boxes: the next images are decoded by all cores while the graph runs
    #[arg(long)]
    from_files: bool,
    /// How many times the graph is loaded for --from-files; 2 keep a GPU busy while inputs are copied
    #[arg(long, value_name = "N", default_value_t = 1, requires = "from_files", value_parser = clap::value_parser!(u16).range(1..=16))]
    sessions: u16,
}

#[derive(Serialize)]
struct Table {
    machine: pipeline::runtime::Machine,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from_files: Vec<FromFiles>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let subject = args.model.open()?;
    let images = match &args.images {
        Some(folder) => ImageSet::of_folder(folder)?,
        None => ImageSet::built_in(),
    };
    let load = Load {
        batches: args.batch.iter().map(|batch| *batch as usize).collect(),
        warm_up: args.warm_up as usize,
        count: args.count as usize,
        at_most: Duration::from_secs(args.seconds),
        threads: args.threads.map(usize::from),
    };
    let progress = Progress::new(output);
    let figures = pipeline::bench(&subject, &images, &load, &args.model.backend, &|event: Event<'_>| {
        progress.show(&event);
    });
    progress.clear();
    let figures = figures?;
    let from_files = if args.from_files {
        pipeline::bench_files(&subject, &images, &load, usize::from(args.sessions), &args.model.backend)?
    } else {
        Vec::new()
    };
    output.result(&Table { machine: pipeline::runtime::Machine::detect(), figures, from_files })?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "{} {} on {}, loaded in {:.0} ms",
            figures.backend, figures.version, figures.device, figures.load_ms
        )?;
        writeln!(f, "batch  images/s    min ms   mean ms    p50 ms    p90 ms    p99 ms  runs")?;
        for l in &figures.batches {
            writeln!(
                f,
                "{:>5} {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>5}",
                l.protocol.batch,
                l.throughput,
                l.min_ms,
                l.mean_ms,
                l.p50_ms,
                l.p90_ms,
                l.p99_ms,
                l.protocol.count
            )?;
        }
        let image = figures.image;
        writeln!(
            f,
            "one image: decode {:.2} ms, preprocess {:.2} ms, graph {:.2} ms, boxes {:.2} ms",
            image.decode_ms, image.preprocess_ms, image.inference_ms, image.postprocess_ms
        )?;
        for whole in &self.from_files {
            writeln!(
                f,
                "from files to boxes, batch {}, graph loaded {}×: {:.1} images/s ({} images)",
                whole.batch, whole.sessions, whole.images_per_second, whole.images
            )?;
        }
        Ok(())
    }
}
