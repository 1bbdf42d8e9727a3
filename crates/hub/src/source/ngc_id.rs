//! Names in NVIDIA's catalog: organisation, team, model, version.
//!
//! The version is free text (`deployable_quantized_onnx_v2.6.3`), not a number; without one the latest is taken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::repo_path::{check_name, shown};
use crate::error::{Error, Result};

/// A model in the catalog, `org/[team/]name[:version]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NgcId {
    org: String,
    team: Option<String>,
    name: String,
    version: Option<String>,
}

impl NgcId {
    /// The id of these parts, each of letters, digits, `.`, `_` and `-`.
    pub fn new(org: &str, team: Option<&str>, name: &str, version: Option<&str>) -> Result<Self> {
        for part in [Some(org), team, Some(name), version].into_iter().flatten() {
            check_part(part)?;
        }
        Ok(Self {
            org: org.to_owned(),
            team: team.map(str::to_owned),
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }

    /// The organisation.
    pub fn org(&self) -> &str {
        &self.org
    }

    /// The team, where the model belongs to one.
    pub fn team(&self) -> Option<&str> {
        self.team.as_deref()
    }

    /// The model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, or `None` for the latest.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The same model at another version.
    pub fn at(&self, version: &str) -> Result<Self> {
        Self::new(&self.org, self.team(), &self.name, Some(version))
    }

    /// The model without its version, `org/[team/]name`.
    pub fn model(&self) -> String {
        match &self.team {
            Some(team) => format!("{}/{team}/{}", self.org, self.name),
            None => format!("{}/{}", self.org, self.name),
        }
    }
}

fn check_part(part: &str) -> Result<()> {
    let refused = |reason| Error::BadName { kind: "a name in the NGC catalog", text: shown(part), reason };
    check_name(part).map_err(refused)?;
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(refused("only letters, digits, `.`, `_` and `-` are allowed"));
    }
    if part.starts_with(['.', '-']) || part.contains("..") || part.len() > 128 {
        return Err(refused("it begins with `.` or `-`, has `..`, or is longer than 128 characters"));
    }
    Ok(())
}

impl fmt::Display for NgcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model())?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, ":{version}"))
    }
}

impl From<NgcId> for String {
    fn from(id: NgcId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for NgcId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for NgcId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (model, version) = match text.split_once(':') {
            Some((model, version)) => (model, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = model.split('/').collect();
        match parts.as_slice() {
            [org, name] => Self::new(org, None, name, version),
            [org, team, name] => Self::new(org, Some(team), name, version),
            _ => Err(Error::BadName {
                kind: "an NGC coordinate",
                text: shown(text),
                reason: "it has the form `org/[team/]name:version`",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_round_trip() {
        for text in [
            "nvidia/tao/peoplenet:deployable_quantized_onnx_v2.6.3",
            "nvidia/peoplenet:v1",
            "nvidia/tao/peoplenet",
        ] {
            assert_eq!(text.parse::<NgcId>().unwrap().to_string(), text);
        }
        for text in
            ["peoplenet:v1", "a/b/c/d:v1", "a/b:", "a/b:v/1", "a/../c:v1", "a/b:..", "a/b c:v1", "a/con:v1"]
        {
            assert!(text.parse::<NgcId>().is_err(), "{text}");
        }
    }
}
