//! The report as typed text, before any format: a title, sections, blocks.
//!
//! Sections build it once; the Markdown, HTML and PDF writers each walk it. Text is plain text everywhere: only the
//! writers know what has to be escaped, so a label called `<script>` or `|` is harmless by construction.

use serde::Serialize;

use crate::Verdict;

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// Headline numbers.
    pub(super) tiles: Vec<Tile>,
    pub(super) sections: Vec<Section>,
    /// The last line of the report.
    pub(super) colophon: String,
}

/// A headline number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Tile {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) tone: Tone,
}

/// A section; the number is `None` for the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Section {
    pub(super) number: Option<u32>,
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub(super) enum Block {
    Heading {
        text: String,
    },
    Paragraph {
        text: Text,
    },
    Table(Table),
    Code {
        language: &'static str,
        text: String,
    },
    /// Pictures side by side where there is room.
    Figures {
        figures: Vec<Figure>,
    },
    Callout {
        tone: Tone,
        title: String,
        text: Text,
        /// A command to run, on its own line.
        command: Option<String>,
    },
}

/// What a callout or tile means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    /// Not measured here.
    Missing,
}

/// Runs of text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Text(pub(super) Vec<Run>);

/// A run of text of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "run", rename_all = "snake_case")]
pub(super) enum Run {
    Plain { text: String },
    Strong { text: String },
    Code { text: String },
    Verdict { text: &'static str, tone: Tone },
}

/// A table. Every row has as many cells as there are columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Text>>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Column {
    pub(super) title: String,
    /// Numbers stand at the right.
    pub(super) number: bool,
}

/// A picture with a caption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) picture: Picture,
    /// The picture in words.
    pub(super) alt: String,
    pub(super) caption: String,
    /// Of the text's width, at most, in percent; a card that says "not measured" needs less room than a chart.
    pub(super) width: u32,
}

/// Which picture, by file name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "file", rename_all = "snake_case")]
pub(super) enum Picture {
    /// One of the five charts, `charts/<file>` as PNG.
    Chart(String),
    /// A drawing beyond the five, `charts/<file>` as SVG.
    Drawing(String),
    /// A sample image, by its path in the package.
    Photo(String),
}

impl Text {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Run::Plain { text: text.into() });
        self
    }

    pub(super) fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Run::Strong { text: text.into() });
        self
    }

    pub(super) fn code(mut self, text: impl Into<String>) -> Self {
        self.0.push(Run::Code { text: text.into() });
        self
    }

    /// Text whose words in backticks are code, as in error messages.
    pub(super) fn literals(text: &str) -> Self {
        let mut parts = text.split('`');
        let mut out = Self::new().plain(parts.next().unwrap_or_default());
        while let Some(inside) = parts.next() {
            out = match parts.next() {
                Some(after) => out.code(inside).plain(after),
                None => out.plain(format!("`{inside}")),
            };
        }
        out.0.retain(|run| !matches!(run, Run::Plain { text } if text.is_empty()));
        out
    }

    pub(super) fn verdict(verdict: &Verdict) -> Self {
        let (text, tone) = match verdict {
            Verdict::Pass => ("pass", Tone::Good),
            Verdict::Fail => ("fail", Tone::Bad),
            Verdict::NotRun { .. } => ("not run", Tone::Missing),
        };
        Self(vec![Run::Verdict { text, tone }])
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new().plain(text)
    }
}

impl Table {
    /// A table of these columns; a title that ends in `#` is a column of numbers.
    pub(super) fn new(columns: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_suffix('#') {
            Some(title) => Column { title: title.to_owned(), number: true },
            None => Column { title: (*title).to_owned(), number: false },
        };
        Self { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [Text; N]) {
        debug_assert_eq!(N, self.columns.len(), "a row has as many cells as there are columns");
        self.rows.push(cells.into());
    }

    /// Whether it is a table of names and values, which may be long.
    pub(super) fn is_facts(&self) -> bool {
        self.columns.len() == 2 && self.columns.iter().all(|column| !column.number)
    }

    /// A table of names and values.
    pub(super) fn facts(rows: impl IntoIterator<Item = (&'static str, Text)>) -> Self {
        let mut table = Self::new(&["Field", "Value"]);
        rows.into_iter().for_each(|(name, value)| table.row([name.into(), value]));
        table
    }
}

impl Section {
    pub(super) fn new(number: u32, title: &str, blocks: Vec<Block>) -> Self {
        Self { number: Some(number), title: title.to_owned(), blocks }
    }

    /// The heading as it is printed.
    pub(super) fn heading(&self) -> String {
        self.number.map_or_else(|| self.title.clone(), |number| format!("{number}. {}", self.title))
    }

    /// An anchor that is the same in every format: `section-5`, `summary`.
    pub(super) fn anchor(&self) -> String {
        self.number.map_or_else(|| "summary".to_owned(), |number| format!("section-{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_backticks_are_code() {
        let cases = [
            ("plain", Text::new().plain("plain")),
            ("`logits`: difference", Text::new().code("logits").plain(": difference")),
            ("a `b` c", Text::new().plain("a ").code("b").plain(" c")),
            ("an open ` one", Text::new().plain("an open ").plain("` one")),
        ];
        for (text, expected) in cases {
            assert_eq!(Text::literals(text), expected, "{text}");
        }
    }
}
