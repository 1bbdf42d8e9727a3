//! Compares a graph that was put behind a scaler with the whole one, on frames of the size that it was made for.

use std::path::Path;

use deploy::{Bound, Check};
use detect::metrics::{Agreement, AgreementBounds};
use detect::{
    ChannelOrder, Detections, Detector, ElementType, Filter, Image, ImageInput, Resize, Thresholds,
    preprocess,
};

use super::verify::nudged;
use crate::Error;
use crate::images::ImageSet;
use crate::network::Network;

/// So many images are compared: what differs is arithmetic, the same in every image.
const IMAGES: usize = 3;

/// The two graphs.
pub(super) struct BehindScaler<'a> {
    /// The made one, its path in the package.
    pub(super) path: &'a str,
    /// Where it lies.
    pub(super) made: &'a Path,
    /// Its description.
    pub(super) described: &'a Detector,
    /// The one it was made of.
    pub(super) plain: &'a Path,
    pub(super) detector: &'a Detector,
    /// Width and height of the frames.
    pub(super) frame: (u32, u32),
    pub(super) backend: &'a str,
}

impl BehindScaler<'_> {
    /// How many detections differ. No more may than three times what a millionth in the input changes by itself.
    pub(super) fn check(&self, images: &ImageSet) -> Result<Check, Error> {
        let bounds = AgreementBounds::default();
        let (mut found, mut by_itself) = (Agreement::EMPTY, Agreement::EMPTY);
        let mut plain = Network::load(self.plain, self.detector, self.backend, None)?;
        let mut made = Network::load(self.made, self.described, self.backend, None)?;
        for file in images.images.iter().take(IMAGES) {
            let frame = resized(&file.decode()?, self.frame)?;
            let expected = detections(&mut plain, self.detector, &frame, &bounds, false)?;
            let rounded = detections(&mut plain, self.detector, &frame, &bounds, true)?;
            by_itself.merge(&Agreement::new(&expected, &rounded, &bounds));
            let behind = detections(&mut made, self.described, &frame, &bounds, false)?;
            found.merge(&Agreement::new(&expected, &behind, &bounds));
        }
        let (width, height) = self.frame;
        let name = format!("detections in frames of {width}x{height} that differ from the package's graph");
        let most = 3 * differing(&by_itself);
        Ok(Check::of(&name, self.path, differing(&found) as f64, Bound::AtMost(most as f64), ""))
    }
}

fn differing(agreement: &Agreement) -> usize {
    agreement.missed + agreement.extra + agreement.moved + agreement.rescored
}

/// What a graph finds in a frame, or in one with a millionth changed.
fn detections(
    network: &mut Network<'_>,
    detector: &Detector,
    frame: &Image,
    bounds: &AgreementBounds,
    is_nudged: bool,
) -> Result<Detections, Error> {
    // Below the confidence that counts: what is just above it in one run may be just below it in the other.
    let thresholds =
        Thresholds { confidence: bounds.confidence / 2.0, ..Thresholds::for_head(&detector.head) };
    let prepared = network.inputs(std::slice::from_ref(frame))?;
    let inputs = if is_nudged { nudged(&prepared.inputs)? } else { prepared.inputs };
    let outputs = network.run(&inputs)?;
    Ok(network.decode(&outputs, &prepared.geometries, &thresholds)?.pop().unwrap_or_default())
}

/// The image stretched to a frame's size.
fn resized(image: &Image, (width, height): (u32, u32)) -> Result<Image, Error> {
    let stretched = ImageInput {
        tensor: "frame".into(),
        width,
        height,
        channels: ChannelOrder::Rgb,
        resize: Resize::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        dtype: ElementType::U8,
        mask: None,
        image_size: None,
        frames: None,
    };
    let made = preprocess(&stretched, std::slice::from_ref(image))?;
    let planes = made.inputs[0].1.bytes();
    let area = width as usize * height as usize;
    let pixels = (0..3 * area).map(|at| planes[at % 3 * area + at / 3]).collect();
    Ok(Image::new(width, height, pixels)?)
}
