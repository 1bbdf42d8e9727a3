//! Whether what came out of a video is plausible: almost every frame shows something, and known frames what they hold.

use serde::Serialize;

use super::kitti::Frame;
use super::known::{Fixture, KnownFrames};

/// Share of frames with a detection that is asked for.
const RATE: f64 = 0.9;

/// The outcome for a video.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gate {
    /// Frames that were looked at.
    pub frames: u64,
    /// Those with at least one detection.
    pub frames_with_detections: u64,
    /// Share of frames with a detection that is asked for, 0 to 1.
    pub bound: f64,
    /// Frames whose objects are known, where there are annotations.
    pub known: Option<KnownFrames>,
    /// Whether the video passes.
    pub passed: bool,
}

impl Gate {
    pub(super) fn of(frames: &[Frame], fixture: Option<&Fixture>) -> Self {
        let with = frames.iter().filter(|frame| !frame.objects.is_empty()).count() as u64;
        let known = fixture.map(|fixture| fixture.compare(frames));
        let count = frames.len() as u64;
        let enough = count > 0 && with as f64 >= RATE * count as f64;
        let passed = enough && known.is_none_or(|known| known.passed());
        Self { frames: count, frames_with_detections: with, bound: RATE, known, passed }
    }

    /// Share of frames with a detection, 0 to 1.
    pub fn rate(&self) -> f64 {
        self.frames_with_detections as f64 / self.frames.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::kitti::Object;

    #[test]
    fn nine_of_ten_frames_have_to_show_something() {
        let object = Object { label: "car".into(), bbox: [0.0; 4], score: 0.5 };
        let frames = |with: u64, count: u64| -> Vec<Frame> {
            let objects = |number| if number < with { vec![object.clone()] } else { vec![] };
            (0..count).map(|number| Frame { number, objects: objects(number) }).collect()
        };
        for (with, count, passed) in
            [(9, 10, true), (89, 100, false), (90, 100, true), (0, 0, false), (0, 5, false)]
        {
            assert_eq!(Gate::of(&frames(with, count), None).passed, passed, "{with} of {count}");
        }
    }
}
