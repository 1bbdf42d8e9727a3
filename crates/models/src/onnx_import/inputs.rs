//! What a foreign graph is fed: one image, and for some families its mask or its original size.

use detect::ElementType;
use graph::{DataType, Dim, Model, ValueInfo};

use crate::Error;

/// Where the graph's own facts come from, for error messages.
pub(super) const GRAPH: &str = "the graph";

/// The inputs by their roles.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    pub(super) image: String,
    pub(super) dtype: ElementType,
    /// Height and width, where the graph fixes them.
    pub(super) height: Option<u32>,
    pub(super) width: Option<u32>,
    /// Name of the mask with its height and width, where the graph fixes them.
    pub(super) mask: Option<(String, Option<u32>, Option<u32>)>,
    pub(super) image_size: Option<String>,
}

impl Inputs {
    /// Tells the inputs apart by rank, type and name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is no image `[batch, 3, height, width]`, or an input that we cannot feed.
    pub(super) fn of(model: &Model) -> Result<Self, Error> {
        let inputs = &model.graph.inputs;
        let is_text = |info: &&ValueInfo| {
            ["input_ids", "attention_mask", "token_type_ids"].contains(&info.name.as_str())
        };
        if let Some(text) = inputs.iter().find(is_text) {
            return Err(Error::UnsupportedHead {
                family: "text-conditioned detectors",
                reason: format!("the graph asks for text (`{}`)", text.name),
            });
        }
        let of_rank = |rank: usize| {
            inputs.iter().filter(move |info| info.shape.as_ref().is_some_and(|shape| shape.len() == rank))
        };
        let images: Vec<&ValueInfo> = of_rank(4).collect();
        let [image] = images[..] else {
            let found = inputs.iter().map(describe).collect::<Vec<_>>().join(", ");
            return Err(Error::unsupported(GRAPH, "inputs", found, "one image [batch, 3, height, width]"));
        };
        let shape = image.shape.as_deref().unwrap_or_default();
        let refuse =
            |expected: &str| Err(Error::unsupported(GRAPH, "image input", describe(image), expected));
        if !matches!(shape[1], Dim::Fixed(3) | Dim::Symbol(_) | Dim::Unknown) || shape[3] == Dim::Fixed(3) {
            return refuse("channels first: [batch, 3, height, width]");
        }
        let dtype = match image.dtype {
            Some(DataType::F32) => ElementType::F32,
            Some(DataType::F16) => ElementType::F16,
            Some(DataType::U8) => ElementType::U8,
            _ => return refuse("float32, float16 or uint8"),
        };
        let mut found = Self {
            image: image.name.clone(),
            dtype,
            height: side(&shape[2])?,
            width: side(&shape[3])?,
            mask: None,
            image_size: None,
        };
        for other in inputs.iter().filter(|info| info.name != image.name) {
            let shape = other.shape.as_deref().unwrap_or_default();
            let is_size = other.name.contains("size") || shape.get(1) == Some(&Dim::Fixed(2));
            match (other.dtype, shape.len()) {
                (Some(DataType::I64), 3) if found.mask.is_none() => {
                    found.mask = Some((other.name.clone(), side(&shape[1])?, side(&shape[2])?));
                }
                (Some(DataType::I64), 2) if is_size && found.image_size.is_none() => {
                    found.image_size = Some(other.name.clone());
                }
                _ => {
                    let expected = "`pixel_mask` (int64 [batch, height, width]) or `orig_target_sizes` (int64 [batch, 2])";
                    return Err(Error::unsupported(GRAPH, "another input", describe(other), expected));
                }
            }
        }
        Ok(found)
    }
}

/// A value as people write it: `` `images` float32 [batch, 3, 640, 640] ``.
pub(super) fn describe(info: &ValueInfo) -> String {
    let dtype = info.dtype.map_or("?", DataType::name);
    let shape = info.shape.as_ref().map_or_else(
        || "of unknown rank".into(),
        |shape| format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    );
    format!("`{}` {dtype} {shape}", info.name)
}

fn side(dim: &Dim) -> Result<Option<u32>, Error> {
    match dim.fixed() {
        None => Ok(None),
        Some(side) => match u32::try_from(side).ok().filter(|side| (1..=16_384).contains(side)) {
            Some(side) => Ok(Some(side)),
            None => Err(Error::unsupported(GRAPH, "image side", side, "1 to 16384 pixels")),
        },
    }
}
