//! A program that is run line by line, with a limit of time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that are kept, and characters of each.
const KEPT: usize = 200;
const WIDEST: usize = 500;
/// Longest piece that is read as one line.
const LONGEST: u64 = 1 << 16;
/// How long a program may take to end after it closed its outputs.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a program ended.
pub(super) struct Ended {
    /// Its exit status; `None` when it ran out of time and was ended.
    pub(super) status: Option<ExitStatus>,
    /// The last lines that it printed.
    pub(super) lines: Vec<String>,
    /// The last line on its error output that is not empty.
    complaint: Option<String>,
}

impl Ended {
    pub(super) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last line that is not empty, of the error output where there is one, else how it ended. The two outputs arrive
    /// in no certain order, so the last line of both may be one that only tells how far it was.
    pub(super) fn last_words(&self) -> String {
        let line = self.complaint.as_ref();
        let line = line.or_else(|| self.lines.iter().rev().find(|line| !line.trim().is_empty()));
        match (self.status, line) {
            (None, _) => "it ran out of time".into(),
            (Some(_), Some(line)) => line.trim().to_owned(),
            (Some(status), None) => status.to_string(),
        }
    }
}

/// Runs a program and tells each of its lines. Both of its outputs are one stream.
///
/// # Errors
/// Those of starting it.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    tell: &mut dyn FnMut(&str),
) -> std::io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + limit;
    let (sender, receiver) = sync_channel(64);
    // The readers are not waited for: what the program started may keep its outputs open.
    let outputs = [(child.stdout.take().map(boxed), false), (child.stderr.take().map(boxed), true)];
    for (output, complains) in outputs {
        let (Some(output), sender) = (output, sender.clone()) else { continue };
        std::thread::spawn(move || forward(output, complains, &sender));
    }
    drop(sender);
    let (mut lines, mut complaint) = (VecDeque::new(), None);
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((line, complains)) => {
                tell(&line);
                if complains && !line.trim().is_empty() {
                    complaint = Some(line.clone());
                }
                lines.push_back(line);
                if lines.len() > KEPT {
                    lines.pop_front();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok(Ended { status: None, lines: lines.into(), complaint });
            }
        }
    }
    let deadline = deadline.max(Instant::now() + PATIENCE);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            None => {
                child.kill()?;
                child.wait()?;
                break None;
            }
        }
    };
    Ok(Ended { status, lines: lines.into(), complaint })
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
        if sender.send((shown.take(WIDEST).collect(), complains)).is_err() {
            return;
        }
        piece.clear();
    }
}
