//! One file a command: its arguments, what it runs, how the result reads.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod clean;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod detect;
pub(crate) mod doctor;
mod engine;
pub(crate) mod eval;
pub(crate) mod export;
mod half;
pub(crate) mod import;
mod in_graph;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod optimize;
mod planner;
pub(crate) mod quantize;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod runtime;
mod shared;
pub(crate) mod verify;

use std::process::ExitCode;

use crate::Failure;
use crate::args::Command;
use crate::output::Output;

/// Runs a command.
pub(crate) fn run(command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Import(args) => import::run(*args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Export(args) => export::run(args, output),
        Command::Optimize(args) => optimize::run(args, output),
        Command::Quantize(args) => quantize::run(args, output),
        Command::Detect(args) => detect::run(&args, output),
        Command::Eval(args) => eval::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Build(args) => build::run(*args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Deploy(args) => deploy::run(&args, output),
        Command::Report(args) => report::run(&args, output),
        Command::Run(args) => run::run(args, output),
        Command::Runtime(args) => runtime::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::List(args) => list::run(&args, output),
        Command::Clean(args) => clean::run(&args, output),
        Command::Completions(args) => completions::run(&args),
    }
}
