//! The rest of a big file over several connections.
//!
//! Pieces arrive in any order and are appended in order; those that are early wait in memory, at most
//! `connections + 2` of them. So the file on disk never has a hole, and a cut at any moment can be resumed.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};

use url::Url;

use super::Job;
use super::partial::Partial;
use crate::client::{Client, Failure, Range, Request, Retries};
use crate::error::{Error, Result};
use crate::progress::{Event, Events};

/// Fetches from the partial's end to `size`. `address` is where the last answer came from; it is renewed from the
/// job's own address when it expires. An error leaves the partial resumable.
pub(super) fn fetch(
    client: &Client,
    job: &Job<'_>,
    partial: &mut Partial,
    size: u64,
    address: Url,
    connections: usize,
    events: &Events,
) -> Result<(), Failure> {
    let piece = client.config().split.piece.max(1);
    let address = Mutex::new(address);
    let (want, wanted) = channel::<Range>();
    let wanted = Mutex::new(wanted);
    let (done, arrived) = channel();
    let mut next = partial.len();
    let mut ask = move || {
        if next < size {
            let last = (next + piece).min(size) - 1;
            // When all workers have failed, `collect` hears of it.
            let _ = want.send(Range { first: next, last: Some(last) });
            next = last + 1;
        }
    };
    (0..connections + 2).for_each(|_| ask());
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let (done, wanted, address) = (done.clone(), &wanted, &address);
            scope.spawn(move || {
                while let Some(range) = take(wanted) {
                    let bytes = one(client, job, range, size, address, events);
                    let failed = bytes.is_err();
                    if done.send((range.first, bytes)).is_err() || failed {
                        break;
                    }
                }
            });
        }
        drop(done);
        let outcome = collect(job, partial, size, &arrived, &mut ask, events);
        // Workers that wait for a range, or send a piece that nobody wants, end.
        drop(ask);
        drop(arrived);
        outcome
    })
}

fn take(wanted: &Mutex<Receiver<Range>>) -> Option<Range> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn collect(
    job: &Job<'_>,
    partial: &mut Partial,
    size: u64,
    arrived: &Receiver<(u64, Result<Vec<u8>, Failure>)>,
    ask: &mut impl FnMut(),
    events: &Events,
) -> Result<(), Failure> {
    let mut early = BTreeMap::new();
    while partial.len() < size {
        let Ok((first, bytes)) = arrived.recv() else {
            let error = Error::Cut {
                file: job.name.clone(),
                got: partial.len(),
                expected: Some(size),
                reason: "all connections ended".to_owned(),
            };
            return Err(Failure::passing("all connections ended".to_owned(), error));
        };
        early.insert(first, bytes?);
        while let Some(bytes) = early.remove(&partial.len()) {
            let len = bytes.len();
            partial.append(bytes, len).map_err(Failure::Fatal)?;
            events.send(Event::Advanced { file: job.name.clone(), done: partial.len(), total: Some(size) });
            ask();
        }
    }
    Ok(())
}

/// One piece, however often its connection is cut.
fn one(
    client: &Client,
    job: &Job<'_>,
    range: Range,
    size: u64,
    address: &Mutex<Url>,
    events: &Events,
) -> Result<Vec<u8>, Failure> {
    let end = range.last.map_or(size, |last| last + 1);
    let whole = usize::try_from(end - range.first).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(whole);
    let mut retries = Retries::new(&client.config().retry, job.name.clone(), events);
    let mut renew = false;
    while bytes.len() < whole {
        let first = range.first + bytes.len() as u64;
        let range = Some(Range { first, last: Some(end - 1) });
        let request = if renew {
            job.locate(events)?.range(range)
        } else {
            Request::new(address.lock().unwrap_or_else(PoisonError::into_inner).clone()).range(range)
        };
        let failure = match client.once(&request) {
            Ok(answer)
                if answer.status == 206 && answer.content_range().is_some_and(|(at, _)| at == first) =>
            {
                *address.lock().unwrap_or_else(PoisonError::into_inner) = answer.url.clone();
                let url = answer.url.clone();
                let before = bytes.len();
                let left = (whole - before) as u64;
                let mut body = answer.body.into_with_config().limit(u64::MAX).reader().take(left);
                let read = body.read_to_end(&mut bytes);
                if bytes.len() > before {
                    retries.made_progress();
                }
                match read {
                    Ok(_) if bytes.len() == whole => break,
                    Ok(_) => Failure::of_cut(&url, &std::io::ErrorKind::UnexpectedEof.into()),
                    Err(cause) => Failure::of_cut(&url, &cause),
                }
            }
            Ok(answer) => {
                let reason = format!("a range was asked and {} came", answer.status);
                Failure::passing(reason.clone(), Error::BadAnswer { url: request.url.to_string(), reason })
            }
            // The address that the first answer came from is no longer good; ask for a new one, once.
            Err(Failure::Refused(refusal)) if !renew => {
                Failure::passing("the signed address has expired".to_owned(), refusal.into_error())
            }
            Err(failure) => failure,
        };
        renew = true;
        retries.pause(failure)?;
    }
    Ok(bytes)
}
