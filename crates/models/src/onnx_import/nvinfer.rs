//! `nvinfer_config.txt` of NGC's archives: how TAO models want their image.
//!
//! It is `key=value` text without a section, or the newer YAML with `key: value`. nvinfer computes
//! `net-scale-factor × (x − offset)`, with the offsets in the order of the network's channels.

use detect::{ChannelOrder, Resize};

use crate::{Error, Files};

/// Files that may hold these keys.
const NAMES: &[&str] = &["nvinfer_config.txt", "nvdsinfer_config.yaml", "nvinfer_config.yaml"];

/// What the file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NvInfer {
    pub(super) file: &'static str,
    pub(super) scale: f32,
    pub(super) offsets: [f32; 3],
    pub(super) channels: ChannelOrder,
    /// Height and width.
    pub(super) size: Option<(u32, u32)>,
    pub(super) resize: Resize,
}

impl NvInfer {
    /// Reads the file of a source, `None` when it has none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a value that cannot be honoured.
    pub(super) fn find(files: &dyn Files) -> Result<Option<Self>, Error> {
        for file in NAMES {
            if let Some(bytes) = files.read_if_present(file)? {
                let text = std::str::from_utf8(&bytes).map_err(|cause| Error::damaged(file, cause))?;
                return Self::parse(file, text).map(Some);
            }
        }
        Ok(None)
    }

    fn parse(file: &'static str, text: &str) -> Result<Self, Error> {
        let mut read = Self {
            file,
            scale: 1.0,
            offsets: [0.0; 3],
            channels: ChannelOrder::Rgb,
            size: None,
            resize: Resize::Stretch,
        };
        let (mut keeps_ratio, mut centred) = (false, false);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once('=').or_else(|| line.split_once(':')) else { continue };
            let value = value.trim().trim_matches('"');
            let refuse =
                |expected: &str| Error::unsupported(file, key.trim(), format!("`{value}`"), expected);
            match key.trim() {
                "net-scale-factor" => {
                    let scale = value.parse().ok().filter(|scale: &f32| scale.is_finite() && *scale > 0.0);
                    read.scale = scale.ok_or_else(|| refuse("a positive number"))?;
                }
                "offsets" => {
                    let numbers = numbers(value).and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
                    read.offsets = numbers.ok_or_else(|| refuse("three numbers"))?;
                }
                "model-color-format" => {
                    read.channels = match value {
                        "0" => ChannelOrder::Rgb,
                        "1" => ChannelOrder::Bgr,
                        _ => return Err(refuse("0 (RGB) or 1 (BGR)")),
                    };
                }
                "infer-dims" => {
                    let sides = numbers(value).filter(|sides| sides.len() == 3);
                    let side = |side: f32| {
                        (side.fract() == 0.0 && (1.0..=16_384.0).contains(&side)).then_some(side as u32)
                    };
                    let size = sides.and_then(|sides| side(sides[1]).zip(side(sides[2])));
                    read.size = Some(size.ok_or_else(|| refuse("channels;height;width"))?);
                }
                "maintain-aspect-ratio" => keeps_ratio = value == "1",
                "symmetric-padding" => centred = value == "1",
                "mean-file" => return Err(refuse("`offsets` instead of a mean image")),
                _ => {}
            }
        }
        if keeps_ratio {
            read.resize = Resize::Letterbox { fill: 0, centred, upscale: true };
        }
        Ok(read)
    }
}

/// `1;2;3`, or with commas.
fn numbers(text: &str) -> Option<Vec<f32>> {
    let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().ok().filter(|number: &f32| number.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let text = "net-scale-factor=0.01735207\noffsets=123.675;116.28;103.53\ninfer-dims=3;544;960\n\
                    tlt-model-key=tlt_encode\nmodel-color-format=1\nmaintain-aspect-ratio=1 # keep\n";
        let read = NvInfer::parse(NAMES[0], text).unwrap();
        assert_eq!((read.scale, read.offsets), (0.017_352_07, [123.675, 116.28, 103.53]));
        assert_eq!((read.size, read.channels), (Some((544, 960)), ChannelOrder::Bgr));
        assert_eq!(read.resize, Resize::Letterbox { fill: 0, centred: false, upscale: true });
        let yaml =
            "property:\n  net-scale-factor: 0.00392156862745098\n  offsets: 0;0;0\n  infer-dims: 3;640;640\n";
        let read = NvInfer::parse(NAMES[1], yaml).unwrap();
        assert_eq!((read.size, read.resize), (Some((640, 640)), Resize::Stretch));
    }

    #[test]
    fn values_that_cannot_be_honoured_are_refused() {
        for text in [
            "net-scale-factor=0",
            "offsets=1;2",
            "model-color-format=2",
            "infer-dims=3;0;9",
            "mean-file=a.ppm",
        ] {
            assert!(matches!(NvInfer::parse(NAMES[0], text), Err(Error::Unsupported { .. })), "{text}");
        }
    }
}
