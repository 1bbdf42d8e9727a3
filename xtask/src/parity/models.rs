//! Which models are compared: the variants that the oracle lists, and networks of Ultralytics.

use super::arguments::Size;

/// Prompts for families that find what a text describes.
const PROMPTS: &[(&str, &[&str])] = &[
    ("grounding_dino", &["a cat . a dog . a remote control ."]),
    ("mm_grounding_dino", &["a cat . a dog . a remote control ."]),
    ("omdet_turbo", &["cat", "dog", "remote control"]),
    ("owlv2", &["a photo of a cat", "a photo of a dog", "remote control"]),
    ("owlvit", &["a photo of a cat", "a photo of a dog", "remote control"]),
];

/// Networks of Ultralytics that are compared when none is named: the smallest of each generation, and large ones.
const SMALL: &[&str] = &[
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo12n",
    "yolo26n",
    "rtdetr-l",
];
const LARGE: &[&str] =
    &["yolov5x", "yolov8x", "yolov9e", "yolov10x", "yolo11x", "yolo12x", "yolo26x", "rtdetr-x"];

/// A model to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    /// `ARCH:VARIANT`, or a network's name.
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    HuggingFace,
    Ultralytics,
}

impl Model {
    /// What the model is to look for.
    pub(super) fn prompts(&self) -> &'static [&'static str] {
        let architecture = self.name.split(':').next().unwrap_or_default();
        PROMPTS.iter().find(|(known, _)| *known == architecture).map_or(&[], |(_, prompts)| prompts)
    }
}

/// The models of the oracle's list that are wanted, then those of Ultralytics.
pub(super) fn wanted(
    list: &str,
    size: Size,
    names: &[String],
    ultralytics: bool,
) -> Result<Vec<Model>, String> {
    let listed = listed(list, size);
    let is_ultralytics =
        |name: &String| name.starts_with("yolo") && name != "yolos" || name.starts_with("rtdetr");
    let of_ultralytics = |name: &str| Model { name: name.to_owned(), kind: Kind::Ultralytics };
    if names.is_empty() {
        let networks: &[&str] = match (ultralytics, size) {
            (false, _) => &[],
            (true, Size::Tiny) => SMALL,
            (true, Size::Full) => LARGE,
        };
        let networks = networks.iter().map(|name| of_ultralytics(name));
        return Ok(listed.into_iter().chain(networks).collect());
    }
    let mut models = Vec::new();
    for name in names {
        let fits = |model: &&Model| {
            model.name == *name || model.name.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
        };
        let found: Vec<Model> = listed.iter().filter(fits).cloned().collect();
        match found.is_empty() {
            false => models.extend(found),
            true if is_ultralytics(name) && ultralytics => models.push(of_ultralytics(name)),
            true if is_ultralytics(name) => {
                return Err(format!("`{name}` is a network of Ultralytics: pass `--ultralytics-python`"));
            }
            true => return Err(format!("the oracle has no {} `{name}`", size.name())),
        }
    }
    Ok(models)
}

/// The variants of one size in what `make_checkpoint.py --list` prints: `ARCH CLASS tiny: A,B full: C,D`.
fn listed(list: &str, size: Size) -> Vec<Model> {
    let mut models = Vec::new();
    for line in list.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let label = format!("{}:", size.name());
        let variants = words.iter().position(|word| *word == label).and_then(|at| words.get(at + 1));
        if let (Some(architecture), Some(variants)) = (words.first(), variants) {
            let named = variants.split(',').map(|variant| format!("{architecture}:{variant}"));
            models.extend(named.map(|name| Model { name, kind: Kind::HuggingFace }));
        }
    }
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
detr      DetrForObjectDetection     tiny: timm,native  full: resnet-50
yolos     YolosForObjectDetection    tiny: default  full: tiny,base
";

    fn names(size: Size, names: &[&str], ultralytics: bool) -> Result<String, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let models = wanted(LIST, size, &names, ultralytics)?;
        Ok(models.into_iter().map(|model| model.name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn families_variants_and_networks_are_found_by_name() {
        let cases: [(Size, &[&str], &str); 4] = [
            (Size::Tiny, &[], "detr:timm detr:native yolos:default"),
            (Size::Full, &["yolos"], "yolos:tiny yolos:base"),
            (Size::Tiny, &["detr:native"], "detr:native"),
            (Size::Tiny, &["yolos", "yolo11n"], "yolos:default yolo11n"),
        ];
        for (size, given, expected) in cases {
            assert_eq!(names(size, given, !given.is_empty()).unwrap(), expected);
        }
    }

    #[test]
    fn unknown_names_and_networks_without_their_library_are_told() {
        assert!(names(Size::Tiny, &["dert"], true).is_err());
        assert!(names(Size::Full, &["detr:timm"], true).is_err());
        assert!(names(Size::Tiny, &["yolo11n"], false).unwrap_err().contains("--ultralytics-python"));
    }
}
