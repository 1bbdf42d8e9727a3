//! Where a model comes from, as typed by a user.
//!
//! [`Source::resolve`] asks the disk first: an existing path wins over an id of the same spelling. [`Source::parse`]
//! never looks at the disk. Whatever holds `..`, odd characters or a path trick is refused here, so nothing behind
//! this module has to check a name again.

mod ngc_id;
mod repo_id;
mod repo_path;
mod web_address;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

pub use ngc_id::NgcId;
pub use repo_id::{RepoId, Revision};
pub use repo_path::RepoPath;

pub(crate) use repo_id::is_hex;
pub(crate) use repo_path::shown;
pub(crate) use web_address::is_loopback;

use crate::error::{Error, Result};

/// The hub that a source without an address means.
pub const HUGGING_FACE: &str = "https://huggingface.co";

/// Extensions of model files that can be given as a source.
pub const MODEL_EXTENSIONS: [&str; 5] = ["onnx", "safetensors", "pt", "pth", "bin"];

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A repository of the Hugging Face Hub.
    HuggingFace {
        /// Owner and name.
        repo: RepoId,
        /// Branch, tag or commit; `None` for the main branch.
        revision: Option<Revision>,
        /// The one file or folder of it that is meant, where the address named one.
        path: Option<RepoPath>,
    },
    /// A model of NVIDIA's catalog.
    Ngc(NgcId),
    /// A folder of this machine, laid out like a repository.
    Folder(PathBuf),
    /// One model file of this machine.
    File(PathBuf),
}

impl Source {
    /// The source that `text` names, where an existing path wins over an id.
    ///
    /// `endpoint` is the configured hub: its URLs are accepted beside those of huggingface.co.
    pub fn resolve(text: &str, endpoint: &Url) -> Result<Self> {
        let path = Path::new(text);
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self::Folder(path.to_owned())),
            Ok(_) => Ok(Self::File(path.to_owned())),
            Err(_) => Self::parse(text, endpoint),
        }
    }

    /// The remote source that `text` names, without a look at the disk.
    pub fn parse(text: &str, endpoint: &Url) -> Result<Self> {
        let text = text.trim();
        let refused = |reason: &str| Error::BadSource { text: shown(text), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(refused("it is empty"));
        }
        if text.len() > 2048 || text.chars().any(char::is_control) {
            return Err(refused("it is too long or holds control characters"));
        }
        if let Some(url) = web_address::with_scheme(text) {
            return web_address::source(&url, endpoint);
        }
        let extension = Path::new(text).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_model_file = MODEL_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
        if text.starts_with(['/', '.', '~']) || is_model_file {
            return Err(Error::NoSuchPath { path: PathBuf::from(text) });
        }
        if let Some((id, revision)) = text.split_once('@') {
            return Ok(Self::HuggingFace {
                repo: id.parse()?,
                revision: Some(revision.parse()?),
                path: None,
            });
        }
        if text.contains(':') || text.matches('/').count() == 2 {
            return Ok(Self::Ngc(text.parse()?));
        }
        Ok(Self::HuggingFace { repo: text.parse()?, revision: None, path: None })
    }

    /// A short name for folders and reports: the repository's, model's, folder's or file's own name.
    pub fn name(&self) -> String {
        let stem = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
        match self {
            Self::HuggingFace { repo, .. } => repo.name().to_owned(),
            Self::Ngc(id) => id.name().to_owned(),
            Self::Folder(path) => std::path::absolute(path)
                .ok()
                .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
                .unwrap_or_else(|| "model".to_owned()),
            Self::File(path) => stem(path).unwrap_or_else(|| "model".to_owned()),
        }
    }

    /// Whether it is read over the network.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::HuggingFace { .. } | Self::Ngc(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace { repo, revision, path } => {
                write!(f, "{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                path.as_ref().map_or(Ok(()), |path| write!(f, " ({path})"))
            }
            Self::Ngc(id) => write!(f, "{id}"),
            Self::Folder(path) | Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    /// Like [`Source::parse`] with the public hub.
    fn from_str(text: &str) -> Result<Self> {
        let endpoint = Url::parse(HUGGING_FACE)
            .map_err(|e| Error::BadEndpoint { url: HUGGING_FACE.to_owned(), reason: e.to_string() })?;
        Self::parse(text, &endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hugging_face(repo: &str, revision: Option<&str>, path: Option<&str>) -> Source {
        Source::HuggingFace {
            repo: repo.parse().unwrap(),
            revision: revision.map(|r| r.parse().unwrap()),
            path: path.map(|p| p.parse().unwrap()),
        }
    }

    #[test]
    fn ids_urls_and_coordinates_are_told_apart() {
        let id = "PekingU/rtdetr_r50vd";
        let ngc = |text: &str| Source::Ngc(text.parse().unwrap());
        let cases = [
            ("PekingU/rtdetr_r50vd", hugging_face(id, None, None)),
            ("PekingU/rtdetr_r50vd@refs/pr/1", hugging_face(id, Some("refs/pr/1"), None)),
            ("https://huggingface.co/PekingU/rtdetr_r50vd", hugging_face(id, None, None)),
            ("https://huggingface.co/PekingU/rtdetr_r50vd/", hugging_face(id, None, None)),
            ("huggingface.co/PekingU/rtdetr_r50vd", hugging_face(id, None, None)),
            ("https://hf.co/PekingU/rtdetr_r50vd@v1", hugging_face(id, Some("v1"), None)),
            ("https://huggingface.co/PekingU/rtdetr_r50vd/tree/main", hugging_face(id, Some("main"), None)),
            (
                "https://huggingface.co/PekingU/rtdetr_r50vd/tree/refs%2Fpr%2F1/onnx",
                hugging_face(id, Some("refs/pr/1"), Some("onnx")),
            ),
            (
                "https://huggingface.co/PekingU/rtdetr_r50vd/tree/refs/pr/1/onnx",
                hugging_face(id, Some("refs/pr/1"), Some("onnx")),
            ),
            (
                "https://huggingface.co/PekingU/rtdetr_r50vd/resolve/main/onnx/model_fp16.onnx?download=true",
                hugging_face(id, Some("main"), Some("onnx/model_fp16.onnx")),
            ),
            (
                "https://huggingface.co/PekingU/rtdetr_r50vd/blob/v1/my%20model.onnx",
                hugging_face(id, Some("v1"), Some("my model.onnx")),
            ),
            (
                "https://hub.example.org/mirror/PekingU/rtdetr_r50vd/tree/v1",
                hugging_face(id, Some("v1"), None),
            ),
            ("nvidia/tao/peoplenet:pruned_v1", ngc("nvidia/tao/peoplenet:pruned_v1")),
            ("nvidia/peoplenet:pruned_v1", ngc("nvidia/peoplenet:pruned_v1")),
            ("nvidia/tao/peoplenet", ngc("nvidia/tao/peoplenet")),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/trafficcamnet/files?version=pruned_onnx_v1.0.4",
                ngc("nvidia/tao/trafficcamnet:pruned_onnx_v1.0.4"),
            ),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/peoplenet",
                ngc("nvidia/tao/peoplenet"),
            ),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/models/peoplenet?version=v1",
                ngc("nvidia/peoplenet:v1"),
            ),
            (
                "https://catalog.ngc.nvidia.com/orgs/nvidia/tao/models/peoplenet/deployable_v2/file-browser",
                ngc("nvidia/tao/peoplenet:deployable_v2"),
            ),
        ];
        let endpoint = Url::parse("https://hub.example.org/mirror").unwrap();
        for (text, expected) in cases {
            assert_eq!(Source::parse(text, &endpoint).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn tricks_and_strangers_are_refused_with_exit_code_10() {
        let cases = [
            "",
            "rtdetr",
            "a/../b",
            "..",
            "../../etc/passwd",
            "a\\b/c",
            "a b/c",
            "a/b@",
            "a/b@../main",
            "missing.onnx",
            "some/missing.safetensors",
            "ftp://huggingface.co/a/b",
            "http://huggingface.co/a/b",
            "file:///etc/passwd",
            "https://example.org/a/b",
            "https://huggingface.co.evil.org/a/b",
            "https://user:pass@huggingface.co/a/b",
            "https://huggingface.co/a",
            "https://huggingface.co/datasets/a/b",
            "https://huggingface.co/spaces/a/b",
            "https://huggingface.co/a/b/discussions/1",
            "https://huggingface.co/x/../a/b",
            "https://huggingface.co/a/b/resolve/main/%2e%2e/x.onnx",
            "https://huggingface.co/a/b/resolve/main/..%2Fx.onnx",
            "https://huggingface.co/a/b/resolve/main/x%00.onnx",
            "https://huggingface.co/a/b/resolve/main",
            "https://huggingface.co\\a\\b",
            "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/containers/x",
            "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/x?version=../y",
        ];
        for text in cases {
            let error = text.parse::<Source>().unwrap_err();
            assert_eq!(error.exit_code(), 10, "{text}: {error}");
            let is_id = !text.contains(['@', '%', '?']);
            assert!(!is_id || error.hint().is_some(), "{text}: {error}");
        }
    }

    #[test]
    fn an_existing_path_wins_over_an_id() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("a.onnx");
        std::fs::write(&file, b"x").unwrap();
        let endpoint = Url::parse(HUGGING_FACE).unwrap();
        assert_eq!(
            Source::resolve(folder.to_str().unwrap(), &endpoint).unwrap(),
            Source::Folder(folder.clone())
        );
        assert_eq!(Source::resolve(file.to_str().unwrap(), &endpoint).unwrap(), Source::File(file.clone()));
        assert!(matches!(
            Source::resolve(folder.join("b.onnx").to_str().unwrap(), &endpoint),
            Err(Error::NoSuchPath { .. })
        ));
        assert_eq!(Source::Folder(folder).name(), "model");
        assert_eq!(Source::File(file).name(), "a");
    }
}
