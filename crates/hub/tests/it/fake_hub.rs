//! A Hugging Face Hub with one repository: model info, paged tree, resolve, and a second server as its CDN.
//!
//! Large files are answered as the real hub does: 302 to a signed address on another host, with the headers that
//! describe the file on the redirect. Faults are queued by path and used up one a request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::{Reply, Request, Server};

pub(crate) const COMMIT: &str = "1234567890abcdef1234567890abcdef12345678";
pub(crate) const REPO: &str = "PekingU/rtdetr_r50vd";

#[derive(Clone)]
pub(crate) struct HubFile {
    pub content: Vec<u8>,
    pub lfs: bool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, HubFile>,
    faults: Mutex<HashMap<String, VecDeque<Reply>>>,
    /// Signed addresses older than this number have expired.
    oldest_signature: AtomicUsize,
    signatures: AtomicUsize,
    no_ranges: bool,
    page: usize,
}

pub(crate) struct FakeHub {
    pub hub: Server,
    pub cdn: Server,
    state: Arc<State>,
}

/// The promised digests of a content.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub(crate) fn git_blob(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Content that compresses badly and differs by seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

impl FakeHub {
    /// A hub whose repository has these files; those with `true` are large (LFS).
    pub(crate) fn start(files: &[(&str, &[u8], bool)]) -> Self {
        Self::with(files, false, 1000)
    }

    pub(crate) fn without_ranges(files: &[(&str, &[u8], bool)]) -> Self {
        Self::with(files, true, 1000)
    }

    pub(crate) fn with_pages_of(page: usize, files: &[(&str, &[u8], bool)]) -> Self {
        Self::with(files, false, page)
    }

    fn with(files: &[(&str, &[u8], bool)], no_ranges: bool, page: usize) -> Self {
        let files = files
            .iter()
            .map(|(path, content, lfs)| {
                ((*path).to_owned(), HubFile { content: content.to_vec(), lfs: *lfs })
            })
            .collect();
        let state = Arc::new(State { files, no_ranges, page, ..State::default() });
        let of_cdn = Arc::clone(&state);
        let cdn = Server::start(move |request| of_cdn.cdn(request));
        let (of_hub, cdn_url) = (Arc::clone(&state), cdn.url());
        let hub = Server::start(move |request| of_hub.hub(request, &cdn_url));
        Self { hub, cdn, state }
    }

    /// The next requests whose path ends in `path` get these replies.
    pub(crate) fn fault(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.faults.lock().unwrap().entry(path.to_owned()).or_default().extend(replies);
    }

    /// The CDN breaks off its next replies for this content after so many bytes.
    pub(crate) fn cut(&self, content: &[u8], after: &[usize]) {
        let path = format!("/blob/{}", sha256(content));
        // A marker: the reply is made when the range is known.
        self.fault(&path, after.iter().map(|bytes| Reply::status(0).cut_after(*bytes)));
    }

    /// All signed addresses given so far stop working.
    pub(crate) fn expire_signatures(&self) {
        self.state.oldest_signature.store(self.state.signatures.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl State {
    fn next_fault(&self, path: &str) -> Option<Reply> {
        let mut faults = self.faults.lock().unwrap();
        faults.iter_mut().find(|(suffix, _)| path.ends_with(suffix.as_str()))?.1.pop_front()
    }

    fn hub(&self, request: &Request, cdn: &str) -> Reply {
        if let Some(fault) = self.next_fault(&request.path) {
            return fault;
        }
        let api = format!("/api/models/{REPO}");
        if let Some(rest) = request.path.strip_prefix("/api/models/old/name") {
            return Reply::status(307).header("Location", format!("{api}{rest}"));
        }
        let Some(rest) = request.path.strip_prefix(&api) else {
            let files = request.path.strip_prefix(&format!("/{REPO}/resolve/"));
            let file = files
                .and_then(|rest| rest.strip_prefix("main/").or(rest.strip_prefix(&format!("{COMMIT}/"))));
            return match file {
                Some(path) => self.resolve(request, path, cdn),
                None => {
                    refusal(if request.header("authorization").is_some() { 404 } else { 401 }, "RepoNotFound")
                }
            };
        };
        match rest {
            "/revision/main" | "/revision/refs%2Fpr%2F1" => Reply::json(&json!({
                "id": REPO, "sha": COMMIT, "gated": false, "cardData": { "license": "apache-2.0" },
            })),
            _ if rest == format!("/revision/{COMMIT}") => Reply::json(&json!({ "id": REPO, "sha": COMMIT })),
            _ if rest == format!("/tree/{COMMIT}") => self.tree(request),
            _ => refusal(404, "RevisionNotFound"),
        }
    }

    fn tree(&self, request: &Request) -> Reply {
        let begin: usize = request.parameter("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let entries: Vec<_> = self
            .files
            .iter()
            .skip(begin)
            .take(self.page)
            .map(|(path, file)| {
                let mut entry = json!({
                    "type": "file", "path": path, "size": file.content.len(), "oid": git_blob(&file.content),
                });
                if file.lfs {
                    entry["oid"] = json!(git_blob(b"pointer"));
                    entry["lfs"] =
                        json!({ "oid": sha256(&file.content), "size": file.content.len(), "pointerSize": 134 });
                }
                entry
            })
            .chain([json!({ "type": "directory", "path": "onnx", "oid": git_blob(b"") })])
            .collect();
        let reply = Reply::json(&json!(entries));
        let next = begin + self.page;
        if next >= self.files.len() {
            return reply;
        }
        let host = request.header("host").unwrap();
        reply.header(
            "Link",
            format!("<http://{host}{}?recursive=true&cursor={next}>; rel=\"next\"", request.path),
        )
    }

    fn resolve(&self, request: &Request, path: &str, cdn: &str) -> Reply {
        let path = path.replace("%20", " ");
        let Some(file) = self.files.get(&path) else { return refusal(404, "EntryNotFound") };
        if !file.lfs {
            let etag = format!("\"{}\"", git_blob(&file.content));
            return self.content(request, &file.content).header("ETag", etag).header("X-Repo-Commit", COMMIT);
        }
        let hash = sha256(&file.content);
        let signature = self.signatures.fetch_add(1, Ordering::SeqCst);
        Reply::status(302)
            .header("Location", format!("{cdn}/blob/{hash}?sig={signature}"))
            .header("X-Repo-Commit", COMMIT)
            .header("X-Linked-Etag", format!("\"{hash}\""))
            .header("X-Linked-Size", file.content.len())
            .body(b"Found. Redirecting")
    }

    fn cdn(&self, request: &Request) -> Reply {
        let fault = self.next_fault(&request.path);
        if let Some(fault) = fault.clone().filter(|fault| fault.status != 0) {
            return fault;
        }
        let signature: usize = request.parameter("sig").map_or(0, |n| n.parse().unwrap());
        if signature < self.oldest_signature.load(Ordering::SeqCst) {
            return Reply::status(403).body(b"<Error><Code>AccessDenied</Code></Error>");
        }
        let hash = request.path.trim_start_matches("/blob/");
        let Some(file) = self.files.values().find(|file| sha256(&file.content) == hash) else {
            return Reply::status(404);
        };
        let mut reply = self.content(request, &file.content).header("ETag", "\"a-xet-hash\"");
        reply.cut_after = fault.and_then(|fault| fault.cut_after);
        reply
    }

    fn content(&self, request: &Request, content: &[u8]) -> Reply {
        if self.no_ranges { Reply::status(200).body(content) } else { Reply::content(request, content) }
    }
}

/// The hub's way to say no.
pub(crate) fn refusal(status: u16, code: &str) -> Reply {
    Reply::status(status)
        .header("X-Error-Code", code)
        .header("X-Error-Message", "no")
        .body(b"{\"error\":\"no\"}")
}
