//! What a refusal of the hub means.
//!
//! The status alone lies: a missing repository answers 401 to a stranger, a gated one too. `X-Error-Code` decides.

use crate::client::{Client, Refusal};
use crate::error::Error;
use crate::source::{RepoId, RepoPath, Revision};

/// The error for a refused request about this repository.
pub(super) fn explain(
    client: &Client,
    repo: &RepoId,
    revision: &Revision,
    path: Option<&RepoPath>,
    refusal: Refusal,
) -> Error {
    let with_token = client.has_token();
    let repo = repo.to_string();
    let message = refusal.message.as_deref().unwrap_or_default();
    match refusal.code.as_deref() {
        Some("GatedRepo") => return Error::Gated { repo, with_token },
        Some("RepoNotFound") => return Error::RepoNotFound { repo, with_token },
        Some("RevisionNotFound") => return Error::RevisionNotFound { repo, revision: revision.to_string() },
        Some("EntryNotFound") => {
            return Error::FileNotFound { repo, path: path.map_or_else(String::new, ToString::to_string) };
        }
        _ => {}
    }
    if message == "Access to this resource is disabled." {
        return Error::Disabled { repo };
    }
    let host = refusal.url.host_str().unwrap_or_default().to_owned();
    if with_token && refusal.status == 401 && message.contains("Invalid credentials") {
        return Error::BadToken { host };
    }
    if refusal.url.origin() != client.config().endpoint.origin() {
        // The host of the content knows nothing of repositories.
        return refusal.into_error();
    }
    match refusal.status {
        // Without a code, a stranger's 401 on the hub's own pages is a repository that does not exist for them.
        401 | 404 => Error::RepoNotFound { repo, with_token },
        _ => refusal.into_error(),
    }
}
