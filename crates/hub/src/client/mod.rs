//! One HTTP client for both hubs: redirects, retries, limits, secrets.
//!
//! Redirects are followed here and not by the HTTP library: the `Authorization` header must not leave the host that
//! it is for, and the headers of the hop before a signed address are the ones that describe the file.

mod certificates;
mod proxy;
mod redirect;
mod request;
mod retry;

use std::sync::Mutex;

use ureq::Agent;
use ureq::http::HeaderMap;
use url::Url;

pub(crate) use redirect::target as followed;
pub(crate) use request::{Answer, Range, Refusal, Request, shown_url};
pub(crate) use retry::{Failure, Retries};

use crate::config::{Config, Secret, TokenSource};
use crate::error::{Error, Result};
use crate::progress::Events;

/// Redirects that one request may take.
const MOST_REDIRECTS: usize = 10;
/// The part of an error's body that is read for its message.
const REFUSAL_BODY: u64 = 64 << 10;

/// A connection pool with a configuration and its secrets.
#[derive(Debug)]
pub struct Client {
    config: Config,
    agent: Agent,
    token: Option<Secret>,
    /// Bearer tokens that NGC gave for a key, by scope.
    pub(crate) ngc_tokens: Mutex<Vec<(String, Secret)>>,
}

impl Client {
    /// A client of this configuration. Reads the token file that it names; opens no connection.
    pub fn new(config: Config) -> Result<Self> {
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(config.connect_timeout))
            .timeout_recv_response(Some(config.read_timeout))
            .timeout_per_read(Some(config.read_timeout))
            .max_response_header_size(128 << 10)
            .input_buffer_size(64 << 10)
            .max_idle_connections_per_host(config.parallel.max(1))
            .user_agent(&config.user_agent)
            .accept_encoding("identity")
            .proxy(None);
        if let Some(address) = &config.proxy {
            builder = builder.proxy(Some(proxy::parse(address.expose(), config.no_proxy.as_deref())?));
        }
        if let Some(file) = &config.certificates {
            builder = builder.tls_config(certificates::trusting(file)?);
        }
        let token = match &config.token {
            TokenSource::None => None,
            TokenSource::Value(token) => Some(token.clone()),
            // A missing or unreadable token file is the normal state of someone who never logged in.
            TokenSource::File(path) => std::fs::read_to_string(path).ok().and_then(|text| Secret::new(&text)),
        };
        Ok(Self { agent: builder.build().new_agent(), token, config, ngc_tokens: Mutex::new(Vec::new()) })
    }

    /// The configuration that it was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a Hugging Face token is at hand.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// A request to the Hugging Face endpoint; the token goes along only if the address is the endpoint's own.
    pub(crate) fn hub_request(&self, url: Url) -> Request {
        let own = url.origin() == self.config.endpoint.origin();
        let token = self.token.as_ref().filter(|_| own);
        Request::new(url).bearer(token)
    }

    /// One try: follows redirects, and sorts what came into an answer to read or a failure.
    pub(crate) fn once(&self, request: &Request) -> Result<Answer, Failure> {
        if self.config.offline {
            return Err(Failure::Fatal(Error::Offline { what: shown_url(&request.url) }));
        }
        let mut url = request.url.clone();
        let mut described_by = None;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(request, &url).map_err(|error| Failure::of_transport(&url, error))?;
            let status = response.status().as_u16();
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, location) {
                let next = redirect::target(&url, location).map_err(Failure::Fatal)?;
                if url.origin() == request.url.origin() {
                    described_by = Some(response.headers().clone());
                }
                url = next;
                // A connection whose answer was read to its end is used again; how it reads is of no interest.
                let _ = response.into_body().into_with_config().limit(REFUSAL_BODY).read_to_vec();
                continue;
            }
            return sorted(request, url, described_by, response);
        }
        let from = shown_url(&request.url);
        Err(Failure::Fatal(Error::Redirect { from, to: shown_url(&url), reason: "too many redirects" }))
    }

    fn send(&self, request: &Request, url: &Url) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut builder = self.agent.get(url.as_str());
        if url.origin() == request.url.origin() {
            for (name, value) in &request.own_headers {
                builder = builder.header(*name, value);
            }
        }
        if let Some(range) = request.range {
            builder = builder.header("Range", range.to_string());
        }
        builder.call()
    }

    /// The whole body of an answer, at most `limit` bytes; passing failures are repeated.
    pub(crate) fn bytes(&self, request: &Request, limit: u64, events: &Events) -> Result<Reply, Failure> {
        let mut retries = Retries::new(&self.config.retry, shown_url(&request.url), events);
        loop {
            let failure = match self.once(request).and_then(|answer| answer.read(limit)) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            retries.pause(failure)?;
        }
    }

    /// The body of an answer as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        request: &Request,
        limit: u64,
        events: &Events,
    ) -> Result<(T, HeaderMap), Failure> {
        let reply = self.bytes(request, limit, events)?;
        let value = serde_json::from_slice(&reply.body).map_err(|e| {
            Failure::Fatal(Error::BadAnswer { url: shown_url(&request.url), reason: e.to_string() })
        })?;
        Ok((value, reply.headers))
    }
}

/// An answer to read, or the kind of failure that its status means.
fn sorted(
    request: &Request,
    url: Url,
    described_by: Option<HeaderMap>,
    response: ureq::http::Response<ureq::Body>,
) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let (parts, body) = response.into_parts();
    let answer = Answer { status, url, headers: parts.headers, described_by, body };
    if answer.is_success() || (status == 416 && request.range.is_some()) {
        return Ok(answer);
    }
    if matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504) {
        return Err(Failure::of_busy_server(&answer));
    }
    // A signed address answers 403 once it has expired; the canonical one gives a fresh one.
    let is_signed = answer.url.origin() != request.url.origin();
    let refusal = answer.into_refusal(REFUSAL_BODY);
    if status == 403 && is_signed {
        return Err(Failure::of_expired_address(refusal));
    }
    Err(Failure::Refused(Box::new(refusal)))
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The address of the last hop.
    pub url: Url,
    /// The headers of the last hop.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}
