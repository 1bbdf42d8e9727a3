//! The detectors of `examples`, on their images.
