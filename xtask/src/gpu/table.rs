//! The table of `xtask gpu`.

use serde_json::Value;

/// Its first two lines.
pub(super) const HEAD: &[&str] = &[
    "| detector | batch | network | plain | suppressed | frames | frames ÷ network | PyTorch | frames ÷ it | ONNX Runtime, Python | frames ÷ it |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
];

/// A line for each batch.
pub(super) fn lines(row: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = format!("{} {}", text(&row["name"]), text(&row["precision"]));
    if let Some(error) = row["error"].as_str() {
        return vec![format!("| {name} | {error} |")];
    }
    let batches = row["plain"].as_object().map(|figures| figures.keys().cloned().collect::<Vec<_>>());
    let mut batches = batches.unwrap_or_else(|| vec!["-".to_owned()]);
    batches.sort_by_key(|batch| batch.parse::<u32>().unwrap_or(0));
    batches.iter().map(|batch| line(&name, batch, row)).collect()
}

fn line(name: &str, batch: &str, row: &Value) -> String {
    let frames = &row["frames"][batch];
    let peer = |which: &str| &row["peers"][which][batch];
    let network = peer("network");
    let cells = [
        figure(network),
        cell(&row["plain"], batch),
        cell(&row["suppressed"], batch),
        cell(&row["frames"], batch),
        ratio(frames, network),
        figure(peer("torch")),
        ratio(frames, peer("torch")),
        figure(peer("onnxruntime")),
        ratio(frames, peer("onnxruntime")),
    ];
    format!("| {name} | {batch} | {} |", cells.join(" | "))
}

/// Images a second from files, or why there are none.
fn cell(form: &Value, batch: &str) -> String {
    form.as_str().map_or_else(|| figure(&form[batch]), str::to_owned)
}

fn figure(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("{:.0}", number.as_f64().unwrap_or_default()),
        Value::String(reason) => reason.clone(),
        _ => "—".to_owned(),
    }
}

fn ratio(ours: &Value, other: &Value) -> String {
    match (ours.as_f64(), other.as_f64()) {
        (Some(ours), Some(other)) if other > 0.0 => format!("{:.2}", ours / other),
        _ => "—".to_owned(),
    }
}
