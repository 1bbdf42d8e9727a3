//! The licence that a model says it has: from its card, its configuration, or the hub's answer.
//!
//! Cards are Markdown with YAML on top; only the three licence keys are read, in the forms that cards use. The value
//! is what the author wrote (`apache-2.0`, `other`), not a legal opinion.

use serde_json::Value;

/// The licence in `cardData` of the hub's model info.
pub(crate) fn from_card_data(card: &Value) -> Option<String> {
    let text = |key: &str| card.get(key).and_then(Value::as_str).map(str::to_owned);
    let licence = match card.get("license")? {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        one => one.as_str()?.to_owned(),
    };
    named(&licence, text("license_name"))
}

/// The licence in the `license` key of a `config.json`.
pub(crate) fn from_config(config: &str) -> Option<String> {
    let value: Value = serde_json::from_str(config).ok()?;
    named(value.get("license")?.as_str()?, None)
}

/// The licence in the front matter of a model card: the lines between the first two `---`.
pub(crate) fn from_card(card: &str) -> Option<String> {
    let mut lines = card.trim_start_matches('\u{feff}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let front: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    named(&values(&front, "license")?, values(&front, "license_name"))
}

/// `other` says nothing; the name beside it does.
fn named(licence: &str, name: Option<String>) -> Option<String> {
    let licence = licence.trim();
    match name.filter(|name| !name.trim().is_empty()) {
        Some(name) if licence.is_empty() || licence == "other" => Some(name.trim().to_owned()),
        _ => (!licence.is_empty()).then(|| licence.to_owned()),
    }
}

/// The value of a top-level key: a scalar, `[a, b]`, or a list in the lines below.
fn values(front: &[&str], key: &str) -> Option<String> {
    let at =
        front.iter().position(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))?;
    let inline = front[at][key.len() + 1..].trim();
    let inline = inline.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(inline);
    if !inline.is_empty() {
        return Some(inline.split(',').map(unquoted).collect::<Vec<_>>().join(", "));
    }
    let below = front[at + 1..].iter().map_while(|line| line.trim_start().strip_prefix("- "));
    let list: Vec<_> = below.map(unquoted).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

fn unquoted(text: &str) -> &str {
    let text = text.split(" #").next().unwrap_or(text).trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_name_their_licence_in_several_forms() {
        let cases = [
            ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Model", Some("apache-2.0")),
            ("---\ntags:\n- x\nlicense: \"mit\"  # free\n---", Some("mit")),
            ("---\nlicense:\n- mit\n- apache-2.0\n---", Some("mit, apache-2.0")),
            ("---\nlicense: [mit, 'apache-2.0']\n---", Some("mit, apache-2.0")),
            ("---\nlicense: other\nlicense_name: nvidia-open-model\n---", Some("nvidia-open-model")),
            ("---\r\nlicense: agpl-3.0\r\n---\r\n", Some("agpl-3.0")),
            ("---\nlicense_name: x\n---", None),
            ("# Model\nlicense: mit\n", None),
            ("---\ntags: x\n---\nlicense: mit\n", None),
            ("", None),
        ];
        for (card, expected) in cases {
            assert_eq!(from_card(card).as_deref(), expected, "{card:?}");
        }
    }

    #[test]
    fn answers_and_configs_name_it_too() {
        let card = serde_json::json!({ "license": "other", "license_name": "x-1.0" });
        assert_eq!(from_card_data(&card).as_deref(), Some("x-1.0"));
        assert_eq!(
            from_card_data(&serde_json::json!({ "license": ["mit", "bsd"] })).as_deref(),
            Some("mit, bsd")
        );
        assert_eq!(from_card_data(&serde_json::json!({})), None);
        assert_eq!(from_config(r#"{"license": "apache-2.0"}"#).as_deref(), Some("apache-2.0"));
        assert_eq!(from_config("not json"), None);
    }
}
