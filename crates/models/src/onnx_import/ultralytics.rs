//! The metadata that Ultralytics writes into its ONNX files; every value is Python's `str()` of the object.

use std::collections::BTreeMap;

use detect::Labels;

use super::python_literal::Literal;
use crate::Error;

/// What the metadata says; absent in files of other programs.
#[derive(Debug, Clone, Default)]
pub(super) struct Ultralytics {
    pub(super) labels: Option<Labels>,
    /// Height and width.
    pub(super) size: Option<(u32, u32)>,
    pub(super) end_to_end: bool,
    /// Whether suppression was exported with the graph.
    pub(super) suppressed: bool,
    /// Whether the head is RT-DETR's.
    pub(super) is_rt_detr: bool,
    pub(super) architecture: String,
}

impl Ultralytics {
    /// Reads the metadata of a model, `None` when Ultralytics did not write it.
    ///
    /// # Errors
    /// [`Error::NotADetector`] for another task than detection, [`Error::BadLabels`] for names that cannot be read.
    pub(super) fn find(metadata: &BTreeMap<String, String>) -> Result<Option<Self>, Error> {
        let text = |key: &str| metadata.get(key).map(|text| text.trim());
        let is_theirs = text("author") == Some("Ultralytics")
            || (metadata.contains_key("names") && metadata.contains_key("stride"));
        if !is_theirs {
            return Ok(None);
        }
        if let Some(task) = text("task").filter(|task| *task != "detect") {
            return Err(Error::NotADetector { class: format!("Ultralytics task {task}") });
        }
        let labels = text("names").map(labels).transpose()?;
        let sides = text("imgsz").and_then(Literal::parse).and_then(|size| size.ints());
        let side = |side: i64| u32::try_from(side).ok().filter(|side| *side > 0);
        let size = sides.and_then(|sides| match sides[..] {
            [both] => side(both).map(|both| (both, both)),
            [height, width] => side(height).zip(side(width)),
            _ => None,
        });
        let arguments = text("args").and_then(Literal::parse);
        let suppressed = matches!(&arguments, Some(Literal::Dict(entries))
            if entries.contains(&(Literal::Text("nms".into()), Literal::Bool(true))));
        let head = text("head").unwrap_or_default();
        let description = text("description").unwrap_or_default().to_lowercase();
        let name = description.strip_prefix("ultralytics ").and_then(|rest| rest.split_whitespace().next());
        Ok(Some(Self {
            labels,
            size,
            end_to_end: text("end2end") == Some("True") || head == "v10Detect",
            suppressed,
            is_rt_detr: head == "RTDETRDecoder" || name.is_some_and(|name| name.starts_with("rt")),
            architecture: name.unwrap_or("yolo").to_owned(),
        }))
    }
}

fn labels(text: &str) -> Result<Labels, Error> {
    let reason = || Error::BadLabels { reason: "`names` in the metadata is no list of names".into() };
    let names = Literal::parse(text).and_then(|names| names.names()).ok_or_else(reason)?;
    Labels::new(names).map_err(crate::config::bad_labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_metadata_says_labels_size_and_head() {
        let metadata = metadata(&[
            ("author", "Ultralytics"),
            ("description", "Ultralytics YOLO11n model trained on coco.yaml"),
            ("names", "{0: 'person', 1: 'car'}"),
            ("imgsz", "[480, 640]"),
            ("task", "detect"),
            ("args", "{'batch': 1, 'nms': True}"),
        ]);
        let found = Ultralytics::find(&metadata).unwrap().unwrap();
        assert_eq!(found.labels.unwrap().to_lines(), "person\ncar\n");
        assert_eq!((found.size, found.suppressed, found.end_to_end), (Some((480, 640)), true, false));
        assert_eq!((found.architecture.as_str(), found.is_rt_detr), ("yolo11n", false));
    }

    #[test]
    fn other_tasks_and_other_programs_are_told_apart() {
        let segment = metadata(&[("author", "Ultralytics"), ("task", "segment")]);
        assert!(matches!(Ultralytics::find(&segment), Err(Error::NotADetector { .. })));
        assert!(Ultralytics::find(&metadata(&[("author", "me")])).unwrap().is_none());
        let damaged = metadata(&[("author", "Ultralytics"), ("names", "{0: person}")]);
        assert!(matches!(Ultralytics::find(&damaged), Err(Error::BadLabels { .. })));
    }
}
