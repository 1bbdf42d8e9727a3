//! One file: lock, look, resume, stream, check, move into place.

use std::path::Path;
use std::time::{Duration, Instant};

use super::hashing::{Digests, fill, hash_file};
use super::lock::{Lock, make_parent};
use super::partial::Partial;
use super::{Job, Slots, pieces};
use crate::choose::Digest;
use crate::client::{Answer, Client, Failure, Range, Retries, shown_url};
use crate::error::{Error, Result};
use crate::progress::{Event, Events};
use crate::source::{is_hex, shown};

/// Every event wakes the thread that draws; more of them than a screen shows only cost.
const BETWEEN_EVENTS: Duration = Duration::from_millis(50);

/// How reading one answer ended.
enum Ended {
    /// Its last byte is here.
    Whole,
    /// The connection is slow and the server has ranges: more connections may help.
    Slow,
    /// It broke.
    Cut(Failure),
}

/// Brings the job's file to its target, or says why not.
pub(super) fn file(
    client: &Client,
    job: &Job<'_>,
    slots: &Slots,
    events: &Events,
) -> Result<Digests, Failure> {
    let name = || job.name.clone();
    let _lock =
        Lock::acquire(&job.lock, || events.send(Event::Waiting { file: name() })).map_err(Failure::Fatal)?;
    if let Some(digests) = at_target(job).map_err(Failure::Fatal)? {
        events.send(Event::Finished { file: name(), size: digests.len, cached: true });
        return Ok(digests);
    }
    let git_len = job.size.filter(|_| matches!(job.digest, Some(Digest::GitBlob(_))));
    let mut retries = Retries::new(&client.config().retry, name(), events);
    let mut second_try = false;
    loop {
        let mut partial = Partial::open(&job.partial, job.size, git_len).map_err(Failure::Fatal)?;
        let resumed_from = partial.len();
        check_space(job, resumed_from).map_err(Failure::Fatal)?;
        events.send(Event::Started { file: name(), total: job.size, resumed_from });
        fill_up(client, job, &mut partial, &mut retries, slots, events)?;
        let digests = partial.finish();
        match job.size.filter(|size| *size != digests.len) {
            None => {}
            Some(expected) => {
                return Err(Failure::Fatal(Error::WrongSize { file: name(), expected, found: digests.len }));
            }
        }
        let Err(error) = digests.check(job.digest.as_ref(), &job.name) else {
            make_parent(&job.target).map_err(Failure::Fatal)?;
            std::fs::rename(&job.partial, &job.target)
                .map_err(|e| Failure::Fatal(Error::io(&job.partial, e)))?;
            events.send(Event::Finished { file: name(), size: digests.len, cached: false });
            return Ok(digests);
        };
        // Wrong bytes must not be continued. If some came from an earlier run, they may be the wrong ones.
        std::fs::remove_file(&job.partial).map_err(|e| Failure::Fatal(Error::io(&job.partial, e)))?;
        if second_try || resumed_from == 0 {
            return Err(Failure::Fatal(error));
        }
        second_try = true;
        events.send(Event::Note(format!(
            "`{}`: what an earlier run left was damaged; fetched again",
            job.name
        )));
    }
}

/// The digests of a file that is there and right. A damaged one is set aside, never handed out.
fn at_target(job: &Job<'_>) -> Result<Option<Digests>> {
    let Ok(found) = std::fs::metadata(&job.target) else { return Ok(None) };
    if found.is_file() && job.size.is_none_or(|size| size == found.len()) {
        let with_git = matches!(job.digest, Some(Digest::GitBlob(_)));
        let digests = hash_file(&job.target, with_git, |_| ())?;
        if digests.check(job.digest.as_ref(), &job.name).is_ok() {
            return Ok(Some(digests));
        }
    }
    let mut aside = job.target.clone().into_os_string();
    aside.push(".damaged");
    std::fs::rename(&job.target, &aside).map_err(|e| Error::io(&job.target, e))?;
    Ok(None)
}

/// Requests until the partial is whole. Only a new farthest byte counts as progress, so a server that cuts every
/// answer at the same place is given up.
fn fill_up(
    client: &Client,
    job: &Job<'_>,
    partial: &mut Partial,
    retries: &mut Retries<'_>,
    slots: &Slots,
    events: &Events,
) -> Result<(), Failure> {
    let mut farthest = partial.len();
    let mut may_split = true;
    while job.size != Some(partial.len()) {
        let outcome = one_answer(client, job, partial, may_split, slots, events);
        if partial.len() > farthest {
            farthest = partial.len();
            retries.made_progress();
        }
        let failure = match outcome {
            Ok((Ended::Whole, _)) => break,
            Ok((Ended::Slow, answer_url)) => {
                let Some(size) = job.size else { continue };
                let connections = slots.free() + 1;
                events.send(Event::Split { file: job.name.clone(), connections });
                match pieces::fetch(client, job, partial, size, answer_url, connections, events) {
                    Ok(()) => break,
                    Err(failure) => {
                        may_split = false;
                        failure
                    }
                }
            }
            Ok((Ended::Cut(failure), _)) | Err(failure) => failure,
        };
        retries.pause(failure).map_err(|last| cut_error(job, partial.len(), last))?;
    }
    Ok(())
}

/// A download that was cut too often says how far it came; any other failure speaks for itself.
fn cut_error(job: &Job<'_>, got: u64, last: Failure) -> Failure {
    match last {
        Failure::Passing { reason, error, .. } if got > 0 && matches!(*error, Error::Transport { .. }) => {
            Failure::Fatal(Error::Cut { file: job.name.clone(), got, expected: job.size, reason })
        }
        other => other,
    }
}

/// Asks for what is missing and reads one answer into the partial.
fn one_answer(
    client: &Client,
    job: &Job<'_>,
    partial: &mut Partial,
    may_split: bool,
    slots: &Slots,
    events: &Events,
) -> Result<(Ended, url::Url), Failure> {
    let have = partial.len();
    let range = (have > 0).then_some(Range { first: have, last: None });
    let answer = client.once(&job.locate(events)?.range(range))?;
    check_description(job, &answer).map_err(Failure::Fatal)?;
    let url = answer.url.clone();
    let bad = |reason: &str| {
        let error = Error::BadAnswer { url: url.to_string(), reason: reason.to_owned() };
        Failure::passing(reason.to_owned(), error)
    };
    match answer.status {
        416 => {
            partial.restart().map_err(Failure::Fatal)?;
            return Err(bad("the server has nothing behind the partial file"));
        }
        206 => match answer.content_range() {
            Some((first, whole)) if first == have => check_whole(job, whole).map_err(Failure::Fatal)?,
            _ => {
                partial.restart().map_err(Failure::Fatal)?;
                return Err(bad("the server sent another range than the one asked"));
            }
        },
        // The server does not know ranges: everything comes again.
        _ if have > 0 => partial.restart().map_err(Failure::Fatal)?,
        _ => check_whole(job, answer.body.content_length()).map_err(Failure::Fatal)?,
    }
    let has_ranges = answer.status == 206 || answer.header("accept-ranges") == Some("bytes");
    let ended = read_body(client, job, partial, answer, has_ranges && may_split, slots, events)?;
    Ok((ended, url))
}

fn read_body(
    client: &Client,
    job: &Job<'_>,
    partial: &mut Partial,
    answer: Answer,
    may_split: bool,
    slots: &Slots,
    events: &Events,
) -> Result<Ended, Failure> {
    let policy = client.config().split;
    let (begun, from) = (Instant::now(), partial.len());
    let mut told = begun;
    let url = answer.url;
    let mut body = answer.body.into_with_config().limit(u64::MAX).reader();
    loop {
        let mut buffer = partial.buffer();
        let (len, end) = fill(&mut body, &mut buffer);
        if let Some(expected) = job.size.filter(|size| partial.len() + len as u64 > *size) {
            let found = partial.len() + len as u64;
            return Err(Failure::Fatal(Error::WrongSize { file: job.name.clone(), expected, found }));
        }
        partial.append(buffer, len).map_err(Failure::Fatal)?;
        if end.is_some() || told.elapsed() >= BETWEEN_EVENTS {
            told = Instant::now();
            events.send(Event::Advanced { file: job.name.clone(), done: partial.len(), total: job.size });
        }
        match end {
            None => {}
            Some(Ok(())) if job.size.is_none_or(|size| partial.len() == size) => return Ok(Ended::Whole),
            Some(Ok(())) => {
                return Ok(Ended::Cut(Failure::of_cut(&url, &std::io::ErrorKind::UnexpectedEof.into())));
            }
            Some(Err(cause)) => return Ok(Ended::Cut(Failure::of_cut(&url, &cause))),
        }
        let remaining = job.size.map_or(0, |size| size - partial.len());
        if may_split && remaining >= policy.least_remaining.max(1) && slots.free() > 0 {
            let passed = begun.elapsed();
            let speed = (partial.len() - from) as f64 / passed.as_secs_f64().max(1e-9);
            if passed >= policy.after && speed < policy.slower_than as f64 {
                return Ok(Ended::Slow);
            }
        }
    }
}

/// What the hop before the content says about the file has to agree with the listing, before a byte is read.
fn check_description(job: &Job<'_>, answer: &Answer) -> Result<()> {
    if let (Some(expected), Some(found)) = (&job.commit, answer.description("x-repo-commit"))
        && expected != found
    {
        let reason = format!("it is of commit `{}` instead of `{expected}`", shown(found));
        return Err(Error::BadAnswer { url: shown_url(&answer.url), reason });
    }
    if let Some(found) = answer.description("x-linked-size").and_then(|size| size.parse().ok()) {
        check_whole(job, Some(found))?;
    }
    let linked =
        answer.description("x-linked-etag").map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
    if let (Some(Digest::Sha256(expected)), Some(found)) = (&job.digest, linked)
        && is_hex(found, 64)
        && found != expected
    {
        return Err(Error::WrongHash {
            file: job.name.clone(),
            expected: format!("sha256 {expected}"),
            found: format!("sha256 {found} (X-Linked-Etag)"),
        });
    }
    Ok(())
}

fn check_whole(job: &Job<'_>, whole: Option<u64>) -> Result<()> {
    match (job.size, whole) {
        (Some(expected), Some(found)) if expected != found => {
            Err(Error::WrongSize { file: job.name.clone(), expected, found })
        }
        _ => Ok(()),
    }
}

/// A download that cannot fit is not begun.
fn check_space(job: &Job<'_>, have: u64) -> Result<()> {
    let folder = job.partial.parent().unwrap_or(Path::new("."));
    let Some(needed) = job.size.map(|size| size - have.min(size)) else { return Ok(()) };
    // A filesystem that cannot say how much is free is tried.
    let Some(free) = free_bytes(folder) else { return Ok(()) };
    if needed > free {
        let (folder, file) = (folder.to_owned(), job.name.clone());
        return Err(Error::NoSpace { folder, file, needed: Some(needed), free: Some(free) });
    }
    Ok(())
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}
