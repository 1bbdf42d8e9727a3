//! A program that is run line by line, until it ends, its time is up or someone calls it off.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that are kept, and characters of each.
const KEPT: usize = 200;
const WIDEST: usize = 500;
/// Longest piece that is read as one line.
const LONGEST: u64 = 1 << 16;
/// How long a program may take to end after it closed its outputs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the program was called off; the caller hears of the time as often.
const TICK: Duration = Duration::from_millis(200);
/// How long lines are waited for that it printed before it was ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself, or by a signal of someone else.
    Exited(ExitStatus),
    /// It was ended: its time was up.
    TimedOut,
    /// It was ended: it was called off.
    Cancelled,
}

/// What is left of a program.
pub(super) struct Ended {
    /// How it ended.
    pub(super) ending: Ending,
    /// The last lines that it printed.
    pub(super) lines: Vec<String>,
    /// The last line on its error output that is not empty.
    complaint: Option<String>,
}

impl Ended {
    pub(super) fn is_success(&self) -> bool {
        matches!(self.ending, Ending::Exited(status) if status.success())
    }

    /// The last line that is not empty, of the error output where there is one, else how it ended. The two outputs arrive
    /// in no certain order, so the last line of both may be one that only tells how far it was.
    pub(super) fn last_words(&self) -> String {
        let line = self.complaint.as_ref();
        let line = line.or_else(|| self.lines.iter().rev().find(|line| !line.trim().is_empty()));
        match (self.ending, line) {
            (Ending::TimedOut, _) => "it ran out of time".into(),
            (Ending::Cancelled, _) => "it was called off".into(),
            (Ending::Exited(_), Some(line)) => line.trim().to_owned(),
            (Ending::Exited(status), None) => status.to_string(),
        }
    }
}

/// What is heard of a running program.
pub(super) enum Heard<'a> {
    /// A line that it printed, on one of its outputs.
    Line(&'a str),
    /// Time goes by.
    Tick,
}

/// Runs a program and tells each of its lines. Both of its outputs are one stream.
///
/// The program gets a process group of its own, so that calling it off also ends what it started. Where the system can do
/// it (Linux), it is ended as well when this program is killed: a build would hold the GPU for minutes.
///
/// # Errors
/// Those of starting it.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    cancelled: Option<&AtomicBool>,
    tell: &mut dyn FnMut(Heard<'_>),
) -> std::io::Result<Ended> {
    run_on(command, Stdio::null(), limit, cancelled, tell)
}

/// [`run`] with something to read.
pub(super) fn run_on(
    command: &mut Command,
    input: Stdio,
    limit: Duration,
    cancelled: Option<&AtomicBool>,
    tell: &mut dyn FnMut(Heard<'_>),
) -> std::io::Result<Ended> {
    let mut child = Group::start(command, input, Stdio::piped())?;
    let deadline = Instant::now() + limit;
    let (sender, receiver) = sync_channel(64);
    // The readers are not waited for: what the program started may keep its outputs open.
    let outputs = [(child.0.stdout.take().map(boxed), false), (child.0.stderr.take().map(boxed), true)];
    for (output, complains) in outputs {
        let (Some(output), sender) = (output, sender.clone()) else { continue };
        std::thread::spawn(move || forward(output, complains, &sender));
    }
    drop(sender);
    let mut said = Said::default();
    let is_cancelled = || cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed));
    let stopped = loop {
        if is_cancelled() {
            break Some(Ending::Cancelled);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Some(Ending::TimedOut);
        }
        match receiver.recv_timeout(left.min(TICK)) {
            Ok((line, complains)) => said.keep(&line, complains, tell),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => tell(Heard::Tick),
        }
    };
    let ending = match stopped {
        Some(ending) => {
            child.end()?;
            // What it had printed by then belongs to its log.
            let until = Instant::now() + LAST_WORDS;
            let left = || until.saturating_duration_since(Instant::now());
            while let Ok((line, complains)) = receiver.recv_timeout(left()) {
                said.keep(&line, complains, tell);
            }
            ending
        }
        None => child.wait(deadline.max(Instant::now() + PATIENCE), is_cancelled)?,
    };
    Ok(Ended { ending, lines: said.lines.into(), complaint: said.complaint })
}

/// The last lines of what it said.
#[derive(Default)]
struct Said {
    lines: VecDeque<String>,
    complaint: Option<String>,
}

impl Said {
    fn keep(&mut self, line: &str, complains: bool, tell: &mut dyn FnMut(Heard<'_>)) {
        tell(Heard::Line(line));
        let line: String = line.chars().take(WIDEST).collect();
        if complains && !line.trim().is_empty() {
            self.complaint = Some(line.clone());
        }
        self.lines.push_back(line);
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
    }
}

/// A child and what it starts; both are ended when this is dropped before they are done.
pub(super) struct Group(Child);

impl Group {
    /// Starts it; what it complains about can be read. The thread that starts it has to outlive it: where the system can
    /// do it, the program is ended with that thread.
    pub(super) fn start(command: &mut Command, input: Stdio, output: Stdio) -> std::io::Result<Self> {
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        alone(command);
        command.spawn().map(Self)
    }

    pub(super) fn input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    pub(super) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    pub(super) fn complaints(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }

    /// How it ended, where it has.
    pub(super) fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for the end of a program that has nothing more to say.
    fn wait(&mut self, deadline: Instant, is_cancelled: impl Fn() -> bool) -> std::io::Result<Ending> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Ending::Exited(status));
            }
            let ending = if is_cancelled() {
                Ending::Cancelled
            } else if Instant::now() >= deadline {
                Ending::TimedOut
            } else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            self.end()?;
            return Ok(ending);
        }
    }

    pub(super) fn end(&mut self) -> std::io::Result<()> {
        end_group(&self.0);
        // Where there are no groups, or the child has just ended.
        let _ = self.0.kill();
        self.0.wait().map(drop)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.end();
        }
    }
}

#[cfg(unix)]
fn end_group(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    // While the child was not waited for, its number cannot belong to someone else.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end_group(_: &Child) {}

#[cfg(target_os = "linux")]
fn alone(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[expect(
        unsafe_code,
        reason = "a child can only be told to die with its parent by itself, before it begins"
    )]
    // SAFETY: between `fork` and `exec` this makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            use rustix::process::{Signal, set_parent_process_death_signal};
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn alone(command: &mut Command) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    let _ = command;
}

fn boxed(output: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(output)
}

/// Sends line by line, with whether it is an error output; a progress bar's carriage returns end lines too.
fn forward(output: Box<dyn Read + Send>, complains: bool, sender: &SyncSender<(String, bool)>) {
    let mut reader = BufReader::new(output);
    let mut piece = Vec::new();
    while let Ok(1..) = reader.by_ref().take(LONGEST).read_until(b'\n', &mut piece) {
        let text = String::from_utf8_lossy(&piece);
        let line = text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default();
        // Nothing in it may steer the terminal on which it is shown.
        let shown = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        if sender.send((shown.collect(), complains)).is_err() {
            return;
        }
        piece.clear();
    }
}
