//! `detect`: boxes on images that the user names.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use detect::{Detections, Image, Thresholds, draw, encode_jpeg};
use serde::Serialize;

use crate::images::{ImageFile, file_stems};
use crate::network::Network;
use crate::package::write_whole;
use crate::steps::deliver::JPEG_QUALITY;
use crate::stream::Stream;
use crate::{Error, Subject};

/// What was found in one image.
#[derive(Debug, Clone, Serialize)]
pub struct FoundImage {
    /// The image's name.
    pub image: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The objects, best score first.
    pub detections: Vec<Found>,
}

/// One object.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// The class's id.
    pub id: u32,
    /// The class's name.
    pub label: String,
    /// Confidence, 0–1.
    pub score: f32,
    /// Left, top, right and bottom in pixels of the image.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
}

/// How to look.
#[derive(Debug, Clone)]
pub struct Looking {
    /// The backend.
    pub backend: String,
    /// Lowest score; `None` for the head's default.
    pub confidence: Option<f32>,
    /// Threshold of suppression (intersection over union); `None` for the head's default.
    pub iou: Option<f32>,
    /// Most detections an image; `None` for the head's default.
    pub most: Option<usize>,
    /// Folder for the images with boxes drawn on them; `None` draws nothing.
    pub draw: Option<PathBuf>,
}

/// Runs the model over images one by one. `drawn` is told of every image that was drawn.
pub fn detect(
    subject: &Subject,
    images: &[ImageFile],
    looking: &Looking,
    drawn: &mut dyn FnMut(&Path),
) -> Result<Vec<FoundImage>, Error> {
    let mut network = Network::load(&subject.onnx, &subject.detector, &looking.backend, None)?;
    let default = Thresholds::for_head(&subject.detector.head);
    let thresholds = Thresholds {
        confidence: looking.confidence.unwrap_or(default.confidence),
        iou: looking.iou.unwrap_or(default.iou),
        max_detections: looking.most.unwrap_or(default.max_detections),
        ..default
    };
    let mut all = Vec::with_capacity(images.len());
    let stems = file_stems(images.iter().map(|file| file.name.as_str()));
    let stream = Stream {
        detector: &subject.detector,
        batch: 1,
        count: images.len(),
        image: &|at| images[at].decode(),
        thresholds,
    };
    stream.run(std::slice::from_mut(&mut network), &mut |image, detections| {
        let (file, stem) = (&images[all.len()], &stems[all.len()]);
        all.push(named(subject, file, &image, &detections));
        if let Some(folder) = &looking.draw {
            drawn(&save(folder, stem, &draw(&image, &detections, &subject.detector.labels))?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

/// Writes a drawn image as JPEG.
fn save(folder: &Path, stem: &str, image: &Image) -> Result<PathBuf, Error> {
    crate::store::create_dir(folder)?;
    let path = folder.join(format!("{stem}.jpg"));
    let bytes = encode_jpeg(image, JPEG_QUALITY)?;
    write_whole(folder, &path, |file, _| {
        std::io::Write::write_all(file, &bytes).map_err(|source| Error::Io { path: path.clone(), source })
    })?;
    Ok(path)
}

fn named(subject: &Subject, file: &ImageFile, image: &Image, detections: &Detections) -> FoundImage {
    let found = detections.iter().map(|detection| Found {
        id: detection.label,
        label: subject.detector.labels.display(detection.label),
        score: detection.score,
        bbox: [detection.bbox.x1, detection.bbox.y1, detection.bbox.x2, detection.bbox.y2],
    });
    FoundImage {
        image: file.name.clone(),
        width: image.width(),
        height: image.height(),
        detections: found.collect(),
    }
}
