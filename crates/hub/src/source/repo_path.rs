//! A file's path inside a repository, safe to join to a folder of this disk.
//!
//! Hostile names come from listings, archives and ONNX files alike; parsing to [`RepoPath`] is the only check, so a
//! path that has this type never leaves the folder that it is joined to, on any operating system.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A relative path of one or more plain names, separated by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);

impl RepoPath {
    /// The path as text, with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder that it lies in, or `None` at the top.
    pub fn folder(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(folder, _)| folder)
    }

    /// The extension in lower case, or nothing.
    pub fn extension(&self) -> String {
        self.file_name().rsplit_once('.').map_or_else(String::new, |(_, e)| e.to_ascii_lowercase())
    }

    /// The path of `name` beside this file; `name` may hold folders but not leave this one.
    pub fn sibling(&self, name: &str) -> Result<Self> {
        let name: Self = name.parse()?;
        match self.folder() {
            Some(folder) => format!("{folder}/{name}").parse(),
            None => Ok(name),
        }
    }

    /// The path below a folder of this disk.
    pub fn under(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_owned();
        path.extend(self.0.split('/'));
        path
    }

    /// What is left of the path below `folder`, or `None` where it lies elsewhere.
    pub fn strip_folder(&self, folder: &str) -> Option<&str> {
        self.0.strip_prefix(folder)?.strip_prefix('/')
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}

impl TryFrom<String> for RepoPath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for RepoPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused =
            |reason| Error::BadName { kind: "a path inside a repository", text: shown(text), reason };
        if text.len() > 1024 {
            return Err(refused("it is longer than 1024 bytes"));
        }
        for name in text.split('/') {
            check_name(name).map_err(refused)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// The rules of one name, those of Windows included, because a package made here is copied there.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is absolute or has an empty part");
    }
    if name == "." || name == ".." {
        return Err("`.` and `..` are not allowed");
    }
    if name.len() > 255 {
        return Err("a part is longer than 255 bytes");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
        return Err("it holds a backslash, `:`, a wildcard, a quote or a control character");
    }
    if name.ends_with('.') || name.ends_with(' ') {
        return Err("a part ends in a dot or a blank");
    }
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix| {
        stem.strip_prefix(prefix).is_some_and(|n: &str| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
    };
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT") {
        return Err("it is a device name of Windows");
    }
    Ok(())
}

/// Foreign text cut to a printable length, without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String =
        text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > 200 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_inside_parse() {
        let cases = [
            ("onnx/model.onnx", true),
            ("model-00001-of-00002.safetensors", true),
            ("my model (1).onnx", true),
            (".gitattributes", true),
            ("console.txt", true),
            ("com10.txt", true),
            ("", false),
            ("/etc/passwd", false),
            ("a//b", false),
            ("a/", false),
            ("../a", false),
            ("a/../b", false),
            ("a/./b", false),
            ("..\\a", false),
            ("C:/a", false),
            ("a:stream", false),
            ("nul", false),
            ("x/COM1.onnx", false),
            ("aux.txt", false),
            ("a.", false),
            ("a ", false),
            ("a\0b", false),
            ("a\nb", false),
        ];
        for (text, good) in cases {
            assert_eq!(text.parse::<RepoPath>().is_ok(), good, "{text:?}");
        }
        assert!("a/".repeat(600).trim_end_matches('/').parse::<RepoPath>().is_err());
    }

    #[test]
    fn a_sibling_stays_in_the_folder() {
        let onnx: RepoPath = "onnx/model.onnx".parse().unwrap();
        assert_eq!(onnx.sibling("model.onnx_data").unwrap().as_str(), "onnx/model.onnx_data");
        assert!(onnx.sibling("../model.onnx_data").is_err());
        assert!(onnx.sibling("/model.onnx_data").is_err());
        assert_eq!(onnx.folder(), Some("onnx"));
        assert_eq!(onnx.strip_folder("onnx"), Some("model.onnx"));
        assert_eq!(onnx.strip_folder("on"), None);
    }
}
