//! Running `trtexec`: every line goes to a log, phases are told, success is exit 0 and `&&&& PASSED` together.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Cause, Failure, Log, Phase, Trtexec};
use crate::Error;
use crate::tools::child::{self, Ended, Ending, Heard};

/// How a run is done.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The folder that it runs in.
    pub folder: &'a Path,
    /// The file that gets everything that it prints, also when it fails.
    pub log: &'a Path,
    /// How long it may take.
    pub limit: Duration,
    /// Set by someone else to end it.
    pub cancelled: &'a AtomicBool,
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It begins to do something else.
    Phase(Phase),
    /// Time goes by; told several times a second.
    Tick,
}

impl Trtexec {
    /// Runs it with these arguments.
    ///
    /// # Errors
    /// [`Error::Trtexec`] with the cause, where it is known; [`Error::Cancelled`]; [`Error::ToolUnusable`] when it does not
    /// start; [`Error::Write`] for the log.
    pub fn run(
        &self,
        arguments: &[OsString],
        running: &Running<'_>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Log, Error> {
        let write = |source| Error::Write { path: running.log.to_owned(), source };
        let mut file = BufWriter::new(File::create(running.log).map_err(write)?);
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(running.folder);
        let (mut log, mut written, mut phase) = (Log::default(), Ok(()), Phase::Starting);
        let ended = child::run(&mut command, running.limit, Some(running.cancelled), &mut |heard| {
            let Heard::Line(line) = heard else { return tell(Event::Tick) };
            if written.is_ok() {
                written = writeln!(file, "{line}");
            }
            log.hear(line);
            if let Some(next) = Phase::begun_by(line).filter(|next| *next > phase) {
                phase = next;
                tell(Event::Phase(next));
            }
        });
        let ended = ended.map_err(|error| Error::ToolUnusable {
            tool: "trtexec",
            program: self.program.clone(),
            reason: error.to_string(),
        })?;
        written.and_then(|()| file.flush()).map_err(write)?;
        if ended.ending == Ending::Cancelled {
            return Err(Error::Cancelled);
        }
        if ended.is_success() && log.passed {
            return Ok(log);
        }
        Err(Error::Trtexec(Box::new(failure(&log, &ended, running.log))))
    }
}

fn failure(log: &Log, ended: &Ended, path: &Path) -> Failure {
    let (cause, subject) = match Cause::of(log, &ended.lines) {
        (Cause::Unknown, _) => (of_ending(ended.ending), None),
        known => known,
    };
    let words = match (log.errors.first(), ended.ending) {
        // What it complained of on the way did not keep it from passing.
        (_, Ending::Exited(status)) if log.passed => format!("after `&&&& PASSED` it ended with {status}"),
        (Some(error), _) => error.clone(),
        (None, _) if ended.is_success() => "it ended without `&&&& PASSED`".into(),
        // Of a crash its last line says nothing.
        (None, Ending::Exited(status)) if status.code().is_none() => status.to_string(),
        (None, _) => ended.last_words(),
    };
    Failure { cause, subject, words, log: Some(path.to_owned()) }
}

fn of_ending(ending: Ending) -> Cause {
    match ending {
        Ending::TimedOut => Cause::TimedOut,
        Ending::Exited(status) if was_killed(status) => Cause::Killed,
        _ => Cause::Unknown,
    }
}

/// Whether someone else ended it, rather than a mistake of its own (such as a segmentation fault).
#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    const SIGTERM: i32 = 15;
    matches!(status.signal(), Some(SIGKILL | SIGTERM))
}

#[cfg(not(unix))]
fn was_killed(_: ExitStatus) -> bool {
    false
}
