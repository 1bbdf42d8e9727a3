//! Where a redirect may lead.

use url::Url;

use super::request::shown_url;
use crate::error::{Error, Result};
use crate::source::{is_loopback, shown};

/// The address behind `location`, which may be relative.
///
/// `https` may lead to `https` anywhere. Plain `http` is only for a test server: from loopback to loopback.
pub(crate) fn target(from: &Url, location: &str) -> Result<Url> {
    let refused = |to: String, reason| Error::Redirect { from: shown_url(from), to, reason };
    let to = from.join(location).map_err(|_| refused(shown(location), "that is not an address"))?;
    let shown_to = shown_url(&to);
    match to.scheme() {
        "https" => {}
        "http" if is_loopback(&to) && is_loopback(from) && from.scheme() == "http" => {}
        "http" => return Err(refused(shown_to, "that is not encrypted")),
        _ => return Err(refused(shown_to, "only `https` is followed")),
    }
    if to.host_str().is_none_or(str::is_empty) {
        return Err(refused(shown_to, "it has no host"));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_encrypted() {
        let cases = [
            ("https://huggingface.co/a/b", "/c/d", Some("https://huggingface.co/c/d")),
            (
                "https://huggingface.co/a/b",
                "https://cdn.example.org/x?sig=1",
                Some("https://cdn.example.org/x?sig=1"),
            ),
            ("https://huggingface.co/a/b", "http://huggingface.co/a/b", None),
            ("https://huggingface.co/a/b", "http://127.0.0.1/x", None),
            ("http://127.0.0.1:1/a", "http://127.0.0.1:2/x", Some("http://127.0.0.1:2/x")),
            ("http://127.0.0.1:1/a", "http://[::1]:2/x", Some("http://[::1]:2/x")),
            ("http://127.0.0.1:1/a", "http://example.org/x", None),
            ("http://127.0.0.1:1/a", "https://example.org/x", Some("https://example.org/x")),
            ("https://huggingface.co/a/b", "file:///etc/passwd", None),
            ("https://huggingface.co/a/b", "ftp://example.org/x", None),
        ];
        for (from, location, expected) in cases {
            let found = target(&Url::parse(from).unwrap(), location);
            assert_eq!(found.ok().map(|url| url.to_string()).as_deref(), expected, "{from} → {location}");
        }
    }
}
