//! The bounding-box parser: C++ put together for one head.
//!
//! Every piece is a text in `parser/`; the head and its activation choose which ones are used. What it gives is what
//! [`Detector::decode`] gives, in pixels of the network's input.

use std::fmt::Write;

use detect::{Activation, Background, BoxFormat, DenseLayout, Detector, Head, Selection, Thresholds};

use super::infer::Cluster;
use super::names::Names;
use super::{cluster, filled};
use crate::PackageName;

/// Most boxes that go into nvinfer's suppression: what [`Detector::decode`] takes into its own.
const MOST_SUPPRESSED: usize = 30_000;

/// The text of `parser/nvdsinfer_custombboxparser_<name>.cpp`.
pub(super) fn source(names: &Names, name: &PackageName, detector: &Detector) -> String {
    let head = &detector.head;
    let (most, why) = match cluster(head) {
        Cluster::Nms(_) => (MOST_SUPPRESSED, " into nvinfer's suppression"),
        Cluster::None => (Thresholds::for_head(head).max_detections, ""),
    };
    filled(
        include_str!("parser/parser.cpp.in"),
        &[
            ("NAME", name.as_str()),
            ("ABOUT", about(head)),
            ("SYMBOL", &names.symbol),
            ("MOST", &most.to_string()),
            ("MOST_WHY", why),
            ("CORNERS", &corners(head.format())),
            ("DECODE", &decode(head)),
        ],
    )
}

/// The text of `parser/Makefile`.
pub(super) fn makefile(names: &Names, name: &PackageName) -> String {
    let file = |path: String| path.trim_start_matches("parser/").to_owned();
    let (library, source) = (file(names.library()), file(names.source()));
    let values =
        [("NAME", name.as_str()), ("LIBRARY", &library), ("SOURCE", &source), ("SYMBOL", &names.symbol)];
    filled(include_str!("parser/Makefile.in"), &values)
}

fn about(head: &Head) -> &'static str {
    match head {
        Head::Queries { activation: Activation::Softmax { .. }, .. } => {
            "a row a query, softmax over the classes"
        }
        Head::Queries { activation: Activation::Sigmoid, .. } => "a row a query, a sigmoid each class",
        Head::Queries { .. } => "a row a query, scores as they are",
        Head::Dense { .. } => "a row an anchor or cell, suppressed by nvinfer",
        Head::EndToEnd { .. } => "suppressed in the graph, one output of box, score and class",
        Head::EndToEndParts { .. } => "suppressed in the graph, an output a quantity",
    }
}

/// The function `corners`; parameters that a format does not need have no name.
fn corners(format: BoxFormat) -> String {
    let is_normalized = matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::XyxyNormalized);
    let is_centred = matches!(format, BoxFormat::CxcywhNormalized | BoxFormat::CxcywhPixels);
    let (parameters, x, y) = if is_normalized {
        ("float width, float height", " * width", " * height")
    } else {
        ("float, float", "", "")
    };
    let edges = if is_centred {
        [
            "(box[0] - 0.5F * box[2])",
            "(box[1] - 0.5F * box[3])",
            "(box[0] + 0.5F * box[2])",
            "(box[1] + 0.5F * box[3])",
        ]
    } else {
        ["box[0]", "box[1]", "box[2]", "box[3]"]
    };
    let [left, top, right, bottom] = edges;
    format!(
        "std::array<float, 4> corners(const std::array<float, 4>& box, {parameters}) {{\n    \
         return {{{left}{x}, {top}{y},\n            {right}{x}, {bottom}{y}}};\n}}\n"
    )
}

fn decode(head: &Head) -> String {
    match head {
        Head::Queries { logits, boxes, activation, selection, .. } => {
            let background = matches!(activation, Activation::Softmax { background: Background::Last });
            let values = [
                ("LOGITS", &*quoted(logits)),
                ("BOXES", &quoted(boxes)),
                ("LEAST", if background { "2" } else { "1" }),
                ("PLUS", if background { " + background" } else { "" }),
                ("BACKGROUND", if background { " - 1" } else { "" }),
                ("SCORES", &scores(*activation, *selection)),
                ("SELECT", &select(*selection)),
            ];
            filled(include_str!("parser/queries.cpp.in"), &values)
        }
        Head::Dense { output, layout, objectness, activation, .. } => {
            dense(output, *layout, *objectness, *activation)
        }
        Head::EndToEnd { output, .. } => {
            let rows = filled(include_str!("parser/end_to_end_rows.cpp.in"), &[("OUTPUT", &quoted(output))]);
            include_str!("parser/end_to_end.cpp.in").to_owned() + &rows
        }
        Head::EndToEndParts { count, boxes, scores, classes, .. } => {
            let parts = parts(count.as_deref(), boxes, scores.as_deref(), classes);
            include_str!("parser/end_to_end.cpp.in").to_owned() + &parts
        }
    }
}

fn scores(activation: Activation, selection: Selection) -> String {
    let piece = match activation {
        Activation::None => include_str!("parser/queries_none.cpp.in"),
        Activation::Sigmoid => include_str!("parser/queries_sigmoid.cpp.in"),
        Activation::Softmax { .. } => include_str!("parser/queries_softmax.cpp.in"),
    };
    let values = match selection {
        Selection::TopK { .. } => [
            ("BEFORE", ""),
            ("TAKE", "                found.push_back({score, label, box(query)});\n"),
            ("AFTER", ""),
        ],
        Selection::PerQuery => [
            ("BEFORE", "        Candidate best = {-HUGE_VALF, 0, {}};\n"),
            (
                "TAKE",
                "                if (score > best.score) {\n                    best = {score, label, box(query)};\n                }\n",
            ),
            (
                "AFTER",
                "        if (best.score > -HUGE_VALF) {\n            found.push_back(best);\n        }\n",
            ),
        ],
    };
    filled(piece, &values)
}

fn select(selection: Selection) -> String {
    match selection {
        Selection::TopK { count } => format!("    keep_best(found, {count});\n"),
        Selection::PerQuery => String::new(),
    }
}

fn dense(output: &str, layout: DenseLayout, objectness: bool, activation: Activation) -> String {
    let (columns, rows, index) = match layout {
        DenseLayout::ChannelsFirst => ("0", "1", "column * rows + row"),
        DenseLayout::RowsFirst => ("1", "0", "row * columns + column"),
    };
    let first = if objectness { "5" } else { "4" };
    let expected = match layout {
        DenseLayout::ChannelsFirst => format!("[{first} + classes, rows]"),
        DenseLayout::RowsFirst => format!("[rows, {first} + classes]"),
    };
    let activated =
        if activation == Activation::Sigmoid { "1.0F / (1.0F + std::exp(-value))" } else { "value" };
    let score =
        if objectness { "activated(output[at(row, 4)]) * activated(best)" } else { "activated(best)" };
    let values = [
        ("OBJECTNESS_WORDS", if objectness { ", objectness" } else { "" }),
        ("FIRST", first),
        ("OUTPUT", &*quoted(output)),
        ("COLUMNS_AXIS", columns),
        ("ROWS_AXIS", rows),
        ("INDEX", index),
        ("EXPECTED", &expected),
        ("ACTIVATED", activated),
        ("SCORE", score),
    ];
    filled(include_str!("parser/dense.cpp.in"), &values)
}

fn parts(count: Option<&str>, boxes: &str, scores: Option<&str>, classes: &str) -> String {
    let open_scores = scores.map_or_else(String::new, |scores| {
        filled(include_str!("parser/parts_scores.cpp.in"), &[("SCORES", &quoted(scores))])
    });
    let used = count.map_or_else(
        || "    const std::size_t used = rows;\n".to_owned(),
        |count| filled(include_str!("parser/parts_count.cpp.in"), &[("COUNT", &quoted(count))]),
    );
    let values = [
        ("COLUMNS", if scores.is_some() { "4" } else { "5" }),
        ("BOXES", &*quoted(boxes)),
        ("CLASSES", &quoted(classes)),
        ("OPEN_SCORES", &open_scores),
        ("USED", &used),
        ("SCORE", if scores.is_some() { "scores[row]" } else { "boxes[at + 4]" }),
    ];
    filled(include_str!("parser/end_to_end_parts.cpp.in"), &values)
}

/// A C++ literal of a string: names of tensors are anything. Other bytes than plain ones are octal, which ends after three
/// digits.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => literal.extend(['\\', char::from(byte)]),
            // A `?` may begin a trigraph.
            b' '..=b'~' if byte != b'?' => literal.push(char::from(byte)),
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    literal + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors_are_literals() {
        assert_eq!(quoted("output_cov/Sigmoid:0"), "\"output_cov/Sigmoid:0\"");
        assert_eq!(quoted("a\"\\\n?é1"), "\"a\\\"\\\\\\012\\077\\303\\2511\"");
    }
}
