//! What is left when every attempt failed: a page for the person who looks into it.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::Failed;

/// An export of which no attempt succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The model's folder.
    pub model: PathBuf,
    /// Every attempt in its turn.
    pub attempts: Vec<Failed>,
}

impl Failure {
    /// One line.
    pub fn summary(&self) -> String {
        let last = self.attempts.last().map_or("nothing was tried", |failed| &failed.reason);
        format!("none of {} attempts gave a graph, the last: {last}", self.attempts.len())
    }

    /// The page, in Markdown.
    pub fn report(&self) -> String {
        let mut page = String::from("# Export with Python: no attempt succeeded\n\n");
        let _ = writeln!(page, "Model: `{}`\n", self.model.display());
        page.push_str("| attempt | settings | seconds | reason |\n|---|---|---|---|\n");
        for (at, failed) in self.attempts.iter().enumerate() {
            let reason = failed.reason.replace('|', "\\|");
            let _ = writeln!(page, "| {} | {} | {:.1} | {reason} |", at + 1, failed.attempt, failed.seconds);
        }
        for (at, failed) in self.attempts.iter().enumerate() {
            let _ = writeln!(page, "\n## Attempt {}: {}\n", at + 1, failed.attempt);
            if failed.lines.is_empty() {
                page.push_str("It printed nothing.\n");
            }
            // Indented, so that nothing in it is taken for Markdown.
            for line in &failed.lines {
                let _ = writeln!(page, "    {}", line.trim_end());
            }
        }
        page
    }
}
