//! What the file says about its detector besides the network: classes, input size, where it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use detect::{ChannelOrder, Detector, ElementType, Filter, ImageInput, Labels, Resize};

use super::INPUT;
use super::module::Layer;
use super::network::Head;
use crate::checkpoint::Node;
use crate::config::{bad_labels, find_labels};
use crate::export::checked_size;
use crate::{Error, ExportOptions, Files};

/// Side of the input where the file does not say it.
const SIDE: i64 = 640;
/// Grey of the padding.
const FILL: u8 = 114;
/// Most classes of a head.
const MOST_CLASSES: usize = 65_536;
/// Longest text that is passed on.
const LONGEST: usize = 200;

/// The class names: the caller's, else those of the network, else those of a file beside it.
pub(super) fn labels(
    files: &dyn Files,
    network: Node<'_>,
    options: &ExportOptions,
    classes: usize,
    warnings: &mut Vec<String>,
) -> Result<Labels, Error> {
    if options.prompt.is_some() {
        let reason = "is for open-vocabulary models; the classes of this one are trained in".into();
        return Err(Error::Refused { option: "--prompt", reason });
    }
    if classes > MOST_CLASSES {
        let reason = format!("the head has {classes} classes, at most {MOST_CLASSES} can be named");
        return Err(Error::BadLabels { reason });
    }
    let own = network.get("names").map(names).transpose()?.flatten();
    let labels = match (&options.labels, own) {
        (Some(labels), _) => labels.clone(),
        (None, Some(names)) => {
            // The library fills in numbers where a data set has no names.
            if names.iter().all(|(id, name)| *name == id.to_string() || *name == format!("class{id}")) {
                let text = "the class names are only numbers: the source does not say what they are";
                warnings.push(text.into());
            }
            Labels::new(names).map_err(bad_labels)?
        }
        (None, None) => find_labels(files, None)?,
    };
    let named = labels.len();
    if named > classes {
        let reason = format!("it names ids up to {}, the head has {classes} classes", named - 1);
        return Err(Error::BadLabels { reason });
    }
    if named < classes {
        warnings.push(format!("the labels name {named} classes, the head has {classes}"));
    }
    Ok(labels)
}

/// `{0: "person"}` or `["person"]`.
fn names(node: Node<'_>) -> Result<Option<BTreeMap<u32, String>>, Error> {
    let unusable = || Error::BadLabels { reason: "`names` of the network is no list of names".into() };
    let name = |node: Node<'_>| {
        node.as_text().map(str::to_owned).or_else(|| node.as_int().map(|name| name.to_string()))
    };
    let mut names = BTreeMap::new();
    for (id, node) in (0..).zip(node.items()) {
        names.insert(id, name(node).ok_or_else(unusable)?);
    }
    for (id, node) in node.entries() {
        let id = id.as_int().and_then(|id| u32::try_from(id).ok()).ok_or_else(unusable)?;
        names.insert(id, name(node).ok_or_else(unusable)?);
    }
    Ok(Some(names).filter(|names| !names.is_empty()))
}

/// How an image becomes the input: letterboxed, for RT-DETR stretched, as the library predicts.
pub(super) fn input(
    document: Node<'_>,
    network: Node<'_>,
    root: &Layer<'_>,
    head: &Head<'_>,
    options: &ExportOptions,
) -> Result<ImageInput, Error> {
    let channels = network.get("yaml").and_then(|yaml| yaml.get("channels").or_else(|| yaml.get("ch")));
    if let Some(channels) = channels.and_then(Node::as_int).filter(|channels| *channels != 3) {
        return Err(Error::unsupported(root.file, "yaml.channels", channels, "3"));
    }
    let stride = stride(root);
    let (height, width) = match options.size {
        Some((height, width)) => {
            if !height.is_multiple_of(stride) || !width.is_multiple_of(stride) {
                let reason =
                    format!("has to be a multiple of {stride} both ways, the stride of this network");
                return Err(Error::Refused { option: "--size", reason });
            }
            (height, width)
        }
        None => trained_size(document, network, stride),
    };
    checked_size(height, width)?;
    let resize = match head {
        Head::Detect(_) => Resize::Letterbox { fill: FILL, centred: true, upscale: true },
        Head::RtDetr(_) => Resize::Stretch,
    };
    Ok(ImageInput {
        tensor: INPUT.into(),
        width,
        height,
        channels: ChannelOrder::Rgb,
        resize: options.resize.unwrap_or(resize),
        filter: Filter::Bilinear,
        antialias: false,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::F32,
        mask: None,
        image_size: None,
        frames: None,
    })
}

/// The coarsest stride of the network; 32 where the file does not say a usable one.
fn stride(root: &Layer<'_>) -> u32 {
    let strides = root.elements("stride").unwrap_or_default().into_iter().fold(0.0, f32::max);
    if strides.fract() == 0.0 && (1.0..=1024.0).contains(&strides) { strides as u32 } else { 32 }
}

/// Height and width that the network was trained with, rounded up to its stride as the library does.
fn trained_size(document: Node<'_>, network: Node<'_>, stride: u32) -> (u32, u32) {
    let arguments = [document.get("train_args"), network.get("args")];
    let size = arguments.into_iter().flatten().find_map(|arguments| arguments.get("imgsz"));
    let sides = match size {
        Some(size) if size.items().len() == 2 => size.items().filter_map(Node::as_int).collect(),
        Some(size) => vec![size.as_int().unwrap_or(SIDE)],
        None => Vec::new(),
    };
    let rounded = |side: i64| {
        let side = u32::try_from(side).ok().filter(|side| *side > 0).unwrap_or(SIDE as u32);
        side.checked_next_multiple_of(stride).unwrap_or(side)
    };
    match sides[..] {
        [both] => (rounded(both), rounded(both)),
        [height, width] => (rounded(height), rounded(width)),
        _ => (rounded(SIDE), rounded(SIDE)),
    }
}

/// What to call the detector: the name of the description that the network was made from.
pub(super) fn architecture(network: Node<'_>, head: &Head<'_>) -> String {
    let file = network.get("yaml").and_then(|yaml| yaml.get("yaml_file")).and_then(Node::as_text);
    let stem = file.and_then(|file| file.rsplit(['/', '\\']).next()?.split('.').next());
    let is_name = |name: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
    };
    let general = match head {
        Head::Detect(_) => "yolo",
        Head::RtDetr(_) => "rtdetr",
    };
    stem.filter(is_name).unwrap_or(general).to_lowercase()
}

/// The metadata of the library's own exports, so that programs that read those read this one too.
pub(super) fn metadata(
    document: Node<'_>,
    root: &Layer<'_>,
    detector: &Detector,
) -> BTreeMap<String, String> {
    let end_to_end =
        matches!(detector.head, detect::Head::EndToEnd { format: detect::BoxFormat::XyxyPixels, .. });
    let head = root.child("model").ok().and_then(|layers| layers.child(layers.names().last()?).ok());
    let mut names = String::from("{");
    for (at, (id, name)) in detector.labels.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(names, "{comma}{id}: {}", literal(name));
    }
    names.push('}');
    let mut metadata = BTreeMap::from([
        ("stride".to_owned(), stride(root).to_string()),
        ("task".to_owned(), "detect".to_owned()),
        ("head".to_owned(), head.map_or("Detect", |head| head.kind()).to_owned()),
        ("batch".to_owned(), "1".to_owned()),
        ("imgsz".to_owned(), format!("[{}, {}]", detector.input.height, detector.input.width)),
        ("names".to_owned(), names),
        ("channels".to_owned(), "3".to_owned()),
        ("end2end".to_owned(), if end_to_end { "True" } else { "False" }.to_owned()),
    ]);
    // The licence of the weights travels with them.
    for key in ["license", "docs"] {
        if let Some(text) = document.get(key).and_then(Node::as_text) {
            let printable = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
            metadata.insert(key.to_owned(), printable);
        }
    }
    metadata
}

/// A text as Python writes it.
fn literal(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c == quote => {
                literal.push('\\');
                literal.push(c);
            }
            c if c.is_control() => {
                let _ = write!(literal, "\\x{:02x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push(quote);
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_python_writes_them() {
        let cases = [
            ("person", "'person'"),
            ("it's", "\"it's\""),
            ("both ' and \"", "'both \\' and \"'"),
            ("a\\b\n\u{7}é", "'a\\\\b\\n\\x07é'"),
        ];
        for (text, expected) in cases {
            assert_eq!(literal(text), expected);
        }
    }
}
