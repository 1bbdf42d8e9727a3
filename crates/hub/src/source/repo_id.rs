//! Names on the Hugging Face Hub: the repository and its revision.
//!
//! Both become folder names of the cache (`models--owner--name`, `refs/<revision>`), which is why their characters
//! are checked as strictly as those of a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::repo_path::{check_name, shown};
use crate::error::{Error, Result};

/// A model repository, `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoId {
    owner: String,
    name: String,
}

impl RepoId {
    /// The user or organisation.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The repository's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder in a Hugging Face cache, `models--owner--name`.
    pub fn cache_folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl From<RepoId> for String {
    fn from(id: RepoId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RepoId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for RepoId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason| Error::BadName { kind: "a Hugging Face id", text: shown(text), reason };
        let Some((owner, name)) = text.split_once('/') else {
            return Err(refused("it has the form `owner/name`"));
        };
        for part in [owner, name] {
            check_id_part(part).map_err(refused)?;
        }
        if name.strip_suffix(".git").is_some() {
            return Err(refused("it ends in `.git`"));
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

/// The hub's own rules for each half of an id.
fn check_id_part(part: &str) -> Result<(), &'static str> {
    if part.is_empty() || part.len() > 96 {
        return Err("each half has 1 to 96 characters");
    }
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("only letters, digits, `-`, `_` and `.` are allowed around one `/`");
    }
    if part.starts_with(['-', '.'])
        || part.ends_with(['-', '.'])
        || part.contains("--")
        || part.contains("..")
    {
        return Err("`-` and `.` may not begin, end or be doubled");
    }
    check_name(part)
}

/// A branch, tag, pull-request reference or commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// The revision as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a full commit hash, which can never move.
    pub fn is_commit(&self) -> bool {
        is_hex(&self.0, 40)
    }
}

impl Default for Revision {
    /// The branch that a repository is born with.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl TryFrom<String> for Revision {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason| Error::BadName { kind: "a revision", text: shown(text), reason };
        if text.len() > 250 {
            return Err(refused("it is longer than 250 bytes"));
        }
        for part in text.split('/') {
            check_name(part).map_err(refused)?;
            if part.starts_with('-') || part.contains("..") || part.contains(['~', '^', '@', ' ']) {
                return Err(refused("git does not allow such a name"));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether the text is `len` lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_hubs_rules() {
        let cases = [
            ("PekingU/rtdetr_r50vd", true),
            ("onnx-community/dfine_n_coco-ONNX", true),
            ("a/b.c", true),
            ("rtdetr", false),
            ("a/b/c", false),
            ("/b", false),
            ("a/", false),
            ("a/..", false),
            ("../a", false),
            ("a/.b", false),
            ("a/b--c", false),
            ("a b/c", false),
            ("a/b\\c", false),
            ("a/nul", false),
            ("a/b.git", false),
            ("a/ü", false),
        ];
        for (text, good) in cases {
            assert_eq!(text.parse::<RepoId>().is_ok(), good, "{text:?}");
        }
        assert_eq!("a/b".parse::<RepoId>().unwrap().cache_folder(), "models--a--b");
    }

    #[test]
    fn revisions_become_paths_and_are_checked_so() {
        let cases = [
            ("main", true),
            ("refs/pr/1", true),
            ("v1.0", true),
            ("380d2839c327efaf65dd0fe0c2c10ab7fadd5473", true),
            ("", false),
            ("../main", false),
            ("a/../b", false),
            ("/main", false),
            ("a@b", false),
            ("-x", false),
            ("a\\b", false),
        ];
        for (text, good) in cases {
            assert_eq!(text.parse::<Revision>().is_ok(), good, "{text:?}");
        }
    }
}
