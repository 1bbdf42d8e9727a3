//! Where another package index has a file: the simple API, as JSON (PEP 691) or HTML (PEP 503).
//!
//! Only for mirrors; the pinned addresses need no index. What an index says is not believed: the digest of the file is
//! the pinned one. So a mirror inside of a company may speak plain `http`, as long as no password goes over it.

use std::fmt;

use base64::Engine as _;
use serde::Deserialize;
use url::Url;

use crate::client::{Client, Failure, Request, shown_url};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::progress::Events;
use crate::source::{is_loopback, shown};

/// What a page of the largest project has, several times over.
const LARGEST_PAGE: u64 = 64 << 20;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/// A package index, such as `https://pypi.org/simple`.
#[derive(Clone, PartialEq, Eq)]
pub struct PackageIndex {
    url: Url,
    /// `name:password` of the address.
    credentials: Option<Secret>,
}

impl fmt::Debug for PackageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageIndex({})", self.url)
    }
}

impl std::str::FromStr for PackageIndex {
    type Err = Error;

    /// # Errors
    /// [`Error::BadEndpoint`] for what is no address, or would send a password in the clear. The message shows no password.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = Url::parse(text.trim());
        let refused =
            |url: &str, reason: &str| Error::BadEndpoint { url: shown(url), reason: reason.to_owned() };
        // What cannot be parsed may hold a password all the same, so it is not shown.
        let mut url = parsed.map_err(|error| refused("index", &error.to_string()))?;
        let user = decoded(url.username());
        let password = url.password().map(decoded);
        let credentials = (!user.is_empty() || password.is_some())
            .then(|| format!("{user}:{}", password.unwrap_or_default()));
        let cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
        if !cleared || url.host_str().is_none_or(str::is_empty) {
            return Err(refused("index", "it has no host"));
        }
        url.set_query(None);
        url.set_fragment(None);
        // Pages of projects lie below, which the last `/` decides.
        let below = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&below);
        match url.scheme() {
            "https" => {}
            "http" if credentials.is_none() || is_loopback(&url) => {}
            "http" => return Err(refused(url.as_str(), "a password would go over an open connection")),
            _ => return Err(refused(url.as_str(), "it is neither `https://` nor `http://`")),
        }
        Ok(Self { url, credentials: credentials.as_deref().and_then(Secret::new) })
    }
}

impl PackageIndex {
    /// Where the index has this file of a project.
    pub(super) fn locate(
        &self,
        client: &Client,
        project: &str,
        file: &str,
        events: &Events,
    ) -> Result<Request, Failure> {
        let page = self.url.join(&format!("{project}/")).map_err(|error| {
            Failure::Fatal(Error::BadEndpoint { url: self.url.to_string(), reason: error.to_string() })
        })?;
        let request = self.authorized(page.clone()).header("Accept", ACCEPT.to_owned());
        let reply = client.bytes(&request, LARGEST_PAGE, events)?;
        let text = String::from_utf8_lossy(&reply.body);
        let found = if text.trim_start().starts_with('{') {
            in_json(&text, file).map_err(|error| {
                Failure::Fatal(Error::BadAnswer { url: shown_url(&page), reason: error.to_string() })
            })?
        } else {
            in_html(&text, &reply.url, file)
        };
        let missing = || Error::FileNotFound { repo: shown_url(&page), path: file.to_owned() };
        let address = found.and_then(|link| reply.url.join(&link).ok()).ok_or_else(missing);
        Ok(self.authorized(address.map_err(Failure::Fatal)?))
    }

    /// A request that carries the password where it goes to the index itself.
    fn authorized(&self, url: Url) -> Request {
        let own = url.origin() == self.url.origin();
        let request = Request::new(url);
        match self.credentials.as_ref().filter(|_| own) {
            Some(credentials) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(credentials.expose());
                request.header("Authorization", format!("Basic {encoded}"))
            }
            None => request,
        }
    }
}

/// The text behind `%40` and the like.
fn decoded(text: &str) -> String {
    // A form's only difference is its `+` for a blank, and a password's `+` is a plus.
    let text = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(text.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

fn in_json(text: &str, file: &str) -> Result<Option<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
    }
    let page: Page = serde_json::from_str(text)?;
    Ok(page.files.into_iter().find(|entry| entry.filename == file).map(|entry| entry.url))
}

/// The first link that ends in the file's name. Links are what `href="…"` says; a page needs no more of HTML than that.
fn in_html(text: &str, page: &Url, file: &str) -> Option<String> {
    let links = text.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let plain = |link: &str| link.trim().replace("&amp;", "&");
    let named = |link: &String| {
        let url = page.join(link).ok()?;
        url.path_segments()?.next_back().map(|name| decoded(name) == file)
    };
    links.map(plain).find(|link| named(link) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_of_the_address_and_never_shown() {
        let index: PackageIndex = "https://me:p%40ss+%25@pypi.example.org/simple?x=1".parse().unwrap();
        assert_eq!(index.url.as_str(), "https://pypi.example.org/simple/");
        assert_eq!(index.credentials.as_ref().map(Secret::expose), Some("me:p@ss+%"));
        assert!(!format!("{index:?}").contains("ss"), "{index:?}");
        let own = index.authorized(index.url.clone());
        assert_eq!(own.own_headers, [("Authorization", "Basic bWU6cEBzcysl".to_owned())]);
        let other = index.authorized("https://files.example.org/x.whl".parse().unwrap());
        assert!(other.own_headers.is_empty());
    }

    #[test]
    fn addresses_that_cannot_be_an_index_are_refused() {
        for (text, fine) in [
            ("https://pypi.org/simple/", true),
            ("http://mirror.example.org/simple", true),
            ("http://me:secret@127.0.0.1:8080/simple", true),
            ("http://me:secret@mirror.example.org/simple", false),
            ("file:///srv/simple", false),
            ("ftp://mirror.example.org/simple", false),
            ("mirror.example.org", false),
            ("", false),
        ] {
            let parsed: Result<PackageIndex> = text.parse();
            assert_eq!(parsed.is_ok(), fine, "{text}");
            if let Err(error) = parsed {
                assert!(!error.to_string().contains("secret"), "{error}");
                assert_eq!(error.exit_code(), 10);
            }
        }
    }

    #[test]
    fn both_forms_of_a_page_are_read() {
        let json = r#"{"files": [{"filename": "a-1.whl", "url": "/f/a-1.whl"}, {"filename": "a-2.whl", "url": "x"}]}"#;
        assert_eq!(in_json(json, "a-1.whl").unwrap().as_deref(), Some("/f/a-1.whl"));
        assert_eq!(in_json(json, "b.whl").unwrap(), None);
        assert!(in_json("{}", "b.whl").is_err());
        let page: Url = "https://mirror.example.org/simple/a/".parse().unwrap();
        let html = "<!DOCTYPE html><a href=\"../../f/a-2.whl#sha256=00\">a-2.whl</a>\n<a rel=x href='../../f/a-1.whl?a=1&amp;b=2#sha256=0'>\
                    a-1.whl</a><a href=broken>";
        assert_eq!(in_html(html, &page, "a-1.whl").as_deref(), Some("../../f/a-1.whl?a=1&b=2#sha256=0"));
        assert_eq!(in_html(html, &page, "a-3.whl"), None);
        assert_eq!(in_html("href=", &page, "a-3.whl"), None);
        assert_eq!(in_html("href=\u{e9}x", &page, "a-3.whl"), None);
    }
}
