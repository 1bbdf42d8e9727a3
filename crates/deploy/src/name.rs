//! The name of a package: its folder, and part of many file names inside it.
//!
//! It is checked once, here; whoever holds a [`PackageName`] may put it into a path or a shell command unquoted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Longest name, in bytes: file names made of it stay below the 255 of common file systems.
const LONGEST: usize = 100;

/// A name of letters, digits, `-`, `_` and `.` that begins with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

impl PackageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let holds = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if begins && holds && name.len() <= LONGEST && !name.ends_with('.') && !name.contains("..") {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::Name { name: name.to_owned() })
    }
}

impl TryFrom<String> for PackageName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for name in ["rtdetr_r50vd", "shapes-rtdetr", "yolo11n", "a", "v1.2", "2024-model"] {
            assert_eq!(name.parse::<PackageName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(101);
        for name in
            ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a b", "a..b", "a.", "ä", "a\n", &long]
        {
            assert!(name.parse::<PackageName>().is_err(), "{name:?}");
        }
    }
}
