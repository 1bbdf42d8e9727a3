//! `sightline`: arguments in, data on stdout, talk on stderr, a documented exit code out.

mod args;
mod commands;
mod env;
mod exit_code;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use output::Output;

/// Why a command stopped.
#[derive(Debug)]
enum Failure {
    /// The job could not be done.
    Job(pipeline::Error),
    /// Its result could not be printed.
    Print(std::io::Error),
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Self {
        Self::Job(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Print(error)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(&cli.global);
    commands::runtime::name_library();
    pipeline::runtime::keep_memory();
    match commands::run(cli.command, &output) {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(Failure::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Print(error)) => {
            output.error(&format!("stdout: {error}"), None);
            ExitCode::from(1)
        }
        Err(Failure::Job(error)) => {
            output.error(&pipeline::chain(&error), error.hint().as_deref());
            ExitCode::from(error.exit_code())
        }
    }
}
