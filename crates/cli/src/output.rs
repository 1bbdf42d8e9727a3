//! What a command says: data on stdout, talk on stderr, colour only where it is seen.
//!
//! Text and `--json` come from the same value, so they cannot drift apart.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::{ColorChoice, Global};
use crate::env;

/// Where a command's words go.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line or a fact of the terminal"
)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    pub(crate) verbose: bool,
    /// Whether stderr gets colour.
    color: bool,
    /// Whether stderr is a terminal on which progress may be drawn.
    pub(crate) draws: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if env::lookup("NO_COLOR").is_some() => false,
            ColorChoice::Auto => terminal || env::lookup("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
        };
        let draws = terminal && !global.json && !global.quiet;
        Self { json: global.json, quiet: global.quiet, verbose: global.verbose, color, draws }
    }

    /// The command's result: its text, or one JSON document.
    pub(crate) fn result<T: Serialize + Display>(&self, result: &T) -> io::Result<()> {
        let text = if self.json {
            let mut json = serde_json::to_string_pretty(result).map_err(io::Error::other)?;
            json.push('\n');
            json
        } else {
            result.to_string()
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// A line of talk; left out when quiet.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            talk(line);
        }
    }

    /// A warning: told even when quiet.
    pub(crate) fn warn(&self, message: &str) {
        talk(&format!("{} {message}", self.paint(Style::Yellow, "warning:")));
    }

    /// An error with its way out.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        talk(&format!("{} {message}", self.paint(Style::Red, "error:")));
        if let Some(hint) = hint {
            talk("");
            talk(&format!("{} {hint}", self.paint(Style::Cyan, "hint:")));
        }
    }

    /// Text in a style, where stderr shows it.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// A line on stderr. A stderr that is gone is no reason to stop.
fn talk(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// How a word stands out. Colour never carries meaning alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Red,
    Green,
    Yellow,
    Cyan,
    Dim,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
            Self::Dim => "2",
        }
    }
}
