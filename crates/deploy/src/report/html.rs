//! The report as one HTML file: styles, charts and photographs inside, no script, nothing fetched.
//!
//! Exactly the five charts are PNG data URIs; drawings are inline SVG and photographs are JPEG.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Pictures;
use super::document::{Block, Document, Figure, Picture, Run, Section, Table, Text, Tone};

const STYLE: &str = include_str!("style.css");

/// The text of `benchmark_report.html`.
pub(super) fn write(document: &Document, pictures: &Pictures) -> String {
    let title = escaped(&document.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    let _ = write!(
        out,
        "<header>\n<h1>{title}</h1>\n<p>{}</p>\n</header>\n<div class=\"page\">\n",
        escaped(&document.subtitle)
    );
    write_contents(&mut out, &document.sections);
    out.push_str("<main>\n<div class=\"tiles\">\n");
    for tile in &document.tiles {
        let _ = writeln!(
            out,
            "<div class=\"tile {}\"><b>{}</b><span>{}</span><small>{}</small></div>",
            tone(tile.tone),
            escaped(&tile.value),
            escaped(&tile.name),
            escaped(&tile.detail)
        );
    }
    out.push_str("</div>\n");
    for section in &document.sections {
        let _ =
            writeln!(out, "<section id=\"{}\">\n<h2>{}</h2>", section.anchor(), escaped(&section.heading()));
        for block in &section.blocks {
            write_block(&mut out, block, pictures);
        }
        out.push_str("</section>\n");
    }
    let _ =
        write!(out, "<footer>{}</footer>\n</main>\n</div>\n</body>\n</html>\n", escaped(&document.colophon));
    out
}

fn write_contents(out: &mut String, sections: &[Section]) {
    out.push_str("<nav aria-label=\"Sections\">\n<ul>\n");
    for section in sections {
        let _ =
            writeln!(out, "<li><a href=\"#{}\">{}</a></li>", section.anchor(), escaped(&section.heading()));
    }
    out.push_str("</ul>\n</nav>\n");
}

fn write_block(out: &mut String, block: &Block, pictures: &Pictures) {
    let _ = match block {
        Block::Heading { text } => writeln!(out, "<h3>{}</h3>", escaped(text)),
        Block::Paragraph { text } => writeln!(out, "<p>{}</p>", inline(text)),
        Block::Table(table) => {
            write_table(out, table);
            Ok(())
        }
        Block::Code { text, .. } => writeln!(out, "<pre><code>{}</code></pre>", escaped(text)),
        Block::Figures { figures } => {
            out.push_str("<div class=\"figures\">\n");
            for figure in figures {
                write_figure(out, figure, pictures);
            }
            writeln!(out, "</div>")
        }
        Block::Callout { tone: kind, title, text, command } => {
            let command = command
                .as_ref()
                .map_or_else(String::new, |command| format!("<pre><code>{}</code></pre>", escaped(command)));
            writeln!(
                out,
                "<div class=\"callout {}\"><p><strong>{}.</strong> {}</p>{command}</div>",
                tone(*kind),
                escaped(title),
                inline(text)
            )
        }
    };
}

fn write_table(out: &mut String, table: &Table) {
    let class = |number: bool| if number { " class=\"n\"" } else { "" };
    let facts = if table.is_facts() { " class=\"facts\"" } else { "" };
    let _ = write!(out, "<div class=\"scroll\"><table{facts}>\n<thead><tr>");
    for column in &table.columns {
        let _ = write!(out, "<th{}>{}</th>", class(column.number), escaped(&column.title));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (column, cell) in table.columns.iter().zip(row) {
            let _ = write!(out, "<td{}>{}</td>", class(column.number), inline(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn write_figure(out: &mut String, figure: &Figure, pictures: &Pictures) {
    let _ = write!(out, "<figure class=\"w{}\">", figure.width);
    let alt = escaped(&figure.alt);
    let image = |kind: &str, bytes: &[u8]| {
        format!("<img alt=\"{alt}\" src=\"data:image/{kind};base64,{}\">", STANDARD.encode(bytes))
    };
    let picture = match &figure.picture {
        Picture::Chart(file) => pictures.charts.get(file).map(|(_, png)| image("png", png)),
        Picture::Photo(path) => pictures.photos.get(path).map(|jpeg| image("jpeg", jpeg)),
        Picture::Drawing(file) => pictures
            .drawings
            .get(file)
            .map(|svg| svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{alt}\" "), 1)),
    };
    out.push_str(&picture.unwrap_or_default());
    if !figure.caption.is_empty() {
        let _ = write!(out, "<figcaption>{}</figcaption>", escaped(&figure.caption));
    }
    out.push_str("</figure>\n");
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Missing => "missing",
    }
}

fn inline(text: &Text) -> String {
    text.0
        .iter()
        .map(|run| match run {
            Run::Plain { text } => escaped(text),
            Run::Strong { text } => format!("<strong>{}</strong>", escaped(text)),
            Run::Code { text } => format!("<code>{}</code>", escaped(text)),
            Run::Verdict { text, tone: kind } => {
                format!("<span class=\"verdict {}\">{text}</span>", tone(*kind))
            }
        })
        .collect()
}

/// Text for an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
