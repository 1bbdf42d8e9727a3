//! The report as Markdown (GitHub's dialect).
//!
//! Every text from outside is escaped here: a class called `|` or `<script>` must stay a word in a cell.

use std::fmt::Write;

use super::document::{Block, Document, Figure, Picture, Run, Table, Text, Tone};

/// The text of `benchmark_report.md`.
pub(super) fn write(document: &Document) -> String {
    let mut out = format!("# {}\n\n{}\n\n", escaped(&document.title), escaped(&document.subtitle));
    out.push_str("| | | |\n|:--|--:|:--|\n");
    for tile in &document.tiles {
        let _ = writeln!(
            out,
            "| {} | **{}** | {} |",
            escaped(&tile.name),
            escaped(&tile.value),
            escaped(&tile.detail)
        );
    }
    for section in &document.sections {
        let _ = write!(out, "\n## {}\n\n", escaped(&section.heading()));
        for (index, block) in section.blocks.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            write_block(&mut out, block);
        }
    }
    let _ = write!(out, "\n---\n\n{}\n", escaped(&document.colophon));
    out
}

fn write_block(out: &mut String, block: &Block) {
    match block {
        Block::Heading { text } => {
            let _ = writeln!(out, "### {}", escaped(text));
        }
        Block::Paragraph { text } => {
            let _ = writeln!(out, "{}", inline(text));
        }
        Block::Table(table) => write_table(out, table),
        Block::Code { language, text } => write_code(out, language, text),
        Block::Figures { figures } => {
            for (index, figure) in figures.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                write_figure(out, figure);
            }
        }
        Block::Callout { tone, title, text, command } => {
            let kind = match tone {
                Tone::Good => "TIP",
                Tone::Bad => "CAUTION",
                Tone::Plain | Tone::Missing => "NOTE",
            };
            let _ = write!(out, "> [!{kind}]\n> **{}.** {}\n", escaped(title), inline(text));
            if let Some(command) = command {
                let _ = write!(out, ">\n>     {}\n", command.replace('\n', "\n>     "));
            }
        }
    }
}

fn write_figure(out: &mut String, figure: &Figure) {
    let file = match &figure.picture {
        Picture::Chart(file) | Picture::Drawing(file) => format!("charts/{file}"),
        Picture::Photo(path) => format!("../{path}"),
    };
    let _ = writeln!(out, "![{}](<{}>)", escaped(&figure.alt), file.replace(['<', '>'], ""));
    if !figure.caption.is_empty() {
        let _ = writeln!(out, "\n{}", escaped(&figure.caption));
    }
}

fn write_table(out: &mut String, table: &Table) {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&row(table.columns.iter().map(|column| escaped(&column.title)).collect()));
    let rule = table.columns.iter().map(|column| if column.number { "--:" } else { ":--" });
    let _ = writeln!(out, "|{}|", rule.collect::<Vec<_>>().join("|"));
    for cells in &table.rows {
        // Inside a table a bar ends the cell even in a code span.
        let cell = |text| inline(text).replace("\\|", "|").replace('|', "\\|");
        out.push_str(&row(cells.iter().map(cell).collect()));
    }
}

fn write_code(out: &mut String, language: &str, text: &str) {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let _ = write!(out, "{fence}{language}\n{text}\n{fence}\n");
}

fn inline(text: &Text) -> String {
    text.0
        .iter()
        .map(|run| match run {
            Run::Plain { text } => escaped(text),
            Run::Strong { text } => format!("**{}**", escaped(text)),
            Run::Code { text } => code(text),
            Run::Verdict { text, tone } => match tone {
                Tone::Bad => format!("**{}**", text.to_uppercase()),
                _ => format!("**{text}**"),
            },
        })
        .collect()
}

/// A code span whose fence is longer than any run of backticks inside.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace(char::is_control, " "))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// Plain text: everything that Markdown could take for markup has a backslash.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let inside_word = before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric());
        if c.is_control() {
            out.push(' ');
        } else {
            if "\\`*[]<>|$~&#".contains(c) || (c == '_' && !inside_word) {
                out.push('\\');
            }
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_escaped() {
        let cases = [
            ("a|b", "a\\|b"),
            ("<script>", "\\<script\\>"),
            ("rt_detr_v2", "rt_detr_v2"),
            ("_x_", "\\_x\\_"),
            ("# $x$ `y` *z*", "\\# \\$x\\$ \\`y\\` \\*z\\*"),
            ("a\nb", "a b"),
        ];
        for (text, expected) in cases {
            assert_eq!(escaped(text), expected);
        }
        assert_eq!([code("a`b"), code("`"), code("plain")], ["``a`b``", "`` ` ``", "`plain`"]);
    }

    #[test]
    fn a_bar_stays_in_its_cell() {
        let mut table = Table::new(&["Class", "n#"]);
        table.row(["|".into(), Text::new().code("a|b")]);
        let mut out = String::new();
        write_table(&mut out, &table);
        assert_eq!(out, "| Class | n |\n|:--|--:|\n| \\| | `a\\|b` |\n");
    }
}
