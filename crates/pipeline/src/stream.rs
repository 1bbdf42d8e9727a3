//! Images in, detections out: the next images are decoded and prepared by all cores while a graph runs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use detect::{Detections, Detector, Image, Preprocessed, Thresholds, preprocess};
use rayon::prelude::*;

use crate::Error;
use crate::network::Network;

/// Batches that are prepared at once: while the last image of one is decoded, other cores begin with the next.
const PREPARING: usize = 2;

/// What is looked at, and how.
pub(crate) struct Stream<'a> {
    pub(crate) detector: &'a Detector,
    /// Images in one run.
    pub(crate) batch: usize,
    /// Images in all.
    pub(crate) count: usize,
    /// Decodes an image by its number.
    pub(crate) image: &'a (dyn Fn(usize) -> Result<Image, Error> + Sync),
    pub(crate) thresholds: Thresholds,
}

/// A batch on its way, and the number of its first image.
struct Batch {
    first: usize,
    images: Vec<Image>,
    prepared: Preprocessed,
}

impl Stream<'_> {
    /// Runs the same graph, loaded once or several times, over the images. `take` is given the images and what was found in
    /// them in their order, and says when it has seen enough. A bounded number of batches is in memory.
    ///
    /// # Errors
    /// The first one of an image, of a run or of `take`; what is on its way is dropped.
    pub(crate) fn run(
        &self,
        networks: &mut [Network<'_>],
        take: &mut dyn FnMut(Image, Detections) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let (to_run, prepared) = sync_channel(networks.len());
        let prepared = Arc::new(Mutex::new(prepared));
        let (to_take, found) = sync_channel(networks.len());
        std::thread::scope(|scope| {
            for _ in 0..PREPARING {
                let (to_run, next) = (to_run.clone(), &next);
                scope.spawn(move || {
                    while let Some(batch) = self.prepare(next.fetch_add(self.batch, Ordering::Relaxed)) {
                        if to_run.send(batch).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(to_run);
            for network in networks {
                let (prepared, to_take) = (Arc::clone(&prepared), to_take.clone());
                scope.spawn(move || {
                    while let Some(batch) = received(&prepared) {
                        if to_take.send(batch.and_then(|batch| self.look(network, batch))).is_err() {
                            break;
                        }
                    }
                });
            }
            // The threads' own handles are the last ones: when one side stops, the other notices.
            drop((prepared, to_take));
            in_order(found, take)
        })
    }

    /// The batch that begins with this image; `None` behind the last one.
    fn prepare(&self, first: usize) -> Option<Result<Batch, Error>> {
        let numbers = first..self.count.min(first + self.batch);
        if numbers.is_empty() {
            return None;
        }
        let images: Result<Vec<Image>, Error> =
            numbers.into_par_iter().with_max_len(1).map(self.image).collect();
        Some(images.and_then(|images| {
            let prepared = preprocess(&self.detector.input, &images)?;
            Ok(Batch { first, images, prepared })
        }))
    }

    fn look(
        &self,
        network: &mut Network<'_>,
        batch: Batch,
    ) -> Result<(usize, Vec<Image>, Vec<Detections>), Error> {
        let outputs = network.run(&batch.prepared.inputs)?;
        let found = network.decode(&outputs, &batch.prepared.geometries, &self.thresholds)?;
        Ok((batch.first, batch.images, found))
    }
}

/// The next one; `None` when no more will come.
fn received<T>(channel: &Mutex<Receiver<T>>) -> Option<T> {
    channel.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

type Found = Result<(usize, Vec<Image>, Vec<Detections>), Error>;

/// Hands on what comes in any order, in the order of the images.
fn in_order(
    found: Receiver<Found>,
    take: &mut dyn FnMut(Image, Detections) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let (mut waiting, mut due) = (BTreeMap::new(), 0);
    for batch in found {
        let (first, images, detections) = batch?;
        waiting.insert(first, (images, detections));
        while let Some((images, detections)) = waiting.remove(&due) {
            due += images.len();
            for (image, detections) in images.into_iter().zip(detections) {
                if take(image, detections)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ImageSet;
    use crate::steps::verify::carried;

    fn model() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes-dense/model.onnx")
    }

    /// Seven images of two scenes, every third one the second.
    fn image(at: usize) -> Result<Image, Error> {
        ImageSet::built_in().images[usize::from(at % 3 == 2)].decode()
    }

    #[test]
    fn any_batch_and_number_of_sessions_finds_the_same_in_order() {
        let detector = carried(&model()).unwrap();
        let load = || Network::load(&model(), &detector, "embedded", Some(1)).unwrap();
        let thresholds = Thresholds::for_head(&detector.head);
        let mut one = load();
        let mut alone = |at| one.detect(&[image(at).unwrap()], &thresholds).unwrap().remove(0);
        let expected: Vec<Detections> = (0..7).map(&mut alone).collect();
        assert_ne!(expected[1], expected[2]);
        for (batch, sessions) in [(1, 1), (3, 2), (16, 1)] {
            let stream = Stream { detector: &detector, batch, count: 7, image: &image, thresholds };
            let mut networks: Vec<_> = (0..sessions).map(|_| load()).collect();
            let mut found = Vec::new();
            let mut take = |_, detections: Detections| {
                found.push(detections);
                Ok(ControlFlow::Continue(()))
            };
            stream.run(&mut networks, &mut take).unwrap();
            let scores = |all: &[Detections]| {
                all.iter()
                    .map(|one| one.iter().map(|d| (d.label, (d.score * 1e3).round())).collect())
                    .collect()
            };
            let (found, expected): (Vec<Vec<_>>, Vec<Vec<_>>) = (scores(&found), scores(&expected));
            assert_eq!(found, expected, "batch {batch}, {sessions} sessions");
        }
    }

    #[test]
    fn an_image_that_fails_ends_it_and_so_does_having_seen_enough() {
        let detector = carried(&model()).unwrap();
        let mut networks = [Network::load(&model(), &detector, "embedded", Some(1)).unwrap()];
        let thresholds = Thresholds::for_head(&detector.head);
        let broken = |at: usize| if at == 2 { Err(Error::Options("image 2".into())) } else { image(at) };
        let stream = Stream { detector: &detector, batch: 1, count: 1000, image: &broken, thresholds };
        let error = stream.run(&mut networks, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap_err();
        assert!(error.to_string().contains("image 2"), "{error}");
        let mut seen = 0;
        let endless = Stream { count: usize::MAX, image: &image, ..stream };
        let mut take = |_, _| {
            seen += 1;
            Ok(if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        endless.run(&mut networks, &mut take).unwrap();
        assert_eq!(seen, 4);
    }
}
