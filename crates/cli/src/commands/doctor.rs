//! `sightline doctor`: what this machine can do, and what repairs what is missing.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use pipeline::doctor::{Diagnosis, Finding, Job, Looking, State};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, env, exit_code};

/// Variables that hold credentials.
const CREDENTIALS: &[&str] = &["HF_TOKEN", "NGC_API_KEY"];

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A package or an engine: whether its engines are of use on this machine
    subject: Option<PathBuf>,
    /// The jobs that this machine is to do: exit code 30 when it cannot
    #[arg(long = "for", value_name = "JOB,…", value_delimiter = ',', value_parser = job)]
    jobs: Vec<Job>,
}

#[derive(Serialize)]
struct Examined {
    /// Whether everything that was asked for is there.
    passed: bool,
    #[serde(flatten)]
    diagnosis: Diagnosis,
    #[serde(skip)]
    asked: Vec<Job>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<ExitCode, Failure> {
    let looking = Looking {
        path: env::lookup("PATH").map(Into::into),
        trtexec: env::lookup("SIGHTLINE_TRTEXEC").map(Into::into),
        folders: vec![
            ("packages", "models".into()),
            ("environments", env::cache()),
            ("libraries", env::libraries()),
        ],
        ros: env::lookup("ROS_DISTRO"),
        credentials: CREDENTIALS.iter().copied().filter(|name| env::lookup(name).is_some()).collect(),
    };
    let diagnosis = pipeline::doctor::examine(&looking, args.subject.as_deref())?;
    let engines_fit = diagnosis.engines.iter().all(|engine| engine.state != State::Wrong);
    let passed = engines_fit && args.jobs.iter().all(|job| !diagnosis.not_possible.contains(job));
    let asked = args.jobs.clone();
    output.result(&Examined { passed, diagnosis, asked })?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(exit_code::NOT_HERE) })
}

fn job(text: &str) -> Result<Job, String> {
    let known = || Job::ALL.iter().map(|job| job.name()).collect::<Vec<_>>().join(", ");
    Job::ALL.iter().copied().find(|job| job.name() == text).ok_or_else(|| format!("the jobs are {}", known()))
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.diagnosis.machine {
            line(f, finding)?;
        }
        for engine in &self.diagnosis.engines {
            line(f, engine)?;
        }
        let names = |jobs: &[Job]| jobs.iter().map(|job| job.name()).collect::<Vec<_>>().join(", ");
        let not_possible = &self.diagnosis.not_possible;
        let possible: Vec<Job> = Job::ALL.iter().copied().filter(|job| !not_possible.contains(job)).collect();
        writeln!(f, "possible here      {}", names(&possible))?;
        if !not_possible.is_empty() {
            writeln!(f, "not possible here  {}", names(not_possible))?;
        }
        for job in self.asked.iter().filter(|job| not_possible.contains(job)) {
            let lacking = self
                .diagnosis
                .machine
                .iter()
                .filter(|finding| finding.state != State::Ok && finding.needed_for.contains(job));
            let lacking = lacking.map(|finding| finding.name.as_str()).collect::<Vec<_>>().join(", ");
            writeln!(f, "{} wants: {lacking}", job.name())?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let state = match finding.state {
        State::Ok => "ok",
        State::Missing => "missing",
        State::Wrong => "WRONG",
    };
    writeln!(f, "{state:<8} {:<20} {}", finding.name, finding.found)?;
    finding.repair.iter().try_for_each(|repair| writeln!(f, "{:<29} → {repair}", ""))
}
