//! Detections as KITTI files, in the form that `deepstream-app` dumps them in: one file a frame, empty where nothing was
//! found, one line an object. Only label, box and confidence are used; the other fields are zeros.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Error;

/// Fields of a line after the label.
const FIELDS: usize = 15;

/// An object of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) label: String,
    /// Left, top, right and bottom in pixels of the frame.
    pub(super) bbox: [f64; 4],
    pub(super) score: f64,
}

/// The objects of one frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    /// From 0.
    pub(super) number: u64,
    pub(super) objects: Vec<Object>,
}

/// `00_000_000012.txt`: application, stream and frame.
pub(super) fn file_name(frame: u64) -> String {
    format!("00_000_{frame:06}.txt")
}

/// The text of a frame's file.
pub(super) fn to_text(objects: &[Object]) -> String {
    let mut text = String::new();
    for Object { label, bbox: [left, top, right, bottom], score } in objects {
        let _ = writeln!(
            text,
            "{label} 0.0 0 0.0 {left:.6} {top:.6} {right:.6} {bottom:.6} 0.0 0.0 0.0 0.0 0.0 0.0 0.0 {score:.6}"
        );
    }
    text
}

/// The objects of a frame's file. Labels may hold spaces, so fields are counted from the end; a line that is none is left
/// out.
pub(super) fn from_text(text: &str) -> Vec<Object> {
    text.lines().filter_map(object).collect()
}

fn object(line: &str) -> Option<Object> {
    let mut words = line.rsplitn(FIELDS + 1, ' ');
    let mut fields = [""; FIELDS];
    for field in fields.iter_mut().rev() {
        *field = words.next()?;
    }
    let label = words.next().filter(|label| !label.trim().is_empty())?;
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok().filter(|number| number.is_finite());
    let bbox = [number(3)?, number(4)?, number(5)?, number(6)?];
    Some(Object { label: label.trim().to_owned(), bbox, score: number(14)? })
}

/// The frames of a folder of KITTI files, in order. Only the first stream counts; other files are left out.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn read(folder: &Path) -> Result<Vec<Frame>, Error> {
    let at = |path: &Path, source| Error::Io { path: path.to_owned(), source };
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let entry = entry.map_err(|error| at(folder, error))?;
        let Some(number) = entry.file_name().to_str().and_then(frame_number) else { continue };
        let text = fs::read_to_string(entry.path()).map_err(|error| at(&entry.path(), error))?;
        frames.push(Frame { number, objects: from_text(&text) });
    }
    frames.sort_by_key(|frame| frame.number);
    Ok(frames)
}

/// The frame of a file's name, where it is of the first stream.
fn frame_number(name: &str) -> Option<u64> {
    let mut parts = name.strip_suffix(".txt")?.split('_');
    let (application, stream, frame) = (parts.next()?, parts.next()?, parts.next()?);
    let is_first = parts.next().is_none()
        && application.parse::<u64>().is_ok_and(|number| number == 0)
        && stream.parse::<u64>().is_ok_and(|number| number == 0);
    frame.parse().ok().filter(|_| is_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let objects = [
            Object { label: "traffic light".into(), bbox: [1.5, 2.0, 30.25, 40.0], score: 0.875 },
            Object { label: "car".into(), bbox: [0.0, 0.0, 1.0, 1.0], score: 0.5 },
        ];
        let text = to_text(&objects);
        assert!(text.starts_with(
            "traffic light 0.0 0 0.0 1.500000 2.000000 30.250000 40.000000 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.875000\n"
        ));
        assert_eq!(text.lines().nth(1).unwrap().split(' ').count(), 16);
        assert_eq!(from_text(&text), objects);
        assert_eq!(from_text(""), []);
        // A line that a killed program did not finish.
        assert_eq!(from_text(&text[..text.len() - 30]).len(), 1);
    }

    #[test]
    fn files_of_other_streams_are_no_frames() {
        let cases = [
            ("00_000_000012.txt", Some(12)),
            ("00_000_1000000.txt", Some(1_000_000)),
            ("00_001_000012.txt", None),
            ("01_000_000012.txt", None),
            ("00_000_000012.json", None),
            ("notes.txt", None),
        ];
        for (name, frame) in cases {
            assert_eq!(frame_number(name), frame, "{name}");
        }
        assert_eq!(frame_number(&file_name(7)), Some(7));
    }
}
