//! What a repository, catalog version or folder holds: paths, sizes and promised digests.

use crate::source::RepoPath;

/// The content that a hub promises for a file, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Digest {
    /// SHA-256 of the content, 64 digits.
    Sha256(String),
    /// SHA-1 of git's blob, which is `blob <length>\0` before the content, 40 digits.
    GitBlob(String),
}

impl Digest {
    /// The digits.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the root of the listing.
    pub path: RepoPath,
    /// Its length in bytes, where the listing says so.
    pub size: Option<u64>,
    /// Its content, where the listing promises it.
    pub digest: Option<Digest>,
}

/// All files of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files, sorted by path.
    pub entries: Vec<Entry>,
    /// Names that were left out because they cannot be written safely.
    pub left_out: Vec<String>,
}

impl Listing {
    /// The entry of this path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path.as_str() == path)
    }

    /// Sorts the entries, because hubs and disks list them in any order.
    pub(crate) fn sorted(mut self) -> Self {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.entries.dedup_by(|a, b| a.path == b.path);
        self
    }
}
