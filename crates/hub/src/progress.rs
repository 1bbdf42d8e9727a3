//! What happens while files are fetched, as values.
//!
//! Nothing is drawn here. Events of several files interleave; the `file` in each says whose they are.

use std::sync::mpsc::Sender;
use std::time::Duration;

/// Something that the user may want to see.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A decision or fact, the same line that goes into the log.
    Note(String),
    /// A file begins.
    Started {
        /// Its path in the source.
        file: String,
        /// Its length in bytes, where it is known.
        total: Option<u64>,
        /// Bytes that an earlier run left behind.
        resumed_from: u64,
    },
    /// Bytes of a file are on this disk.
    Advanced {
        /// Its path in the source.
        file: String,
        /// Bytes so far, those of an earlier run included.
        done: u64,
        /// Its length in bytes, where it is known.
        total: Option<u64>,
    },
    /// A file is complete and checked.
    Finished {
        /// Its path in the source.
        file: String,
        /// Its length in bytes.
        size: u64,
        /// Whether it was there already.
        cached: bool,
    },
    /// Something failed and is tried again.
    Retried {
        /// The file or address.
        what: String,
        /// How many tries have failed.
        attempt: u32,
        /// The pause before the next try.
        delay: Duration,
        /// What failed.
        reason: String,
    },
    /// Another process fetches the same file.
    Waiting {
        /// Its path in the source.
        file: String,
    },
    /// The rest of a file is fetched over several connections.
    Split {
        /// Its path in the source.
        file: String,
        /// How many connections.
        connections: usize,
    },
}

/// Where the working threads put their events; a caller that has gone away is no error.
#[derive(Debug, Clone)]
pub(crate) struct Events(Sender<Event>);

impl Events {
    pub(crate) fn new(sender: Sender<Event>) -> Self {
        Self(sender)
    }

    pub(crate) fn send(&self, event: Event) {
        // The receiver outlives every worker; if it is gone, nobody listens.
        let _ = self.0.send(event);
    }

    /// For work that nobody watches.
    pub(crate) fn nowhere() -> Self {
        Self(std::sync::mpsc::channel().0)
    }
}
