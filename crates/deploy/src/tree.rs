//! Files in memory, by relative path.
//!
//! Rendering gives a tree, the pipeline writes it. A path is always `/`-separated and inside the package; a large file
//! that the package holds already is a [`Content::SameAs`], not a second copy of its bytes.

use std::collections::BTreeMap;

use crate::Error;

/// What a file of a tree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes of another file of the package, by its path from the package's root: a hard link or a copy.
    SameAs(String),
}

/// Files by path relative to the package's root, in order of path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTree(BTreeMap<String, Content>);

impl FileTree {
    /// A tree without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with these bytes.
    ///
    /// # Errors
    /// [`Error::Path`] for a path that leaves the package, [`Error::Duplicate`] for a place that is taken.
    pub fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.insert(path.into(), Content::Bytes(bytes.into()))
    }

    /// Adds a file that is the same as another one of the package.
    ///
    /// # Errors
    /// As [`FileTree::add`], for either path.
    pub fn add_same_as(&mut self, path: impl Into<String>, original: impl Into<String>) -> Result<(), Error> {
        let original = original.into();
        check(&original)?;
        self.insert(path.into(), Content::SameAs(original))
    }

    /// Adds every file of another tree.
    ///
    /// # Errors
    /// [`Error::Duplicate`] for a place that is taken.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        other.0.into_iter().try_for_each(|(path, content)| self.insert(path, content))
    }

    fn insert(&mut self, path: String, content: Content) -> Result<(), Error> {
        check(&path)?;
        if self.0.contains_key(&path) {
            return Err(Error::Duplicate { path });
        }
        self.0.insert(path, content);
        Ok(())
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Option<&Content> {
        self.0.get(path)
    }

    /// The bytes of a file; `None` where there is no such file, or it is the same as another one.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.get(path)? {
            Content::Bytes(bytes) => Some(bytes),
            Content::SameAs(_) => None,
        }
    }

    /// The files in order of path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.0.iter().map(|(path, content)| (path.as_str(), content))
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for FileTree {
    type Item = (String, Content);
    type IntoIter = std::collections::btree_map::IntoIter<String, Content>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn check(path: &str) -> Result<(), Error> {
    let fits = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    if path.split('/').all(fits) { Ok(()) } else { Err(Error::Path { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let mut tree = FileTree::new();
        for path in ["", "/etc/x", "a//b", "../a", "a/../b", "./a", "a/", "c:/x", "a\\b", "a\nb"] {
            assert!(matches!(tree.add(path, "x"), Err(Error::Path { .. })), "{path:?}");
            assert!(matches!(tree.add_same_as("a", path), Err(Error::Path { .. })), "{path:?}");
        }
        assert!(tree.is_empty());
    }

    #[test]
    fn files_come_in_order_and_once() {
        let mut tree = FileTree::new();
        tree.add("b/c.txt", "1").unwrap();
        tree.add_same_as("a.onnx", "model/a.onnx").unwrap();
        assert!(matches!(tree.add("b/c.txt", "2"), Err(Error::Duplicate { .. })));
        assert_eq!(tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a.onnx", "b/c.txt"]);
        assert_eq!((tree.bytes("b/c.txt"), tree.bytes("a.onnx")), (Some(&b"1"[..]), None));
    }
}
