//! URLs of model pages and files, as copied from a browser.
//!
//! The `url` crate resolves `..`, `%2e` and backslashes silently; here they are refused in the raw text first.

use url::{Host, Url};

use super::{NgcId, Revision, Source, shown};
use crate::error::{Error, Result};

/// The NGC catalog's host.
const NGC_CATALOG: &str = "catalog.ngc.nvidia.com";
/// Hosts that mean the Hugging Face Hub whatever the endpoint.
const HUGGING_FACE_HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// Tabs of a catalog page, which stand where a version could.
const NGC_TABS: [&str; 9] = [
    "files",
    "file-browser",
    "version",
    "versions",
    "overview",
    "setup",
    "performance",
    "tags",
    "related-collections",
];

/// The text as a URL with its scheme, or `None` where it is not an address at all.
pub(super) fn with_scheme(text: &str) -> Option<String> {
    if text.contains("://") {
        return Some(text.to_owned());
    }
    let host = text.split('/').next()?;
    let known = host == NGC_CATALOG || HUGGING_FACE_HOSTS.contains(&host);
    known.then(|| format!("https://{text}"))
}

/// The source that an address names.
pub(super) fn source(text: &str, endpoint: &Url) -> Result<Source> {
    let refused = |reason: &str| Error::BadSource { text: shown(text), reason: reason.to_owned() };
    let lower = text.to_ascii_lowercase();
    if text.contains('\\')
        || lower.contains("%2e")
        || text.split(['/', '?', '#']).any(|part| part == ".." || part == ".")
    {
        return Err(refused("an address may not hold `..`, `.` or backslashes"));
    }
    let url = Url::parse(text).map_err(|e| refused(&e.to_string()))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(refused("only `https://` addresses are read"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("an address may not hold a name or password"));
    }
    let segments = segments(&url).ok_or_else(|| refused("its path is not valid text"))?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let host = url.host_str().unwrap_or_default();
    if host == NGC_CATALOG {
        return ngc(&url, &segments).unwrap_or_else(|| {
            Err(refused(
                "a catalog address has the form `/orgs/ORG/[teams/TEAM/]models/NAME[/files][?version=V]`",
            ))
        });
    }
    let base = self::segments(endpoint).unwrap_or_default();
    if url.origin() == endpoint.origin() {
        let base: Vec<&str> = base.iter().map(String::as_str).collect();
        let Some(rest) = segments.strip_prefix(base.as_slice()) else {
            return Err(refused("it lies outside of the configured endpoint"));
        };
        return hugging_face(rest, text);
    }
    if HUGGING_FACE_HOSTS.contains(&host) {
        return hugging_face(&segments, text);
    }
    Err(refused("its host is neither the Hugging Face Hub nor the NGC catalog"))
}

fn hugging_face(segments: &[&str], text: &str) -> Result<Source> {
    let refused = |reason: &str| Error::BadSource { text: shown(text), reason: reason.to_owned() };
    let (owner, name, rest) = match segments {
        ["datasets" | "spaces" | "api" | "docs" | "collections" | "papers" | "models", ..] => {
            return Err(refused("it is not the page of a model"));
        }
        [owner, name, rest @ ..] => (owner, name, rest),
        _ => return Err(refused("it names no repository")),
    };
    if let Some((name, revision)) = name.split_once('@') {
        let revision = std::iter::once(revision).chain(rest.iter().copied()).collect::<Vec<_>>().join("/");
        return Ok(Source::HuggingFace {
            repo: format!("{owner}/{name}").parse()?,
            revision: Some(revision.parse()?),
            path: None,
        });
    }
    let repo = format!("{owner}/{name}").parse()?;
    let Some((page, rest)) = rest.split_first() else {
        return Ok(Source::HuggingFace { repo, revision: None, path: None });
    };
    if !matches!(*page, "tree" | "resolve" | "blob" | "raw" | "commit") {
        return Err(refused("it is not a page of files (`/tree/`, `/resolve/` or `/blob/`)"));
    }
    let (revision, path) = revision_and_path(rest).ok_or_else(|| refused("it names no revision"))?;
    let revision: Revision = revision.parse()?;
    if path.is_empty() && matches!(*page, "resolve" | "blob" | "raw") {
        return Err(refused("it names no file"));
    }
    let path = if path.is_empty() { None } else { Some(path.parse()?) };
    Ok(Source::HuggingFace { repo, revision: Some(revision), path })
}

/// `refs/pr/1` is one revision although it has slashes.
fn revision_and_path(segments: &[&str]) -> Option<(String, String)> {
    let taken = match segments {
        ["refs", "pr" | "convert" | "heads" | "tags", _, ..] => 3,
        [_, ..] => 1,
        [] => return None,
    };
    let (revision, path) = segments.split_at(taken);
    Some((revision.join("/"), path.join("/")))
}

/// `None` where the path is not that of a model.
fn ngc(url: &Url, segments: &[&str]) -> Option<Result<Source>> {
    let (org, team, rest) = match segments {
        ["orgs", org, "models", rest @ ..] => (org, None, rest),
        ["orgs", org, "teams", team, "models", rest @ ..] | ["orgs", org, team, "models", rest @ ..] => {
            (org, Some(*team), rest)
        }
        _ => return None,
    };
    let (name, rest) = rest.split_first()?;
    let in_path = rest.first().filter(|part| !NGC_TABS.contains(part)).map(|part| (*part).to_owned());
    let in_query = url.query_pairs().find(|(key, _)| key == "version").map(|(_, value)| value.into_owned());
    let version = in_query.or(in_path);
    Some(NgcId::new(org, team, name, version.as_deref()).map(Source::Ngc))
}

/// Whether the address is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The decoded, non-empty parts of the path; an encoded slash separates nothing but does stay in its part.
fn segments(url: &Url) -> Option<Vec<String>> {
    url.path_segments()?.filter(|part| !part.is_empty()).map(percent_decoded).collect()
}

/// `None` for a broken escape or for bytes that are not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}
