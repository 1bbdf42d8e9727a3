//! Which versions of a model a server loads.

use std::str::FromStr;

use super::text_proto::Message;
use crate::Error;

/// The field `version_policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// The newest ones, this many.
    Latest(u32),
    /// Every one that is there.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl Default for Versions {
    /// The newest, and the one before for clients that ask for it by its number.
    fn default() -> Self {
        Self::Latest(2)
    }
}

impl Versions {
    /// The message.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::Latest(count) => {
                Message::new().message("latest", Message::new().word("num_versions", count))
            }
            Self::All => Message::new().message("all", Message::new()),
            Self::Specific(versions) => {
                Message::new().message("specific", Message::new().list("versions", versions))
            }
        }
    }

    /// The policy of a configuration; a server takes the newest version where none is named.
    pub fn of(config: &Message) -> Self {
        let Some(policy) = config.messages("version_policy").pop() else { return Self::Latest(1) };
        if let Some(specific) = policy.messages("specific").pop() {
            return Self::Specific(
                specific.scalars("versions").iter().filter_map(|one| one.parse().ok()).collect(),
            );
        }
        if !policy.messages("all").is_empty() {
            return Self::All;
        }
        let count =
            policy.messages("latest").pop().and_then(|latest| latest.scalar("num_versions")?.parse().ok());
        Self::Latest(count.unwrap_or(1))
    }

    /// Which of the versions that are there a server loads.
    pub fn served(&self, there: &[u64]) -> Vec<u64> {
        let mut there = there.to_vec();
        there.sort_unstable();
        match self {
            Self::All => there,
            Self::Latest(count) => there.split_off(there.len().saturating_sub(*count as usize)),
            Self::Specific(versions) => there.into_iter().filter(|one| versions.contains(one)).collect(),
        }
    }
}

impl FromStr for Versions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Option {
            value: text.to_owned(),
            expected: "`latest:N`, `all`, or numbers with commas",
        };
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("latest:") {
            return count.parse().ok().filter(|count| *count > 0).map(Self::Latest).ok_or_else(refused);
        }
        let numbers: Option<Vec<u64>> =
            text.split(',').map(|one| one.parse().ok().filter(|version| *version > 0)).collect();
        numbers.map(Self::Specific).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_and_read() {
        let cases = [
            ("latest:3", vec![2, 4, 5]),
            ("latest:1", vec![5]),
            ("all", vec![1, 2, 4, 5]),
            ("1,4,9", vec![1, 4]),
        ];
        for (text, served) in cases {
            let versions: Versions = text.parse().unwrap();
            let config = Message::new().message("version_policy", versions.message());
            let read = Versions::of(&Message::parse(&config.to_string()).unwrap());
            assert_eq!(read, versions);
            assert_eq!(read.served(&[5, 1, 4, 2]), served, "{text}");
        }
        assert_eq!(Versions::of(&Message::new()), Versions::Latest(1));
        for text in ["", "latest", "latest:0", "latest:x", "0", "1,,2", "-1"] {
            assert!(text.parse::<Versions>().is_err(), "{text}");
        }
    }
}
