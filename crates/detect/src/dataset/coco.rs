//! Annotations in COCO's JSON form (`instances.json`).
//!
//! The ids of annotations are not kept: pycocotools counts a match with the annotation of id 0 as no match, so metrics
//! number the objects from 1 themselves.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use super::{Annotation, Category, Dataset, ImageRecord};
use crate::Error;

#[derive(Deserialize)]
struct File {
    images: Vec<RawImage>,
    categories: Vec<RawCategory>,
    #[serde(default)]
    annotations: Vec<RawAnnotation>,
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(deserialize_with = "id")]
    id: u64,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct RawCategory {
    #[serde(deserialize_with = "id")]
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct RawAnnotation {
    #[serde(deserialize_with = "id")]
    image_id: u64,
    #[serde(deserialize_with = "id")]
    category_id: u64,
    bbox: Vec<f64>,
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Crowd,
}

/// `0`, `1`, `false` or `true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Crowd {
    Flag(bool),
    Number(f64),
}

impl Default for Crowd {
    fn default() -> Self {
        Self::Flag(false)
    }
}

impl Crowd {
    fn is_set(&self) -> bool {
        match self {
            Self::Flag(set) => *set,
            Self::Number(number) => *number != 0.0,
        }
    }
}

/// A whole number of at least 0, also written as `3.0` by some tools.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole =
        |value: f64| (value >= 0.0 && value < 2_f64.powi(53) && value.fract() == 0.0).then_some(value as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(whole)).ok_or_else(|| {
        serde::de::Error::custom(format!("{number} is not an id: a whole number of at least 0"))
    })
}

impl Dataset {
    /// Reads `instances.json`.
    ///
    /// # Errors
    /// [`Error::Annotations`] for text that is not of this form, ids that are given twice or do not exist, boxes that
    /// are not four finite numbers of a size at least 0, and file names that lead out of the folder.
    pub fn from_coco(json: &[u8]) -> Result<Self, Error> {
        let file: File = serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
        let images = file.images.into_iter().map(image).collect::<Result<Vec<_>, Error>>()?;
        let categories: Vec<Category> =
            file.categories.into_iter().map(|RawCategory { id, name }| Category { id, name }).collect();
        let image_ids = unique("image", images.iter().map(|image| image.id))?;
        let category_ids = unique("category", categories.iter().map(|category| category.id))?;
        let annotations = file
            .annotations
            .iter()
            .enumerate()
            .map(|(index, raw)| annotation(index, raw, &image_ids, &category_ids))
            .collect::<Result<_, Error>>()?;
        Ok(Self { images, categories, annotations })
    }
}

fn image(raw: RawImage) -> Result<ImageRecord, Error> {
    let name = &raw.file_name;
    let leaves = name.split(['/', '\\']).any(|part| part == "..");
    if name.is_empty() || leaves || name.starts_with(['/', '\\']) || name.contains(['\0', ':']) {
        return Err(refused(format!("the file name {name:?} of image {} is not inside the folder", raw.id)));
    }
    let side = |length: Option<f64>| {
        length.filter(|length| (1.0..=1e9).contains(length)).map(|length| length as u32)
    };
    Ok(ImageRecord { id: raw.id, size: side(raw.width).zip(side(raw.height)), file_name: raw.file_name })
}

fn unique(what: &str, ids: impl Iterator<Item = u64>) -> Result<BTreeSet<u64>, Error> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(refused(format!("{what} id {id} is given twice")));
        }
    }
    Ok(seen)
}

fn annotation(
    index: usize,
    raw: &RawAnnotation,
    images: &BTreeSet<u64>,
    categories: &BTreeSet<u64>,
) -> Result<Annotation, Error> {
    let refuse = |reason: String| Err(refused(format!("annotation {index}: {reason}")));
    if !images.contains(&raw.image_id) {
        return refuse(format!("there is no image {}", raw.image_id));
    }
    if !categories.contains(&raw.category_id) {
        return refuse(format!("there is no category {}", raw.category_id));
    }
    let Ok(bbox) = <[f64; 4]>::try_from(raw.bbox.as_slice()) else {
        return refuse(format!("its box has {} numbers, expected left, top, width, height", raw.bbox.len()));
    };
    if !bbox.iter().all(|number| number.is_finite()) || bbox[2] < 0.0 || bbox[3] < 0.0 {
        return refuse(format!("its box {bbox:?} is not left, top, width, height"));
    }
    let area = raw.area.filter(|area| area.is_finite()).unwrap_or(bbox[2] * bbox[3]);
    Ok(Annotation { image: raw.image_id, category: raw.category_id, bbox, area, crowd: raw.iscrowd.is_set() })
}

fn refused(reason: String) -> Error {
    Error::Annotations { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &str =
        r#""images":[{"id":1,"file_name":"a/b.jpg","width":4,"height":3},{"id":2.0,"file_name":"c.jpg"}]"#;
    const CATEGORIES: &str = r#""categories":[{"id":0,"name":"a"},{"id":7,"name":"b","supercategory":"x"}]"#;

    fn read(annotations: &str) -> Result<Dataset, Error> {
        Dataset::from_coco(
            format!("{{\"info\":{{}},{IMAGES},{CATEGORIES},\"annotations\":[{annotations}]}}").as_bytes(),
        )
    }

    #[test]
    fn a_file_is_read() {
        let dataset = read(
            r#"{"id":0,"image_id":1,"category_id":7,"bbox":[1,2,3,4.5],"area":9,"iscrowd":1,"segmentation":[[1,2]]},
               {"id":0,"image_id":2,"category_id":0,"bbox":[0,0,2,2]}"#,
        )
        .unwrap();
        assert_eq!(dataset.images[0], ImageRecord { id: 1, file_name: "a/b.jpg".into(), size: Some((4, 3)) });
        assert_eq!(dataset.images[1].size, None);
        let [a, b] = dataset.annotations[..] else { panic!("two annotations") };
        assert_eq!(
            a,
            Annotation { image: 1, category: 7, bbox: [1.0, 2.0, 3.0, 4.5], area: 9.0, crowd: true }
        );
        assert_eq!((b.area, b.crowd), (4.0, false));

        let second = dataset.with_images(|image| image.id == 2);
        assert_eq!((second.images.len(), second.annotations.as_slice()), (1, &[b][..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let object = |image: &str, category: &str, bbox: &str| {
            format!(r#"{{"id":1,"image_id":{image},"category_id":{category},"bbox":{bbox}}}"#)
        };
        let cases = [
            ("no such image", object("9", "7", "[0,0,1,1]"), "there is no image 9"),
            ("no such category", object("1", "1", "[0,0,1,1]"), "there is no category 1"),
            ("three numbers", object("1", "7", "[0,0,1]"), "3 numbers"),
            ("negative width", object("1", "7", "[0,0,-1,1]"), "is not left, top"),
            ("half an id", object("1.5", "7", "[0,0,1,1]"), "1.5 is not an id"),
            ("no box", r#"{"id":1,"image_id":1,"category_id":7}"#.into(), "missing field `bbox`"),
        ];
        for (name, annotations, expected) in cases {
            let found = read(&annotations).unwrap_err().to_string();
            assert!(found.contains(expected), "{name}: {found}");
        }
        for (file, expected) in [
            ("[]".to_owned(), "invalid"),
            (format!("{{{IMAGES}}}"), "categories"),
            (
                r#"{"images":[{"id":1,"file_name":"a"},{"id":1,"file_name":"b"}],"categories":[]}"#.into(),
                "twice",
            ),
            (r#"{"images":[{"id":1,"file_name":"../a"}],"categories":[]}"#.into(), "not inside"),
            (r#"{"images":[{"id":1,"file_name":"/a"}],"categories":[]}"#.into(), "not inside"),
        ] {
            let found = Dataset::from_coco(file.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{file}: {found}");
        }
    }
}
