//! What can go wrong between a source as typed and its files on this disk.
//!
//! [`Error::exit_code`] sorts the variants: 10 is "not found or not allowed", 11 is "found, but nothing in it can
//! be used", 1 is everything that a second try may cure (network, disk).

use std::path::PathBuf;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fact that stopped an acquisition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no source that this program knows.
    #[error("`{text}` is not a model source: {reason}")]
    BadSource {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An id, revision or path holds something that it may not.
    #[error("`{text}` is not {kind}: {reason}")]
    BadName {
        /// What it should have been, with its article.
        kind: &'static str,
        /// What was there.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The text looks like a path, and nothing lies there.
    #[error("`{}` does not exist", path.display())]
    NoSuchPath {
        /// The path as given.
        path: PathBuf,
    },
    /// A configured address cannot be used.
    #[error("`{url}` cannot be used as an endpoint: {reason}")]
    BadEndpoint {
        /// The address as configured.
        url: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// No cache folder is configured, and a download needs one.
    #[error("no cache folder is known: neither `HF_HOME` nor a home folder is set")]
    NoCacheFolder,
    /// The network is switched off and the answer is not in the cache.
    #[error("`{what}` is not in the cache, and the network is switched off")]
    Offline {
        /// The repository, revision or file that is needed.
        what: String,
    },
    /// There is no such repository, or the token may not see it.
    #[error("the repository `{repo}` does not exist, or is private")]
    RepoNotFound {
        /// Owner and name.
        repo: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository's terms have not been accepted.
    #[error("the files of `{repo}` are gated: its terms have not been accepted by this account")]
    Gated {
        /// Owner and name.
        repo: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The hub has switched the repository off.
    #[error("access to `{repo}` is disabled by the hub")]
    Disabled {
        /// Owner and name.
        repo: String,
    },
    /// The token is not a valid one.
    #[error("`{host}` does not accept the access token")]
    BadToken {
        /// Who said so.
        host: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("`{repo}` has no revision `{revision}`")]
    RevisionNotFound {
        /// Owner and name.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// The repository has no such file.
    #[error("`{repo}` has no file or folder `{path}`")]
    FileNotFound {
        /// The repository, model version or folder.
        repo: String,
        /// The path in it.
        path: String,
    },
    /// NGC knows no such model or version.
    #[error("NGC has no model `{model}` that can be seen with these rights")]
    NgcNotFound {
        /// The coordinate, `org/[team/]name[:version]`.
        model: String,
        /// Whether an API key was used.
        with_key: bool,
        /// Versions that exist, newest first; empty when unknown.
        versions: Vec<String>,
    },
    /// NGC wants a key, or a better one.
    #[error("NGC does not allow `{model}` to be read {}", if *.with_key { "with this API key" } else { "without an API key" })]
    NgcUnauthorized {
        /// The coordinate.
        model: String,
        /// Whether an API key was used.
        with_key: bool,
    },
    /// NGC's licence terms have to be accepted in a browser first.
    #[error("the licence terms of `{model}` have not been accepted on NGC")]
    NgcTerms {
        /// The coordinate.
        model: String,
    },

    /// The source holds no file that can become a detector.
    #[error("`{source_name}` holds no ONNX and no weights: {holds}")]
    NothingUsable {
        /// The repository, version or folder.
        source_name: String,
        /// What it does hold, in words.
        holds: String,
    },
    /// The asked variant or file is not there.
    #[error("`{source_name}` has no variant `{wanted}`")]
    NoSuchVariant {
        /// The repository, version or folder.
        source_name: String,
        /// What was asked.
        wanted: String,
        /// What can be asked.
        available: Vec<String>,
    },
    /// Only an encrypted TAO file is there.
    #[error("`{file}` is an encrypted TAO model (`.etlt`), readable only by NVIDIA's own tools")]
    Encrypted {
        /// The `.etlt` file.
        file: String,
        /// The `tao-converter` command line that turns it into an engine on the target machine.
        command: String,
        /// A version of the same model that has a plain ONNX.
        plain_onnx: Option<String>,
    },
    /// A file names another that the source does not have.
    #[error("`{named_by}` needs `{path}`, which `{source_name}` does not have")]
    MissingPart {
        /// The repository, version or folder.
        source_name: String,
        /// The ONNX or index that names it.
        named_by: String,
        /// The missing file.
        path: String,
    },
    /// A path named inside a file leaves the folder.
    #[error("`{named_by}` names `{path}`, which is not a path inside its folder")]
    Escapes {
        /// The ONNX, index or archive that names it.
        named_by: String,
        /// The path as written there.
        path: String,
    },
    /// A model file cannot be read far enough to find its parts.
    #[error("`{path}` cannot be read: {reason}")]
    BadModelFile {
        /// The file.
        path: String,
        /// What is wrong in it.
        reason: String,
    },
    /// An archive is broken, or tries something that it may not.
    #[error("the archive `{path}` is refused: {reason}")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        reason: String,
    },

    /// No inference library has this name.
    #[error("there is no library `{name}`, there is {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    UnknownLibrary {
        /// What was asked.
        name: String,
        /// Every library's name.
        known: Vec<&'static str>,
    },
    /// A library that its makers do not build for this machine.
    #[error("`{library}` is not built for {platform}")]
    NoWheel {
        /// The library.
        library: &'static str,
        /// Operating system and processor.
        platform: String,
    },
    /// A library could not be brought here.
    #[error("installing `{library}` {version}")]
    Install {
        /// The library.
        library: &'static str,
        /// The release.
        version: &'static str,
        /// Where its wheel is.
        url: &'static str,
        /// Where in the wheel it is.
        inside: &'static str,
        /// What went wrong.
        source: Box<Error>,
    },

    /// The server asks for a longer pause than this program waits.
    #[error("`{host}` allows no more requests for {seconds} s")]
    RateLimited {
        /// Who said so.
        host: String,
        /// How long the server wants to be left alone.
        seconds: u64,
    },
    /// The server answered with an error.
    #[error("`{url}` answered {status}{}", detail_text(.detail.as_deref()))]
    Http {
        /// HTTP status.
        status: u16,
        /// The address, without its query.
        url: String,
        /// What the server said, where it said something.
        detail: Option<String>,
    },
    /// No answer came.
    #[error("`{url}` cannot be reached")]
    Transport {
        /// The address, without its query.
        url: String,
        /// The cause.
        source: Box<ureq::Error>,
    },
    /// A redirect leads where it may not.
    #[error("`{from}` redirects to `{to}`: {reason}")]
    Redirect {
        /// The address that answered.
        from: String,
        /// Where it points.
        to: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// An answer is not what the protocol promises.
    #[error("`{url}` gave an answer that cannot be used: {reason}")]
    BadAnswer {
        /// The address, without its query.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection was cut again and again.
    #[error("the download of `{file}` stops at {got} of {} bytes", expected.map_or_else(|| "?".to_owned(), |n| n.to_string()))]
    Cut {
        /// The file.
        file: String,
        /// Bytes that arrived; they are kept for the next try.
        got: u64,
        /// Bytes that there should be.
        expected: Option<u64>,
        /// The last cause.
        reason: String,
    },
    /// The content is not what the hub promises.
    #[error("`{file}` arrived with the wrong content: expected {expected}, found {found}")]
    WrongHash {
        /// The file.
        file: String,
        /// The promised digest, with its kind.
        expected: String,
        /// The digest of what arrived.
        found: String,
    },
    /// The length is not what the hub promises.
    #[error("`{file}` has {found} bytes instead of {expected}")]
    WrongSize {
        /// The file.
        file: String,
        /// The promised length in bytes.
        expected: u64,
        /// The length that was found.
        found: u64,
    },
    /// The disk is full.
    #[error("no space in `{}` for `{file}`{}", folder.display(), space_text(*.needed, *.free))]
    NoSpace {
        /// Where it should go.
        folder: PathBuf,
        /// The file.
        file: String,
        /// Bytes still to write.
        needed: Option<u64>,
        /// Bytes that are free.
        free: Option<u64>,
    },
    /// The operating system refuses a file operation.
    #[error("`{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

fn detail_text(detail: Option<&str>) -> String {
    detail.map_or_else(String::new, |detail| format!(": {detail}"))
}

fn space_text(needed: Option<u64>, free: Option<u64>) -> String {
    match (needed, free) {
        (Some(needed), Some(free)) => format!(": {needed} bytes are needed and {free} are free"),
        _ => String::new(),
    }
}

impl Error {
    /// The program's exit code for this error: 2 wrong argument, 10 not found or not allowed, 11 nothing usable,
    /// 30 not available on this machine, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadSource { .. }
            | Self::BadName { .. }
            | Self::NoSuchPath { .. }
            | Self::BadEndpoint { .. }
            | Self::Offline { .. }
            | Self::RepoNotFound { .. }
            | Self::Gated { .. }
            | Self::Disabled { .. }
            | Self::BadToken { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::NgcNotFound { .. }
            | Self::NgcUnauthorized { .. }
            | Self::NgcTerms { .. } => 10,
            Self::UnknownLibrary { .. } => 2,
            Self::NoWheel { .. } => 30,
            Self::Install { source, .. } => source.exit_code(),
            Self::NothingUsable { .. }
            | Self::NoSuchVariant { .. }
            | Self::Encrypted { .. }
            | Self::MissingPart { .. }
            | Self::Escapes { .. }
            | Self::BadModelFile { .. }
            | Self::Archive { .. } => 11,
            _ => 1,
        }
    }

    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadSource { .. } => EXPECTED.to_owned(),
            // A bad variant, or a path named inside of a model, says itself what it should be.
            Self::BadName { kind, .. } if !kind.contains("variant") && !kind.contains("path") => EXPECTED.to_owned(),
            Self::NoSuchPath { .. } => {
                "a Hugging Face id has the form `owner/name`, with letters, digits, `-`, `_` and `.`".to_owned()
            }
            Self::BadEndpoint { url, .. } if url.contains("://") => {
                "an endpoint is an `https://` address; `http://` only on loopback".to_owned()
            }
            Self::NoCacheFolder => "set `HF_HOME` to a folder that can be written".to_owned(),
            Self::Offline { .. } => "unset `HF_HUB_OFFLINE` and `TRANSFORMERS_OFFLINE`, or fetch it once online".to_owned(),
            Self::RepoNotFound { with_token: false, .. } => {
                "check the spelling; for a private repository set `HF_TOKEN`".to_owned()
            }
            Self::RepoNotFound { .. } => "check the spelling, and that the token's account may read it".to_owned(),
            Self::Gated { repo, with_token: false } => format!(
                "accept the terms on the page of `{repo}`, then set `HF_TOKEN` to a token of that account"
            ),
            Self::Gated { repo, .. } => {
                format!("accept the terms on the page of `{repo}` with the account of this token")
            }
            Self::BadToken { .. } => "set `HF_TOKEN` to a valid token, or unset it for public repositories".to_owned(),
            Self::RevisionNotFound { .. } => "name an existing branch, tag or commit after `@`".to_owned(),
            Self::NgcNotFound { versions, .. } if !versions.is_empty() => {
                format!("existing versions: {}", versions.join(", "))
            }
            Self::NgcNotFound { with_key: false, .. } | Self::NgcUnauthorized { with_key: false, .. } => {
                "for a model that is not public set `NGC_API_KEY` (and `NGC_CLI_ORG`)".to_owned()
            }
            Self::NgcUnauthorized { .. } => {
                "make a new key on org.ngc.nvidia.com, or ask for access to the organisation".to_owned()
            }
            Self::NgcTerms { model } => {
                format!("open the page of `{model}` on catalog.ngc.nvidia.com, accept the terms, and try again")
            }
            Self::NothingUsable { .. } => {
                "name a repository with an ONNX (often `onnx-community/…`) or `model.safetensors`, or give a file of a \
                 subfolder by its URL"
                    .to_owned()
            }
            Self::NoSuchVariant { available, .. } => format!("available: {}", available.join(", ")),
            Self::Encrypted { command, plain_onnx, .. } => match plain_onnx {
                Some(version) => format!("use `{version}`, which has a plain ONNX; or on the target machine: {command}"),
                None => format!("use a version whose name holds `onnx`; or on the target machine: {command}"),
            },
            Self::RateLimited { seconds, .. } => format!("try again in {seconds} s; a token raises the limit"),
            Self::Transport { .. } => {
                "check the network and proxy; `HF_HUB_OFFLINE=1` uses what is in the cache".to_owned()
            }
            Self::Cut { reason, .. } => format!("the last cause was: {reason}; run the same command to go on from there"),
            Self::NoSpace { .. } => "free some space, or set `HF_HOME` to another disk; what arrived is kept".to_owned(),
            Self::NoWheel { library, .. } => {
                format!("build it, and say where it is: `sightline runtime install {library} --path FILE`")
            }
            Self::Install { library, url, inside, source, .. } => return source.install_hint(library, url, inside),
            Self::WrongHash { .. } => "nothing of it was kept; try again, and without a proxy in between".to_owned(),
            _ => return None,
        };
        Some(hint)
    }

    /// The way out when it was a library that did not come.
    fn install_hint(&self, library: &str, url: &str, inside: &str) -> Option<String> {
        match self {
            Self::NoSpace { .. } => Some(
                "free some space, or set `SIGHTLINE_DATA` to a folder on another disk; what arrived is kept"
                    .to_owned(),
            ),
            Self::WrongHash { .. } | Self::WrongSize { .. } => Some(
                "nothing of it was kept; try again, and without the mirror or proxy in between".to_owned(),
            ),
            Self::Transport { .. } | Self::Http { .. } | Self::Offline { .. } | Self::FileNotFound { .. } => {
                Some(format!(
                    "check the network and proxy, or name a mirror with `--index-url`. Without a network: fetch {url} on another \
                 machine, unpack its `{inside}`, and run `sightline runtime install {library} --path FILE`"
                ))
            }
            _ => self.hint(),
        }
    }

    /// An operating-system error at a path; a full disk becomes [`Error::NoSpace`].
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let folder = path.parent().unwrap_or(path).to_owned();
            return Self::NoSpace { folder, file, needed: None, free: None };
        }
        Self::Io { path: path.to_owned(), source }
    }
}

const EXPECTED: &str = "a source is a Hugging Face id (`owner/name`, with `@revision`) or URL, an NGC catalog URL or \
                        `org/[team/]name:version`, a folder, or a `.onnx`, `.safetensors`, `.pt` file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io(std::path::Path::new("/cache/blobs/abc.incomplete"), full);
        assert!(matches!(&error, Error::NoSpace { file, .. } if file == "abc.incomplete"));
        assert_eq!(error.exit_code(), 1);
        assert!(error.hint().is_some_and(|hint| hint.contains("kept")));
    }
}
