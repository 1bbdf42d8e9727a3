//! A request and what comes back for it.
//!
//! `own_headers` go only to the origin of the request's own address, never to where it redirects.

use std::fmt;
use std::io::Read;

use ureq::http::HeaderMap;
use url::Url;

use super::{Failure, Reply};
use crate::config::Secret;
use crate::error::Error;
use crate::source::shown;

/// Bytes of a file, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub first: u64,
    pub last: Option<u64>,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "bytes={}-{last}", self.first),
            None => write!(f, "bytes={}-", self.first),
        }
    }
}

/// A GET request.
#[derive(Clone)]
pub(crate) struct Request {
    pub url: Url,
    /// Headers for the address's own origin: secrets and client identity.
    pub own_headers: Vec<(&'static str, String)>,
    pub range: Option<Range>,
}

impl Request {
    pub(crate) fn new(url: Url) -> Self {
        Self { url, own_headers: Vec::new(), range: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.own_headers.push((name, value));
        self
    }

    pub(crate) fn bearer(self, token: Option<&Secret>) -> Self {
        match token {
            Some(token) => self.header("Authorization", format!("Bearer {}", token.expose())),
            None => self,
        }
    }

    pub(crate) fn range(mut self, range: Option<Range>) -> Self {
        self.range = range;
        self
    }
}

/// A successful answer (or a 416 to a range), its body not read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// The address of the last hop.
    pub url: Url,
    pub headers: HeaderMap,
    /// The headers of the last redirect on the request's own origin: they describe the file that is linked to.
    pub described_by: Option<HeaderMap>,
    pub body: ureq::Body,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header of the last hop.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that describes the file: that of the hop before a signed address, else of this one.
    pub(crate) fn description(&self, name: &str) -> Option<&str> {
        self.described_by.as_ref().unwrap_or(&self.headers).get(name)?.to_str().ok()
    }

    /// `Content-Range` as first byte and whole length.
    pub(crate) fn content_range(&self) -> Option<(u64, Option<u64>)> {
        let (range, whole) = self.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split_once('-')?.0.trim().parse().ok()?;
        Some((first, whole.trim().parse().ok()))
    }

    pub(super) fn read(self, limit: u64) -> Result<Reply, Failure> {
        let url = self.url;
        let mut body = Vec::new();
        // One byte more than allowed tells a body at the limit from one beyond it.
        let read =
            self.body.into_with_config().limit(u64::MAX).reader().take(limit + 1).read_to_end(&mut body);
        read.map_err(|error| Failure::of_cut(&url, &error))?;
        if body.len() as u64 > limit {
            let reason = format!("it is larger than {limit} bytes");
            return Err(Failure::Fatal(Error::BadAnswer { url: shown_url(&url), reason }));
        }
        Ok(Reply { url, headers: self.headers, body })
    }

    pub(super) fn into_refusal(self, limit: u64) -> Refusal {
        let text = |name: &str| self.header(name).map(shown);
        let (code, message) = (text("x-error-code"), text("x-error-message"));
        let mut body = Vec::new();
        // The message is a courtesy; a cut here changes nothing.
        let _ = self.body.into_with_config().limit(u64::MAX).reader().take(limit).read_to_end(&mut body);
        Refusal {
            status: self.status,
            url: self.url,
            code,
            message,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: u16,
    pub url: Url,
    /// `X-Error-Code`.
    pub code: Option<String>,
    /// `X-Error-Message`.
    pub message: Option<String>,
    pub body: String,
}

impl Refusal {
    /// The error for a refusal that nobody knows better.
    pub(crate) fn into_error(self) -> Error {
        let from_body = || {
            let value: serde_json::Value = serde_json::from_str(&self.body).ok()?;
            let status = value.get("requestStatus").and_then(|status| status.get("statusDescription"));
            let text = value.get("error").or(value.get("message")).or(status)?.as_str()?;
            Some(shown(text))
        };
        let detail = self.message.clone().or_else(from_body);
        Error::Http { status: self.status, url: shown_url(&self.url), detail }
    }
}

/// The address for messages: without its query, which may be a signature.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
