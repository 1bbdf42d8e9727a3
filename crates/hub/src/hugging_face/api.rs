//! The three addresses of the hub that are asked: model info, tree, resolve.
//!
//! The tree promises for every file its git blob hash, and for large files the SHA-256 of the content; for those the
//! git hash is that of the pointer and says nothing about the content.

use serde::Deserialize;
use url::Url;

use crate::choose::{Digest, Entry, Listing};
use crate::client::{Client, Failure, shown_url};
use crate::error::Error;
use crate::licence::from_card_data;
use crate::progress::{Event, Events};
use crate::source::{RepoId, RepoPath, Revision, is_hex, shown};

/// A page of JSON larger than this is not one of the hub's.
const LARGEST_PAGE: u64 = 32 << 20;
/// More pages than any repository has.
const MOST_PAGES: usize = 1000;

/// What is kept of a model's info.
#[derive(Debug)]
pub(super) struct ModelInfo {
    /// The commit that the revision is at, 40 hexadecimal digits.
    pub commit: String,
    /// The licence of the model card.
    pub licence: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InfoAnswer {
    id: Option<String>,
    sha: Option<String>,
    card_data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// The commit and licence of a revision. A renamed repository redirects here; that is told.
pub(super) fn model_info(
    client: &Client,
    repo: &RepoId,
    revision: &Revision,
    events: &Events,
) -> Result<ModelInfo, Failure> {
    let url = address(client, &["api", "models", repo.owner(), repo.name(), "revision", revision.as_str()]);
    let request = client.hub_request(url);
    let (answer, _) = client.json::<InfoAnswer>(&request, LARGEST_PAGE, events)?;
    let Some(commit) = answer.sha.filter(|sha| is_hex(sha, 40)) else {
        let reason = "it has no commit hash in `sha`".to_owned();
        return Err(Failure::Fatal(Error::BadAnswer { url: shown_url(&request.url), reason }));
    };
    if let Some(id) = answer.id.filter(|id| *id != repo.to_string()) {
        events.send(Event::Note(format!("`{repo}` is now called `{}`", shown(&id))));
    }
    Ok(ModelInfo { commit, licence: answer.card_data.as_ref().and_then(from_card_data) })
}

/// All files of a commit.
pub(super) fn tree(
    client: &Client,
    repo: &RepoId,
    commit: &str,
    events: &Events,
) -> Result<Listing, Failure> {
    let mut url = address(client, &["api", "models", repo.owner(), repo.name(), "tree", commit]);
    url.set_query(Some("recursive=true&expand=false"));
    let mut listing = Listing::default();
    for _ in 0..MOST_PAGES {
        let request = client.hub_request(url.clone());
        let (page, headers) = client.json::<Vec<TreeEntry>>(&request, LARGEST_PAGE, events)?;
        for file in page.into_iter().filter(|entry| entry.kind == "file") {
            add(&mut listing, file);
        }
        let link = headers.get("link").and_then(|value| value.to_str().ok());
        let Some(next) = link.and_then(next_page) else { return Ok(listing.sorted()) };
        let next = url.join(next).ok().filter(|next| next.origin() == url.origin());
        url = next.ok_or_else(|| {
            let reason = "its next page is on another host".to_owned();
            Failure::Fatal(Error::BadAnswer { url: shown_url(&request.url), reason })
        })?;
    }
    let reason = format!("it has more than {MOST_PAGES} pages");
    Err(Failure::Fatal(Error::BadAnswer { url: shown_url(&url), reason }))
}

fn add(listing: &mut Listing, file: TreeEntry) {
    let Ok(path) = file.path.parse() else {
        listing.left_out.push(shown(&file.path));
        return;
    };
    let (size, digest) = match file.lfs {
        Some(lfs) => (lfs.size, is_hex(&lfs.oid, 64).then_some(Digest::Sha256(lfs.oid))),
        None => (file.size, file.oid.filter(|oid| is_hex(oid, 40)).map(Digest::GitBlob)),
    };
    listing.entries.push(Entry { path, size: Some(size), digest });
}

/// The address in `<…>; rel="next"` of a `Link` header.
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (address, attributes) = part.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = attributes.split(';').any(|a| matches!(a.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then_some(address)
    })
}

/// The address of a file's content at a commit.
pub(super) fn resolve_url(client: &Client, repo: &RepoId, commit: &str, path: &RepoPath) -> Url {
    let mut parts = vec![repo.owner(), repo.name(), "resolve", commit];
    parts.extend(path.as_str().split('/'));
    address(client, &parts)
}

/// The endpoint with these parts added, each percent-encoded whole (`refs/pr/1` is one part).
fn address(client: &Client, parts: &[&str]) -> Url {
    let mut url = client.config().endpoint.clone();
    // A configured endpoint has a host, so it has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_one_marked_so() {
        let cases = [
            ("<https://x/api?cursor=a>; rel=\"next\"", Some("https://x/api?cursor=a")),
            ("<https://x/1>; rel=\"prev\", <https://x/2>; rel=\"next\"", Some("https://x/2")),
            ("<https://x/1>; rel=\"last\"", None),
            ("nonsense", None),
        ];
        for (header, expected) in cases {
            assert_eq!(next_page(header), expected, "{header}");
        }
    }
}
