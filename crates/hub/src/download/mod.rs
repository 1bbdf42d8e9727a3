//! Files from an address to a checked place on this disk.
//!
//! The promise: a file at its target is complete and has the promised digest. Everything before that is in a partial
//! file beside it, which the next run continues.

mod fetch;
mod hashing;
mod lock;
mod partial;
mod pieces;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub(crate) use hashing::{Digests, hash_file, hex};
pub(crate) use lock::{Lock, make_parent};

use crate::choose::Digest;
use crate::client::{Client, Failure, Refusal, Request};
use crate::error::{Error, Result};
use crate::progress::Events;

/// How the address of a file is found, again each time that a signed one has expired.
pub(crate) type Locate<'a> = dyn Fn(&Events) -> Result<Request, Failure> + Send + Sync + 'a;
/// What a refusal means for this file.
pub(crate) type Explain<'a> = dyn Fn(Refusal) -> Error + Send + Sync + 'a;

/// One file to fetch.
pub(crate) struct Job<'a> {
    /// Its path in the source, for messages.
    pub name: String,
    /// Where it is.
    pub locate: &'a Locate<'a>,
    /// What a refusal means.
    pub explain: &'a Explain<'a>,
    /// The promised length in bytes.
    pub size: Option<u64>,
    /// The promised content.
    pub digest: Option<Digest>,
    /// The promised commit, compared with `X-Repo-Commit`.
    pub commit: Option<String>,
    /// Where it goes.
    pub target: PathBuf,
    /// Where it grows.
    pub partial: PathBuf,
    /// What is locked meanwhile.
    pub lock: PathBuf,
}

impl Job<'_> {
    fn locate(&self, events: &Events) -> Result<Request, Failure> {
        (self.locate)(events)
    }

    fn error_of(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(refusal) => (self.explain)(*refusal),
            other => other.into_error(),
        }
    }
}

/// Connections in use, so that a big file takes only those that small files leave free.
#[derive(Debug)]
pub(crate) struct Slots {
    busy: AtomicUsize,
    all: usize,
}

impl Slots {
    fn free(&self) -> usize {
        self.all.saturating_sub(self.busy.load(Ordering::Relaxed))
    }
}

/// Fetches all files, several at a time. The first error stops the files that have not begun.
pub(crate) fn all(client: &Client, jobs: &[Job<'_>], events: &Events) -> Result<Vec<Digests>> {
    let slots = Slots { busy: AtomicUsize::new(0), all: client.config().parallel.max(1) };
    let results: Vec<Mutex<Option<Result<Digests>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { break };
            slots.busy.fetch_add(1, Ordering::Relaxed);
            let result = fetch::file(client, job, &slots, events).map_err(|failure| job.error_of(failure));
            slots.busy.fetch_sub(1, Ordering::Relaxed);
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..slots.all.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = Vec::with_capacity(jobs.len());
    let mut unfinished = false;
    for result in results {
        match result.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(result) => done.push(result?),
            None => unfinished = true,
        }
    }
    // A file is skipped only after another has failed, and that error has returned above.
    debug_assert!(!unfinished, "a skipped file without a failed one");
    Ok(done)
}
