//! The results as one Markdown table.

use serde_json::Value;

/// A column: its title, and a cell from a model's result.
type Column = (&'static str, fn(&Value) -> String);

/// What every run measures.
const OURS: &[Column] = &[
    ("model", |row| text(&row["name"])),
    ("scores", |row| exponent(&row["scores"])),
    ("boxes", |row| exponent(&row["boxes"])),
    ("verdict", verdict),
    ("nodes", |row| text(&row["nodes"])),
    ("s", |row| fixed(&row["export"]["seconds"], 2)),
    ("MB", |row| megabytes(&row["export"]["peak_kb"])),
];

/// What the original's own float32 costs.
const OWN: &[Column] = &[
    ("own scores", |row| exponent(&row["own"]["scores"])),
    ("own boxes", |row| exponent(&row["own"]["boxes"])),
];

/// What exporting with Python gives.
const PYTHON: &[Column] = &[
    ("TorchScript nodes, slim, sim", |row| nodes(&row["torchscript"])),
    ("s", |row| fixed(&row["torchscript"]["seconds"], 1)),
    ("MB", |row| megabytes(&row["torchscript"]["peak_kb"])),
    ("dynamo nodes, slim, sim", |row| nodes(&row["dynamo"])),
    ("s", |row| fixed(&row["dynamo"]["seconds"], 1)),
    ("MB", |row| megabytes(&row["dynamo"]["peak_kb"])),
];

/// The table; `own` and `python` add their columns.
pub(super) fn markdown(rows: &[Value], own: bool, python: bool) -> String {
    let mut columns = OURS.to_vec();
    columns.extend(if own { OWN } else { &[] });
    columns.extend(if python { PYTHON } else { &[] });
    let titles: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let mut lines = vec![format!("| {} |", titles.join(" | ")), format!("|{}", "---|".repeat(columns.len()))];
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| (column.1)(row)).collect();
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.join("\n")
}

fn verdict(row: &Value) -> String {
    match (row["passed"].as_bool(), row["error"].as_str()) {
        (_, Some(error)) => error.replace('|', "\\|"),
        (Some(true), _) => "passed".into(),
        _ => "**failed**".into(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn exponent(value: &Value) -> String {
    value.as_f64().map_or_else(|| "–".into(), |number| format!("{number:.1e}"))
}

fn fixed(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "–".into(), |number| format!("{number:.digits$}"))
}

fn megabytes(kilobytes: &Value) -> String {
    kilobytes.as_f64().map_or_else(|| "–".into(), |number| format!("{:.0}", number / 1024.0))
}

/// Nodes as exported, then behind each tool that makes graphs smaller.
fn nodes(exporter: &Value) -> String {
    if let Some(error) = exporter["error"].as_str() {
        return format!("fails: {}", error.replace('|', "\\|"));
    }
    let counts = ["nodes", "onnxslim", "onnxsim"].map(|key| text(&exporter[key]));
    if counts.iter().all(|count| count == "–") { "–".into() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_measured_is_a_dash_and_a_failure_stands_out() {
        let rows = [
            json!({
                "name": "detr:timm", "scores": 1.23e-5, "boxes": 2e-7, "passed": true, "nodes": 300,
                "export": { "seconds": 0.5, "peak_kb": 20480 },
                "torchscript": { "nodes": 900, "onnxslim": 500, "onnxsim": null, "seconds": 9.0 },
                "dynamo": { "error": "a | b" },
            }),
            json!({ "name": "yolos:mid", "error": "export: exit status: 1" }),
            json!({ "name": "d_fine:hg", "passed": false }),
        ];
        let table = markdown(&rows, false, true);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[2],
            "| detr:timm | 1.2e-5 | 2.0e-7 | passed | 300 | 0.50 | 20 | 900, 500, – | 9.0 | – \
             | fails: a \\| b | – | – |"
        );
        assert!(lines[3].contains("exit status: 1") && lines[4].contains("**failed**"), "{table}");
        assert!(lines.iter().all(|line| line.replace("\\|", "").matches('|').count() == 14), "{table}");
    }
}
