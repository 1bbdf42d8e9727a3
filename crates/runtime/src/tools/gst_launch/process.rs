//! A running `gst-launch-1.0`, and what it complains about.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::failed;
use crate::Error;
use crate::tools::child::{Ending, Group};

/// How long it may take to end after its pipes are closed: an encoder has frames left.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most that is read of what it says.
const MOST: u64 = 1 << 20;
/// What an error begins with.
const ERROR: &str = "ERROR: ";

/// A child; it is ended when this is dropped.
pub(super) struct Process {
    group: Arc<Mutex<Group>>,
    complaint: Option<JoinHandle<Option<String>>>,
}

/// Ends a child from another thread.
#[derive(Clone)]
pub struct Stop(Arc<Mutex<Group>>);

impl Stop {
    /// Ends it, and what it started. Nothing happens where it has ended.
    pub fn stop(&self) {
        // A group that cannot be ended has ended.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
}

impl Process {
    pub(super) fn start(command: &mut Command, input: Stdio, output: Stdio) -> Result<Self, Error> {
        let mut group = Group::start(command, input, output).map_err(|error| failed(error.to_string()))?;
        let complaints = group.complaints();
        let complaint =
            complaints.map(|output| std::thread::spawn(move || complaint(BufReader::new(output.take(MOST)))));
        Ok(Self { group: Arc::new(Mutex::new(group)), complaint })
    }

    pub(super) fn stop(&self) -> Stop {
        Stop(Arc::clone(&self.group))
    }

    pub(super) fn input(&self) -> Option<ChildStdin> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner).input()
    }

    pub(super) fn output(&self) -> Option<ChildStdout> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner).output()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What it complained about.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let ending = loop {
            // The lock is given back between two looks: someone else may end the child meanwhile.
            let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let ended = group.try_wait().map_err(|error| failed(error.to_string()))?;
            match ended {
                Some(status) => break Ending::Exited(status),
                None if now >= deadline => break Ending::TimedOut,
                None => drop(group),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = self.complaint.take().and_then(|thread| thread.join().ok()).flatten();
        match ending {
            Ending::Exited(status) if status.success() && said.is_none() => Ok(()),
            Ending::Exited(status) => Err(failed(said.unwrap_or_else(|| status.to_string()))),
            _ => Err(failed("it does not end".into())),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop().stop();
    }
}

/// The first error; everything is read, so that the child never waits for us.
fn complaint(output: impl BufRead) -> Option<String> {
    let mut first = None;
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        first = first.or_else(|| error_of(&line));
    }
    first
}

/// The words of an error line: `ERROR: from element /GstPipeline:pipeline0/…: Could not demultiplex stream.`
pub(super) fn error_of(line: &str) -> Option<String> {
    let words = line.trim().strip_prefix(ERROR)?;
    let Some(rest) = words.strip_prefix("from element ") else { return Some(words.to_owned()) };
    let Some((element, message)) = rest.split_once(": ") else { return Some(words.to_owned()) };
    let element = element.rsplit('/').next().unwrap_or(element);
    let kind = element.split(':').next().unwrap_or(element);
    let plain: String = message.chars().filter(|c| !c.is_control()).collect();
    Some(format!("{} ({kind})", plain.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_told_without_the_path_of_its_element() {
        // What GStreamer 1.22 prints for a text file.
        let text = "ERROR: from element /GstPipeline:pipeline0/GstDecodeBin:decodebin0/GstTypeFindElement:typefind: Could not determine type of stream.\n\
                    Additional debug info:\n\
                    ../plugins/elements/gsttypefindelement.c(1186): gst_type_find_element_loop (): /GstPipeline:pipeline0\n\
                    ERROR: pipeline doesn't want to preroll.\n";
        let said = complaint(text.as_bytes());
        assert_eq!(said.as_deref(), Some("Could not determine type of stream (GstTypeFindElement)"));
        assert_eq!(error_of("WARNING: erroneous pipeline: no element \"x\""), None);
        assert_eq!(
            error_of("ERROR: pipeline doesn't want to preroll.").as_deref(),
            Some("pipeline doesn't want to preroll.")
        );
    }
}
