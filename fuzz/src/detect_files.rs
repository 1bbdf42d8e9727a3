//! Readers of `detect` and `hub`: descriptions, annotations, images, source names.

use detect::dataset::Dataset;
use detect::{Detector, Image, Labels};

/// `detector.json`: what is read is written and read again to the same value.
///
/// # Panics
/// When a description does not survive its own JSON.
pub fn detector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(detector) = Detector::from_json(text) {
        let again = Detector::from_json(&detector.to_json());
        assert!(again.is_ok_and(|again| again == detector), "a detector does not survive its own JSON");
    }
}

/// COCO annotations.
pub fn annotations(data: &[u8]) {
    let _ = Dataset::from_coco(data);
}

/// A JPEG or PNG file.
pub fn image(data: &[u8]) {
    let _ = Image::decode(data);
}

/// `labels.txt`.
pub fn labels(data: &[u8]) {
    let _ = Labels::from_lines(&String::from_utf8_lossy(data));
}

/// What a user types as a source: whatever is accepted has a name without a path in it.
///
/// # Panics
/// When the name could lead out of a folder.
pub fn source(data: &[u8]) {
    let Ok(endpoint) = hub::HUGGING_FACE.parse() else { return };
    if let Ok(source) = hub::Source::parse(&String::from_utf8_lossy(data), &endpoint) {
        let name = source.name();
        assert!(!name.contains(['/', '\\']) && name != ".." && name != ".", "{name:?}");
    }
}
