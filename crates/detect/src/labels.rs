//! Class names by id.
//!
//! Ids may have gaps: COCO heads of 91 classes use 80 of them, and the others are called `N/A` or are absent. Ids are
//! never renumbered, because the id is the column of the network's output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Name written for an id that has no class.
const HOLE: &str = "N/A";

/// Largest id accepted, so that a hostile file cannot make [`Labels::to_lines`] fill the memory.
const LARGEST_ID: u32 = 65_535;

/// Class names by id: the index of the class in the network's output.
///
/// ```
/// let labels = detect::Labels::from_lines("person\nN/A\ncar\n").unwrap();
/// assert_eq!((labels.len(), labels.name(2), labels.is_hole(1)), (3, Some("car"), true));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<u32, String>", into = "BTreeMap<u32, String>")]
pub struct Labels(BTreeMap<u32, String>);

impl Labels {
    /// Takes names by id, gaps and `N/A` as they are.
    ///
    /// # Errors
    /// [`Error::Labels`] when there is no class at all, an id is above 65535, or a name is empty or spans lines.
    pub fn new(names: impl IntoIterator<Item = (u32, String)>) -> Result<Self, Error> {
        let names: BTreeMap<u32, String> = names.into_iter().collect();
        let refuse = |reason: String| Err(Error::Labels { reason });
        for (&id, name) in &names {
            if id > LARGEST_ID {
                return refuse(format!("id {id} is above {LARGEST_ID}"));
            }
            if name.trim().is_empty() {
                return refuse(format!("the name of id {id} is empty"));
            }
            if name.chars().any(char::is_control) {
                return refuse(format!("the name of id {id}, {name:?}, has a control character"));
            }
        }
        let labels = Self(names);
        if labels.iter().next().is_none() {
            return refuse("it names no class".into());
        }
        Ok(labels)
    }

    /// Reads `labels.txt`: one name a line by id, or NGC's one-line form `a;b;c`. Trailing empty lines are ignored.
    ///
    /// # Errors
    /// As [`Labels::new`]; an empty line between names is an empty name.
    pub fn from_lines(text: &str) -> Result<Self, Error> {
        let text = text.trim_start_matches('\u{feff}').trim_end();
        let names: Vec<&str> = if !text.contains('\n') && text.contains(';') {
            text.trim_end_matches(';').split(';').collect()
        } else {
            text.lines().collect()
        };
        Self::new((0..).zip(names.into_iter().map(|name| name.trim().to_owned())))
    }

    /// One more than the largest id: the number of classes that the network's output has room for.
    #[expect(clippy::len_without_is_empty, reason = "a label map without a class cannot be made")]
    pub fn len(&self) -> usize {
        self.0.last_key_value().map_or(0, |(&id, _)| id as usize + 1)
    }

    /// The name of an id; `None` where the map has no entry. A hole written as `N/A` is returned as such.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }

    /// The name of an id, or `class 7` where there is none: for people to read.
    pub fn display(&self, id: u32) -> String {
        self.name(id).map_or_else(|| format!("class {id}"), str::to_owned)
    }

    /// The first id that has this name.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.iter().find(|&(_, own)| own == name).map(|(id, _)| id)
    }

    /// Whether the id stands for no class: absent, or called `N/A`.
    pub fn is_hole(&self, id: u32) -> bool {
        self.name(id).is_none_or(|name| name == HOLE)
    }

    /// The classes in order of id, holes left out.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(&id, name)| (id, name.as_str())).filter(|&(_, name)| name != HOLE)
    }

    /// The text of `labels.txt`: line `n` is the name of id `n`, holes as `N/A`.
    pub fn to_lines(&self) -> String {
        let names: Vec<&str> = (0..self.len() as u32).map(|id| self.name(id).unwrap_or(HOLE)).collect();
        names.join("\n") + "\n"
    }
}

impl TryFrom<BTreeMap<u32, String>> for Labels {
    type Error = Error;
    fn try_from(names: BTreeMap<u32, String>) -> Result<Self, Error> {
        Self::new(names)
    }
}

impl From<Labels> for BTreeMap<u32, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[(u32, &str)]) -> Result<Labels, Error> {
        Labels::new(names.iter().map(|&(id, name)| (id, name.to_owned())))
    }

    #[test]
    fn gaps_and_holes_keep_their_ids() {
        let labels = labels(&[(1, "person"), (2, "N/A"), (4, "car")]).unwrap();
        assert_eq!(labels.len(), 5);
        assert_eq!(labels.to_lines(), "N/A\nperson\nN/A\nN/A\ncar\n");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [(1, "person"), (4, "car")]);
        assert_eq!((labels.id("car"), labels.id("N/A")), (Some(4), None));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|id| labels.is_hole(id)), [true, false, true, true, false, true]);
        assert_eq!(Labels::from_lines(&labels.to_lines()).unwrap().to_lines(), labels.to_lines());
    }

    #[test]
    fn label_files_of_both_forms_are_read() {
        let cases = [
            ("lines", "a\nb\n", "a\nb\n"),
            ("no last newline", "a\nb", "a\nb\n"),
            ("windows", "\u{feff}a\r\nb\r\n\r\n", "a\nb\n"),
            ("one line of NGC", "a;b;c", "a\nb\nc\n"),
            ("one line of NGC, closed", "a;b;\n", "a\nb\n"),
            ("semicolon inside lines", "a;x\nb\n", "a;x\nb\n"),
        ];
        for (name, text, lines) in cases {
            assert_eq!(Labels::from_lines(text).unwrap().to_lines(), lines, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_label_map_is_refused() {
        let cases: [(&str, &[(u32, &str)]); 5] = [
            ("nothing", &[]),
            ("only holes", &[(0, "N/A")]),
            ("empty name", &[(0, "a"), (1, " ")]),
            ("two lines", &[(0, "a\nb")]),
            ("huge id", &[(4_000_000_000, "a")]),
        ];
        for (name, names) in cases {
            assert!(matches!(labels(names), Err(Error::Labels { .. })), "{name}");
        }
        assert!(Labels::from_lines("a\n\nb\n").is_err());
    }
}
