//! The JSON files beside the weights, as typed values.
//!
//! Unknown keys are ignored and absent or `null` ones take the defaults of the library that wrote the file; a key that
//! is there with a value that we cannot honour is an error, never a guess.

mod labels;
mod limits;
mod processor;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Files};

pub(crate) use labels::{bad_labels, find_labels, placeholder_warning};
pub(crate) use limits::Limits;
pub(crate) use processor::{Family, Processor};

/// The name of the model's configuration.
pub(crate) const CONFIG: &str = "config.json";

/// `config.json`.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    raw: Map<String, Value>,
}

impl Config {
    /// Reads `config.json`, `None` when the source has none.
    pub(crate) fn find(files: &dyn Files) -> Result<Option<Self>, Error> {
        Ok(read_object(files, CONFIG)?.map(|raw| Self { raw }))
    }

    /// The same with another value for one key.
    pub(crate) fn with(&self, key: &str, value: Value) -> Self {
        let mut raw = self.raw.clone();
        raw.insert(key.to_owned(), value);
        Self { raw }
    }

    pub(crate) fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The family, with the spelling of the registry.
    pub(crate) fn model_type(&self) -> Option<String> {
        self.raw.get("model_type").and_then(Value::as_str).map(|name| name.replace('-', "_"))
    }

    /// The first class that the file names.
    pub(crate) fn class(&self) -> Option<&str> {
        self.raw.get("architectures")?.as_array()?.first()?.as_str()
    }

    /// Refuses what is not an object detector.
    ///
    /// # Errors
    /// [`Error::NotADetector`] with the class.
    pub(crate) fn require_detector(&self) -> Result<(), Error> {
        // A class of the user's own, or none: what the family is has to be enough.
        let Some(class) = self.class() else { return Ok(()) };
        let is_detector = class.ends_with("ForObjectDetection") || class.ends_with("ObjectDetection");
        let task = class.split_once("For").map_or("", |(_, task)| task);
        let foreign_task = !task.is_empty() || class.ends_with("Model") || class.ends_with("LMHeadModel");
        if !is_detector && foreign_task {
            return Err(Error::NotADetector { class: class.to_owned() });
        }
        Ok(())
    }

    /// The whole file, or one of its objects, as a typed value; keys that hold `null` count as absent.
    pub(crate) fn parse<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, Error> {
        let present = object.iter().filter(|(_, value)| !value.is_null());
        let present: Map<String, Value> = present.map(|(key, value)| (key.clone(), value.clone())).collect();
        serde_json::from_value(Value::Object(present)).map_err(|cause| Error::damaged(CONFIG, cause))
    }
}

/// Reads a JSON object, `None` when there is no such file.
pub(crate) fn read_object(files: &dyn Files, file: &str) -> Result<Option<Map<String, Value>>, Error> {
    let Some(bytes) = files.read_if_present(file)? else { return Ok(None) };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let object = serde_json::from_slice(text).map_err(|cause| Error::damaged(file, cause))?;
    Ok(Some(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    fn config(text: &str) -> Result<Config, Error> {
        let files = MemoryFiles::new().with(CONFIG, text.as_bytes().to_vec());
        Config::find(&files).map(|config| config.expect("the file is there"))
    }

    #[test]
    fn what_is_no_detector_is_refused_by_its_class() {
        let cases = [
            ("RTDetrForObjectDetection", true),
            ("GroundingDinoForObjectDetection", true),
            ("OwlViTForObjectDetection", true),
            ("ResNetForImageClassification", false),
            ("SegformerForSemanticSegmentation", false),
            ("DPTForDepthEstimation", false),
            ("LlamaForCausalLM", false),
            ("DetrForSegmentation", false),
            ("RTDetrModel", false),
            ("BertModel", false),
        ];
        for (class, is_detector) in cases {
            let config = config(&format!(r#"{{"architectures": ["{class}"]}}"#)).unwrap();
            match config.require_detector() {
                Ok(()) => assert!(is_detector, "{class}"),
                Err(Error::NotADetector { class: named }) => assert!(!is_detector && named == class),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn files_that_are_no_object_are_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "1", "{", "{\"a\":}", deep.as_str()] {
            assert!(matches!(config(text), Err(Error::Damaged { .. })), "{text:.20}");
        }
        assert!(Config::find(&MemoryFiles::new()).unwrap().is_none());
    }
}
