//! NVIDIA's catalog with one model of several versions: guest and keyed routes, token exchange, signed addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use serde_json::json;

use crate::fake_hub::sha256;
use crate::server::{Reply, Request, Server};

/// Who may read the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Everybody,
    KeyHolders,
    /// Its terms have not been accepted.
    Nobody,
}

pub(crate) type Version = (&'static str, Vec<(&'static str, Vec<u8>)>);

pub(crate) struct FakeCatalog {
    pub server: Server,
    /// Bearer tokens given; an old one stops working when a new one is given.
    pub tokens: Arc<AtomicUsize>,
}

fn base64(content: &[u8]) -> String {
    let hash = sha256(content);
    let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).unwrap()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl FakeCatalog {
    /// `nvidia/tao/peoplenet` with these versions, the first being the latest. `field` is `path` or `name`.
    pub(crate) fn start(open: Open, field: &'static str, versions: Vec<Version>) -> Self {
        let tokens = Arc::new(AtomicUsize::new(0));
        let given = Arc::clone(&tokens);
        let server = Server::start(move |request| answer(request, open, field, &versions, &given));
        Self { server, tokens }
    }
}

fn answer(request: &Request, open: Open, field: &str, versions: &[Version], tokens: &AtomicUsize) -> Reply {
    if request.path == "/token" {
        let basic = base64::engine::general_purpose::STANDARD.encode("$oauthtoken:legacy-key");
        if request.header("authorization") != Some(&format!("Basic {basic}")) {
            return Reply::status(401);
        }
        let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
        return Reply::json(&json!({ "token": format!("token-{number}"), "expires_in": 600 }));
    }
    if let Some(rest) = request.path.strip_prefix("/signed/") {
        assert!(request.header("authorization").is_none(), "a key went to a signed address");
        let (version, path) = rest.split_once('/').unwrap();
        return file(versions, version, path)
            .map_or(Reply::status(404), |content| Reply::content(request, content));
    }
    if let Some(rest) = request.path.strip_prefix("/v2/models/nvidia/tao/peoplenet") {
        assert!(request.header("x-ngc-guest-token").is_some());
        return match open {
            Open::Everybody => guest(request, rest, field, versions),
            Open::KeyHolders => {
                Reply::status(401).body(b"{\"requestStatus\":{\"statusCode\":\"UNAUTHORIZED\"}}")
            }
            Open::Nobody => {
                Reply::status(412).body(b"{\"requestStatus\":{\"statusCode\":\"PRECONDITION_FAILED\"}}")
            }
        };
    }
    if let Some(rest) = request.path.strip_prefix("/v2/org/nvidia/team/tao/models/peoplenet") {
        let current = format!("Bearer token-{}", tokens.load(Ordering::SeqCst));
        let bearer = request.header("authorization");
        if bearer != Some(&current) && bearer != Some("Bearer nvapi-good") {
            return Reply::status(401);
        }
        return keyed(request, rest, field, versions);
    }
    Reply::status(404)
}

fn file<'a>(versions: &'a [Version], version: &str, path: &str) -> Option<&'a [u8]> {
    let (_, files) = versions.iter().find(|(name, _)| *name == version)?;
    files.iter().find(|(name, _)| *name == path).map(|(_, content)| content.as_slice())
}

fn model(versions: &[Version]) -> Reply {
    Reply::json(
        &json!({ "model": { "latestVersionIdStr": versions[0].0, "canGuestDownload": true, "license": "NVIDIA Open" } }),
    )
}

fn list(versions: &[Version]) -> Reply {
    let mut all: Vec<_> =
        versions.iter().map(|(name, _)| json!({ "versionId": name, "status": "UPLOAD_COMPLETE" })).collect();
    all.push(json!({ "versionId": "unfinished_onnx", "status": "UPLOAD_PENDING" }));
    Reply::json(&json!({ "modelVersions": all }))
}

fn files(request: &Request, files: &[(&str, Vec<u8>)], field: &str) -> Reply {
    // Pages of two, counted from 1.
    let page: usize = request.parameter("page-number").map_or(1, |n| n.parse().unwrap());
    let of_page = files.iter().skip((page - 1) * 2).take(2);
    let entries: Vec<_> = of_page
        .map(|(name, content)| json!({ field: name, "sizeInBytes": content.len(), "sha256_base64": base64(content) }))
        .collect();
    let next = (page * 2 < files.len()).then_some(page + 1);
    Reply::json(&json!({ "modelFiles": entries, "paginationInfo": { "index": page, "nextPage": next } }))
}

fn guest(request: &Request, rest: &str, field: &str, versions: &[Version]) -> Reply {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => model(versions),
        ["versions"] => list(versions),
        ["versions", version, "files"] => match versions.iter().find(|(name, _)| name == version) {
            Some((_, all)) => files(request, all, field),
            None => Reply::status(404),
        },
        ["versions", version, "files", path @ ..] => file(versions, version, &path.join("/"))
            .map_or(Reply::status(404), |content| Reply::content(request, content)),
        _ => Reply::status(404),
    }
}

fn keyed(request: &Request, rest: &str, field: &str, versions: &[Version]) -> Reply {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => model(versions),
        ["versions"] => list(versions),
        ["versions", version, "files"] => match versions.iter().find(|(name, _)| name == version) {
            Some((_, all)) => files(request, all, field),
            None => Reply::status(404),
        },
        [version, "files"] => {
            let path = request.parameter("path").unwrap().replace("%2F", "/");
            let host = request.header("host").unwrap();
            Reply::json(
                &json!({ "urls": [format!("http://{host}/signed/{version}/{path}")], "filepath": [path] }),
            )
        }
        _ => Reply::status(404),
    }
}
