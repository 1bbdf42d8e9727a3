//! Class names from `config.json` and the files around it.
//!
//! Ids are kept as they are, with their gaps and their `N/A`; there is no default list, ever.

use std::collections::BTreeMap;

use detect::Labels;
use serde_json::{Map, Value};

use super::CONFIG;
use crate::{Error, Files};

/// Files of class names, one a line, in the order in which they are looked for.
const LABEL_FILES: &[&str] = &["labels.txt", "class_map.txt", "classes.txt"];

/// The labels that a source declares: `id2label`, `label2id` or `names` of its configuration, else a label file.
///
/// # Errors
/// [`Error::NoLabels`] when there are none, [`Error::BadLabels`] when they cannot be used.
pub(crate) fn find_labels(files: &dyn Files, config: Option<&Map<String, Value>>) -> Result<Labels, Error> {
    if let Some(names) = config.map(declared).transpose()?.flatten() {
        return Labels::new(names).map_err(bad_labels);
    }
    for file in LABEL_FILES {
        if let Some(bytes) = files.read_if_present(file)? {
            let text = std::str::from_utf8(&bytes).map_err(|cause| Error::damaged(file, cause))?;
            return Labels::from_lines(text).map_err(bad_labels);
        }
    }
    let config = config.map(|_| format!("`id2label`, `label2id` and `names` of `{CONFIG}`"));
    let searched = config.into_iter().chain(LABEL_FILES.iter().map(|file| format!("`{file}`")));
    Err(Error::NoLabels { searched: searched.collect::<Vec<_>>().join(", ") })
}

/// What to say of names that are only numbers in disguise.
pub(crate) fn placeholder_warning(labels: &Labels) -> Option<String> {
    let placeholder = |(id, name): (u32, &str)| name == format!("LABEL_{id}");
    labels.iter().all(placeholder).then(|| {
        "the class names are the placeholders `LABEL_0`, `LABEL_1` …: the source does not say what they are".into()
    })
}

fn declared(config: &Map<String, Value>) -> Result<Option<BTreeMap<u32, String>>, Error> {
    let present = |key: &str| config.get(key).filter(|value| !is_empty(value));
    if let Some(map) = present("id2label") {
        return by_id("id2label", map).map(Some);
    }
    if let Some(map) = present("label2id") {
        return by_name(map).map(Some);
    }
    present("names").map(|names| by_id("names", names)).transpose()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// `{"0": "person"}` or `["person"]`.
fn by_id(key: &str, value: &Value) -> Result<BTreeMap<u32, String>, Error> {
    match value {
        Value::Object(map) => {
            map.iter().map(|(id, name)| Ok((id_of(key, id)?, name_of(key, name)?))).collect()
        }
        Value::Array(list) => (0..).zip(list).map(|(id, name)| Ok((id, name_of(key, name)?))).collect(),
        other => Err(reason(format!("`{key}` is {other}, expected names by id"))),
    }
}

/// `{"person": 0}`.
fn by_name(value: &Value) -> Result<BTreeMap<u32, String>, Error> {
    let Value::Object(map) = value else {
        return Err(reason(format!("`label2id` is {value}, expected ids by name")));
    };
    let mut names = BTreeMap::new();
    for (name, id) in map {
        let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let id = id_of("label2id", &text)?;
        if let Some(other) = names.insert(id, name.clone()) {
            return Err(reason(format!("`label2id` calls id {id} both `{other}` and `{name}`")));
        }
    }
    Ok(names)
}

fn id_of(key: &str, text: &str) -> Result<u32, Error> {
    text.trim().parse().map_err(|_| reason(format!("`{text}` in `{key}` is no class id")))
}

fn name_of(key: &str, name: &Value) -> Result<String, Error> {
    match name {
        Value::String(name) => Ok(name.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(reason(format!("{other} in `{key}` is no class name"))),
    }
}

fn reason(reason: String) -> Error {
    Error::BadLabels { reason }
}

pub(crate) fn bad_labels(error: detect::Error) -> Error {
    match error {
        detect::Error::Labels { reason } => Error::BadLabels { reason },
        other => Error::Detector(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, MemoryFiles};

    fn labels(config: &str, files: &MemoryFiles) -> Result<String, Error> {
        let config: Map<String, Value> = serde_json::from_str(config).unwrap();
        find_labels(files, Some(&config)).map(|labels| labels.to_lines())
    }

    #[test]
    fn labels_come_from_the_first_place_that_has_them() {
        let none = MemoryFiles::new();
        let file = MemoryFiles::new().with("labels.txt", "x;y");
        let cases = [
            ("by id", r#"{"id2label": {"1": "b", "0": "a"}}"#, &none, "a\nb\n"),
            ("gaps and holes", r#"{"id2label": {"0": "N/A", "2": "b"}}"#, &none, "N/A\nN/A\nb\n"),
            ("numbers as names", r#"{"id2label": {"0": 7}}"#, &none, "7\n"),
            ("by name", r#"{"id2label": null, "label2id": {"a": "1", "b": 0}}"#, &none, "b\na\n"),
            ("list", r#"{"names": ["a", "b"]}"#, &none, "a\nb\n"),
            ("map of names", r#"{"names": {"3": "a"}}"#, &none, "N/A\nN/A\nN/A\na\n"),
            ("file", r#"{"id2label": {}}"#, &file, "x\ny\n"),
            ("config before file", r#"{"id2label": {"0": "a"}}"#, &file, "a\n"),
        ];
        for (name, config, files, expected) in cases {
            assert_eq!(labels(config, files).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn absent_and_unusable_maps_are_told_apart_and_both_are_label_errors() {
        let none = MemoryFiles::new();
        assert!(matches!(labels("{}", &none), Err(Error::NoLabels { .. })));
        let cases = [
            r#"{"id2label": "person"}"#,
            r#"{"id2label": {"one": "person"}}"#,
            r#"{"id2label": {"-1": "person"}}"#,
            r#"{"id2label": {"4294967295": "person"}}"#,
            r#"{"id2label": {"0": ["person"]}}"#,
            r#"{"label2id": {"a": 0, "b": 0}}"#,
            r#"{"label2id": {"a": 0.5}}"#,
        ];
        for config in cases {
            let error = labels(config, &none).unwrap_err();
            assert!(matches!(error, Error::BadLabels { .. }), "{config}: {error}");
            assert_eq!(error.kind(), ErrorKind::NoLabels);
        }
    }

    #[test]
    fn placeholders_are_kept_and_told() {
        let labels = |names: &[&str]| Labels::from_lines(&names.join("\n")).unwrap();
        assert!(placeholder_warning(&labels(&["LABEL_0", "LABEL_1"])).is_some());
        assert!(placeholder_warning(&labels(&["LABEL_0", "cat"])).is_none());
    }
}
