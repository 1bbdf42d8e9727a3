//! What may be tried again, how often, and after which pause.
//!
//! A failure is passing (the network, a busy server), a refusal (the server's answer is no), or fatal. Only progress
//! of a download resets the count, so a server that always fails is left after [`RetryPolicy::attempts`] tries.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ureq::http::HeaderMap;
use url::Url;

use super::request::{Answer, Refusal, shown_url};
use crate::config::RetryPolicy;
use crate::error::{Error, Result};
use crate::progress::{Event, Events};

/// Why a request gave nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may work in a moment.
    Passing {
        /// What happened, for the log.
        reason: String,
        /// The error if it never works.
        error: Box<Error>,
        /// The pause that the server asks for.
        wait: Option<Duration>,
    },
    /// The server said no.
    Refused(Box<Refusal>),
    /// It will never work.
    Fatal(Error),
}

impl Failure {
    pub(super) fn of_transport(url: &Url, error: ureq::Error) -> Self {
        use ureq::Error::{ConnectionFailed, Io, Protocol, Timeout};
        // A certificate that does not verify arrives as an I/O error of this kind.
        let is_passing = match &error {
            Io(cause) => cause.kind() != std::io::ErrorKind::InvalidData,
            Timeout(_) | ConnectionFailed | Protocol(_) => true,
            _ => false,
        };
        let reason = error.to_string();
        let error = Error::Transport { url: shown_url(url), source: Box::new(error) };
        if is_passing { Self::passing(reason, error) } else { Self::Fatal(error) }
    }

    /// The connection broke inside of a body.
    pub(crate) fn of_cut(url: &Url, cause: &std::io::Error) -> Self {
        let error = ureq::Error::Io(std::io::Error::new(cause.kind(), cause.to_string()));
        Self::passing(cause.to_string(), Error::Transport { url: shown_url(url), source: Box::new(error) })
    }

    pub(super) fn of_busy_server(answer: &Answer) -> Self {
        let error = Error::Http { status: answer.status, url: shown_url(&answer.url), detail: None };
        let wait = wait_asked_for(&answer.headers);
        Self::Passing {
            reason: format!("the server answered {}", answer.status),
            error: Box::new(error),
            wait,
        }
    }

    pub(super) fn of_expired_address(refusal: Refusal) -> Self {
        Self::passing("the signed address has expired".to_owned(), refusal.into_error())
    }

    pub(crate) fn passing(reason: String, error: Error) -> Self {
        Self::Passing { reason, error: Box::new(error), wait: None }
    }

    /// The error when nothing is tried any more and nobody knows the refusal better.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Passing { error, .. } => *error,
            Self::Refused(refusal) => refusal.into_error(),
            Self::Fatal(error) => error,
        }
    }
}

/// Seconds from `Retry-After`, else from `RateLimit: …;t=<seconds>`.
fn wait_asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let retry_after = text("retry-after").and_then(|value| value.trim().parse().ok());
    let rate_limit =
        || text("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.trim().parse().ok());
    retry_after.or_else(rate_limit).map(Duration::from_secs)
}

/// The count of failures of one task.
#[derive(Debug)]
pub(crate) struct Retries<'a> {
    policy: &'a RetryPolicy,
    what: String,
    events: &'a Events,
    failed: u32,
    random: RandomState,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy, what: String, events: &'a Events) -> Self {
        Self { policy, what, events, failed: 0, random: RandomState::new() }
    }

    /// Bytes came forward: the next failure is the first again.
    pub(crate) fn made_progress(&mut self) {
        self.failed = 0;
    }

    /// Pauses before the next try, or gives the failure back when there will be none.
    pub(crate) fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        let Failure::Passing { reason, error, wait } = failure else { return Err(failure) };
        self.failed += 1;
        if let Some(wait) = wait.filter(|wait| *wait > self.policy.longest_server_delay) {
            let host = match error.as_ref() {
                Error::Http { url, .. } => url.clone(),
                _ => self.what.clone(),
            };
            return Err(Failure::Fatal(Error::RateLimited { host, seconds: wait.as_secs() }));
        }
        if self.failed >= self.policy.attempts {
            return Err(Failure::Passing { reason, error, wait });
        }
        let delay = wait.unwrap_or_else(|| self.own_delay());
        let (what, attempt) = (self.what.clone(), self.failed);
        self.events.send(Event::Retried { what, attempt, delay, reason });
        (self.policy.sleep)(delay);
        Ok(())
    }

    /// Doubles with each failure; up to half is taken off at random, so that many clients do not return together.
    fn own_delay(&self) -> Duration {
        let doubled = self.policy.first_delay.saturating_mul(1 << self.failed.saturating_sub(1).min(16));
        let delay = doubled.min(self.policy.longest_delay);
        let share = (self.random.hash_one(self.failed) % 1000) as f64 / 2000.0;
        delay.mul_f64(1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn busy(wait: Option<u64>) -> Failure {
        let error = Error::Http { status: 503, url: "http://x/".to_owned(), detail: None };
        Failure::Passing {
            reason: "503".to_owned(),
            error: Box::new(error),
            wait: wait.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&slept);
        let policy = RetryPolicy {
            attempts: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(3),
            sleep: Arc::new(move |delay| seen.lock().unwrap().push(delay)),
            ..RetryPolicy::default()
        };
        let events = Events::nowhere();
        let mut retries = Retries::new(&policy, "x".to_owned(), &events);
        while retries.pause(busy(None)).is_ok() {}
        let slept = slept.lock().unwrap().clone();
        assert_eq!(slept.len(), 4);
        for (delay, longest) in slept.iter().zip([1.0, 2.0, 3.0, 3.0]) {
            assert!((longest / 2.0..=longest).contains(&delay.as_secs_f64()), "{slept:?}");
        }
    }

    #[test]
    fn the_server_may_name_the_pause_within_reason() {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&slept);
        let policy = RetryPolicy {
            sleep: Arc::new(move |delay| seen.lock().unwrap().push(delay)),
            ..RetryPolicy::default()
        };
        let events = Events::nowhere();
        let mut retries = Retries::new(&policy, "x".to_owned(), &events);
        assert!(retries.pause(busy(Some(7))).is_ok());
        assert!(matches!(
            retries.pause(busy(Some(3600))),
            Err(Failure::Fatal(Error::RateLimited { seconds: 3600, .. }))
        ));
        assert_eq!(*slept.lock().unwrap(), [Duration::from_secs(7)]);
    }

    #[test]
    fn both_headers_name_a_pause() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, ureq::http::HeaderValue::from_static(value));
            }
            wait_asked_for(&map).map(|wait| wait.as_secs())
        };
        assert_eq!(headers(&[("retry-after", "12")]), Some(12));
        assert_eq!(headers(&[("ratelimit", "\"resolvers\";r=0;t=55")]), Some(55));
        assert_eq!(headers(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), None);
        assert_eq!(headers(&[]), None);
    }
}
