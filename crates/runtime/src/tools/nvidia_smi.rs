//! `nvidia-smi`: which graphics processors of NVIDIA this machine has.
//!
//! The program can hang for minutes when a driver is broken, so it is given a few seconds and then ended.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::machine::Gpu;
use crate::tools::programs;

const TOOL: &str = "nvidia-smi";
const PATIENCE: Duration = Duration::from_secs(10);
const FIELDS: &str = "name,memory.total,driver_version,compute_cap";

/// The graphics processors in the driver's order; none when the program is not installed.
///
/// # Errors
/// [`Error::Tool`] when it is installed and fails, hangs or answers in an unknown form.
pub fn gpus() -> Result<Vec<Gpu>, Error> {
    match ask(TOOL, FIELDS)? {
        None => Ok(Vec::new()),
        Some(answer) => parse(&answer),
    }
}

/// The memory of each graphics processor that no program uses at the moment, in MiB, in the driver's order; `None` where
/// the driver does not know it (Jetson). Empty when the program is not installed.
///
/// # Errors
/// As [`gpus`].
pub fn free_memory_mib() -> Result<Vec<Option<u64>>, Error> {
    let answer = ask(TOOL, "memory.free")?.unwrap_or_default();
    Ok(answer.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.parse().ok()).collect())
}

/// The newest CUDA that the driver runs, as `13.0`; `None` without the program or an answer.
pub fn cuda(path: Option<&OsStr>) -> Option<String> {
    let program = programs::find(TOOL, path, &[])?;
    cuda_in(&programs::lines(&program, &[])?)
}

/// Of `| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: 13.0 |`.
fn cuda_in(lines: &[String]) -> Option<String> {
    let rest = lines.iter().find_map(|line| line.split_once("CUDA Version:"))?.1;
    rest.split_whitespace()
        .next()
        .filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}

/// How busy the first graphics processor and its video decoder are, in percent of the time; `None` where the driver does not
/// tell or the program is not installed.
///
/// # Errors
/// As [`gpus`].
pub fn busy() -> Result<Option<(f64, f64)>, Error> {
    let answer = ask(TOOL, "utilization.gpu,utilization.decoder")?.unwrap_or_default();
    Ok(answer.lines().next().and_then(busy_of))
}

/// `97, 41`
fn busy_of(line: &str) -> Option<(f64, f64)> {
    let (gpu, decoder) = line.split_once(',')?;
    Some((gpu.trim().parse().ok()?, decoder.trim().parse().ok()?))
}

/// What `program` answers; `None` when it is not installed.
fn ask(program: &str, fields: &str) -> Result<Option<String>, Error> {
    let failed = |reason: String| Error::Tool { tool: TOOL, reason };
    let child = Command::new(program)
        .arg(format!("--query-gpu={fields}"))
        .arg("--format=csv,noheader,nounits")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let deadline = Instant::now() + PATIENCE;
    // A line a processor fits the pipe, so waiting before reading cannot block the program.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            outcome => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(match outcome {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("no answer within {} s", PATIENCE.as_secs()),
                }));
            }
        }
    };
    let mut answer = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut answer).map_err(|error| failed(error.to_string()))?;
    }
    if status.success() { Ok(Some(answer)) } else { Err(failed(format!("{status}: {}", answer.trim()))) }
}

fn parse(answer: &str) -> Result<Vec<Gpu>, Error> {
    answer.lines().filter(|line| !line.trim().is_empty()).map(parse_line).collect()
}

/// `NVIDIA H200, 143771, 580.159.04, 9.0`. A field that the driver does not know is `[N/A]` or `[Not Supported]`.
fn parse_line(line: &str) -> Result<Gpu, Error> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [name, memory, driver, capability] = fields[..] else {
        return Err(Error::Tool { tool: TOOL, reason: format!("unknown answer `{line}`") });
    };
    let known = |field: &str| (!field.is_empty() && !field.starts_with('[')).then(|| field.to_owned());
    Ok(Gpu {
        name: name.to_owned(),
        memory_mib: memory.parse().ok(),
        driver: driver.to_owned(),
        compute_capability: known(capability),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        // The first line is what driver 580 prints on an H200.
        let answer = "NVIDIA H200, 143771, 580.159.04, 9.0\nOrin (nvgpu), [N/A], 540.4.0, [N/A]\n\n";
        let gpus = parse(answer).unwrap();
        assert_eq!(
            gpus,
            [
                Gpu {
                    name: "NVIDIA H200".into(),
                    memory_mib: Some(143_771),
                    driver: "580.159.04".into(),
                    compute_capability: Some("9.0".into()),
                },
                Gpu {
                    name: "Orin (nvgpu)".into(),
                    memory_mib: None,
                    driver: "540.4.0".into(),
                    compute_capability: None
                },
            ]
        );
        assert!(parse("").unwrap().is_empty());
        assert!(parse("Field \"x\" is not a valid field to query.").is_err());
    }

    #[test]
    fn the_driver_says_which_cuda_it_runs() {
        let header = "| NVIDIA-SMI 580.159.04      Driver Version: 580.159.04      CUDA Version: 13.0     |";
        assert_eq!(cuda_in(&["+---+".into(), header.into()]).as_deref(), Some("13.0"));
        let unknown = "| NVIDIA-SMI 470.1   Driver Version: 470.1   CUDA Version: N/A |";
        assert_eq!(cuda_in(&[unknown.into()]), None);
    }

    #[test]
    fn a_decoder_that_is_not_told_of_is_unknown() {
        assert_eq!(busy_of("97, 41"), Some((97.0, 41.0)));
        assert_eq!(busy_of("97, [N/A]"), None);
        assert_eq!(busy_of(""), None);
    }

    #[test]
    fn a_program_that_is_not_there_or_fails_is_told_apart() {
        assert!(matches!(ask("no-such-program-on-any-machine", FIELDS), Ok(None)));
        assert!(matches!(ask("false", FIELDS), Err(Error::Tool { .. })));
        // `echo` answers at once, with its arguments.
        assert!(ask("echo", FIELDS).unwrap().unwrap().contains(FIELDS));
    }
}
