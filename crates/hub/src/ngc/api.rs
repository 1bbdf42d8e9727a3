//! The catalog's addresses, as a guest and with a key.
//!
//! Both have the same answers at different paths (`/v2/models/ORG/TEAM/NAME`, `/v2/org/ORG/team/TEAM/models/NAME`).
//! Lists name a file `path` or `name`, depending on the age of the model.

use serde::Deserialize;
use url::Url;

use super::access::{self, Access};
use super::digest_of_base64;
use crate::choose::{Entry, Listing};
use crate::client::{Client, Failure, Request, shown_url};
use crate::error::{Error, Result};
use crate::progress::Events;
use crate::source::{NgcId, RepoPath, shown};

/// An answer larger than this is not one of the catalog's.
const LARGEST_ANSWER: u64 = 32 << 20;
/// More pages than any model has.
const MOST_PAGES: usize = 100;
/// Versions whose lists are looked into for a plain ONNX.
const MOST_VERSIONS_TRIED: usize = 8;

/// What is kept of a model's info.
pub(super) struct ModelInfo {
    pub latest: Option<String>,
    pub licence: Option<String>,
}

#[derive(Deserialize)]
struct ModelAnswer {
    model: Model,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    latest_version_id_str: Option<String>,
    can_guest_download: Option<bool>,
    #[serde(alias = "licenseType", alias = "licenseTerms")]
    license: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilesAnswer {
    #[serde(default)]
    model_files: Vec<File>,
    pagination_info: Option<Pagination>,
}

#[derive(Deserialize)]
struct File {
    path: Option<String>,
    name: Option<String>,
    #[serde(rename = "sizeInBytes")]
    size: Option<u64>,
    sha256_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    next_page: Option<u64>,
    index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionsAnswer {
    #[serde(default)]
    model_versions: Vec<ModelVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelVersion {
    version_id: String,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Direct {
    urls: Vec<String>,
}

/// The address of a model or something below it.
fn address(client: &Client, access: Access, id: &NgcId, below: &[&str]) -> Url {
    let mut url = client.config().ngc.api.clone();
    let mut parts = vec!["v2"];
    match access {
        Access::Guest => {
            parts.extend(["models", id.org()]);
            parts.extend(id.team());
        }
        Access::Key => {
            parts.extend(["org", id.org()]);
            parts.extend(id.team().into_iter().flat_map(|team| ["team", team]));
            parts.push("models");
        }
    }
    parts.push(id.name());
    parts.extend(below);
    // An endpoint with a host always has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

/// Asks for JSON; an exchanged token that has run out is renewed once.
fn ask<T: serde::de::DeserializeOwned>(
    client: &Client,
    access: Access,
    id: &NgcId,
    url: &Url,
    events: &Events,
) -> Result<T, Failure> {
    let request = access::signed(client, access, id, Request::new(url.clone()), events)?;
    match client.json(&request, LARGEST_ANSWER, events) {
        Ok((value, _)) => Ok(value),
        Err(Failure::Refused(refusal))
            if access == Access::Key && refusal.status == 401 && access::forget_tokens(client) =>
        {
            let request = access::signed(client, access, id, Request::new(url.clone()), events)?;
            client.json(&request, LARGEST_ANSWER, events).map(|(value, _)| value)
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a key may open what a guest was refused.
fn key_may_help(client: &Client, access: Access, failure: &Failure) -> bool {
    let is_closed = matches!(failure, Failure::Refused(refusal) if matches!(refusal.status, 401 | 403 | 404));
    access == Access::Guest && is_closed && access::has_key(client)
}

fn explained(access: Access, id: &NgcId, versions: Vec<String>, failure: Failure) -> Error {
    match failure {
        Failure::Refused(refusal) => access::explain(id, access == Access::Key, versions, *refusal),
        other => other.into_error(),
    }
}

/// The model's info, and as whom it could be read.
pub(super) fn model(client: &Client, id: &NgcId, events: &Events) -> Result<(Access, ModelInfo)> {
    let info = |access| ask::<ModelAnswer>(client, access, id, &address(client, access, id, &[]), events);
    let (access, answer) = match info(Access::Guest) {
        Ok(answer) if answer.model.can_guest_download == Some(false) => {
            if !access::has_key(client) {
                return Err(Error::NgcUnauthorized { model: id.to_string(), with_key: false });
            }
            (Access::Key, Ok(answer))
        }
        Err(failure) if key_may_help(client, Access::Guest, &failure) => (Access::Key, info(Access::Key)),
        other => (Access::Guest, other),
    };
    let model = answer.map_err(|failure| explained(access, id, Vec::new(), failure))?.model;
    let licence =
        model.license.and_then(|value| value.as_str().map(shown)).filter(|text| !text.trim().is_empty());
    Ok((access, ModelInfo { latest: model.latest_version_id_str, licence }))
}

/// The files of a version. An empty listing means that the catalog has no list for it.
pub(super) fn files(
    client: &Client,
    access: Access,
    id: &NgcId,
    events: &Events,
) -> Result<(Access, Listing)> {
    match pages(client, access, id, events) {
        Ok(listing) => Ok((access, listing)),
        Err(failure) if key_may_help(client, access, &failure) => {
            let listing = pages(client, Access::Key, id, events);
            listing
                .map(|listing| (Access::Key, listing))
                .map_err(|f| with_versions(client, Access::Key, id, f, events))
        }
        Err(failure) => Err(with_versions(client, access, id, failure, events)),
    }
}

fn with_versions(client: &Client, access: Access, id: &NgcId, failure: Failure, events: &Events) -> Error {
    let is_missing = matches!(&failure, Failure::Refused(refusal) if refusal.status == 404);
    let known = if is_missing { versions(client, access, id, events) } else { Vec::new() };
    explained(access, id, known, failure)
}

fn pages(client: &Client, access: Access, id: &NgcId, events: &Events) -> Result<Listing, Failure> {
    let version = id.version().unwrap_or_default();
    let base = address(client, access, id, &["versions", version, "files"]);
    let mut url = base.clone();
    if access == Access::Key {
        url.set_query(Some("page-size=1000"));
    }
    let mut listing = Listing::default();
    for _ in 0..MOST_PAGES {
        let answer: FilesAnswer = ask(client, access, id, &url, events)?;
        answer.model_files.into_iter().for_each(|file| add(&mut listing, file));
        let pages = answer.pagination_info;
        let next = pages.and_then(|p| p.next_page.filter(|next| p.index.is_none_or(|index| *next > index)));
        let Some(next) = next else { return Ok(listing.sorted()) };
        url = base.clone();
        url.set_query(Some(&format!("page-size=1000&page-number={next}")));
    }
    let reason = format!("it has more than {MOST_PAGES} pages");
    Err(Failure::Fatal(Error::BadAnswer { url: shown_url(&base), reason }))
}

fn add(listing: &mut Listing, file: File) {
    let Some(name) = file.path.or(file.name) else { return };
    let digest = file.sha256_base64.as_deref().and_then(digest_of_base64);
    match name.parse() {
        Ok(path) => listing.entries.push(Entry { path, size: file.size, digest }),
        Err(_) => listing.left_out.push(shown(&name)),
    }
}

/// The versions that can be downloaded, as the catalog orders them; none when it does not say.
pub(super) fn versions(client: &Client, access: Access, id: &NgcId, events: &Events) -> Vec<String> {
    let url = address(client, access, id, &["versions"]);
    let Ok(answer) = ask::<VersionsAnswer>(client, access, id, &url, events) else { return Vec::new() };
    let complete = |v: &ModelVersion| v.status.as_ref().is_none_or(|status| status == "UPLOAD_COMPLETE");
    answer.model_versions.into_iter().filter(complete).map(|v| shown(&v.version_id)).collect()
}

/// The error for a model without any version.
pub(super) fn not_found(client: &Client, access: Access, id: &NgcId, events: &Events) -> Error {
    let versions = versions(client, access, id, events);
    Error::NgcNotFound { model: id.to_string(), with_key: access == Access::Key, versions }
}

/// A version of the same model that has a plain ONNX: those with `onnx` in their name are looked at first.
pub(super) fn version_with_onnx(
    client: &Client,
    access: Access,
    id: &NgcId,
    events: &Events,
) -> Option<NgcId> {
    let mut names = versions(client, access, id, events);
    names.retain(|name| Some(name.as_str()) != id.version());
    names.sort_by_key(|name| !name.contains("onnx"));
    names.iter().take(MOST_VERSIONS_TRIED).filter_map(|name| id.at(name).ok()).find(|other| {
        let listing = pages(client, access, other, events).unwrap_or_default();
        listing.entries.iter().any(|entry| entry.path.extension() == "onnx")
    })
}

/// The request for one file's content, or for everything as one archive.
///
/// With a key the catalog answers with a signed address that expires, so this is asked again for every try.
pub(super) fn locate(
    client: &Client,
    access: Access,
    id: &NgcId,
    path: Option<&RepoPath>,
    events: &Events,
) -> Result<Request, Failure> {
    let version = id.version().unwrap_or_default();
    let Some(path) = path else {
        let url = address(client, access, id, &["versions", version, "zip"]);
        return access::signed(client, access, id, Request::new(url), events);
    };
    if access == Access::Guest {
        let mut below = vec!["versions", version, "files"];
        below.extend(path.as_str().split('/'));
        let url = address(client, access, id, &below);
        return access::signed(client, access, id, Request::new(url), events);
    }
    let mut url = address(client, access, id, &[version, "files"]);
    url.query_pairs_mut().append_pair("path", path.as_str());
    let direct: Direct = ask(client, access, id, &url, events)?;
    let unusable =
        |reason: &str| Failure::Fatal(Error::BadAnswer { url: shown_url(&url), reason: reason.to_owned() });
    let signed = direct.urls.first().ok_or_else(|| unusable("it names no address"))?;
    let signed = crate::client::followed(&url, signed).map_err(Failure::Fatal)?;
    Ok(Request::new(signed))
}
