//! The network's boxes in pixels of the frame, output by output.

use graph::{Builder, DataType, Model, Shapes, Value};

use super::{Output, PREPROCESSING, PRODUCER, builder, corners, from, output, refused};
use crate::{BoxFormat, DenseLayout, Error, Head};

/// The names of the inputs that say how boxes get to the frame.
pub(super) const BEFORE: &str = "frame_offset";
pub(super) const FACTOR: &str = "frame_factor";
pub(super) const AFTER: &str = "frame_shift";

/// The vectors that the way back is made of, where it has them.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub(super) before: bool,
    pub(super) after: bool,
}

impl Vectors {
    /// Their names.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let optional = [(BEFORE, self.before), (FACTOR, true), (AFTER, self.after)];
        optional.into_iter().filter(|(_, there)| *there).map(|(name, _)| name)
    }
}

/// A graph that moves the head's boxes by vectors, under their own names: as corners, or as the numbers that they are. Gives
/// it with the pairs that it is fed with.
pub(super) fn moved(
    model: &Model,
    head: &Head,
    vectors: Vectors,
    as_corners: bool,
) -> Result<(Model, Vec<(String, String)>), Error> {
    let mut b = builder(model, "boxes", PREPROCESSING)?;
    let mut pairs: Vec<(String, String)> =
        vectors.names().map(|name| (name.to_owned(), name.to_owned())).collect();
    let mut vector =
        |name: &str, there: bool| there.then(|| b.input(name, DataType::F32, vec![4_usize.into()]));
    let before = vector(BEFORE, vectors.before);
    let factor = vector(FACTOR, true);
    let after = vector(AFTER, vectors.after);
    let place = |b: &mut Builder, boxes: &Value, format: BoxFormat| {
        let mut boxes = if as_corners { corners(b, boxes, format) } else { boxes.clone() };
        if let Some(before) = &before {
            boxes = b.sub(&boxes, before);
        }
        if let Some(factor) = &factor {
            boxes = b.mul(&boxes, factor);
        }
        match &after {
            Some(after) => b.sub(&boxes, after),
            None => boxes,
        }
    };
    let shapes = Shapes::infer(model, 1);
    let (name, columns_axis) = match head {
        Head::Queries { boxes, .. } | Head::EndToEndParts { boxes, .. } => (boxes, 2),
        Head::Dense { output, layout: DenseLayout::ChannelsFirst, .. } => (output, 1),
        Head::Dense { output, .. } | Head::EndToEnd { output, .. } => (output, 2),
    };
    let Output { dtype, mut shape } = output(model, &shapes, name, 3, PREPROCESSING)?;
    let width = match head {
        Head::Queries { .. } => Some(4),
        Head::EndToEnd { .. } => Some(6),
        Head::EndToEndParts { scores, .. } => Some(4 + usize::from(scores.is_none())),
        // As many classes as there are.
        Head::Dense { .. } => None,
    };
    match (width, shape[columns_axis].fixed()) {
        (Some(width), Some(found)) if width != found => {
            let reason = format!("output `{name}` has {found} numbers a row, the head gives it {width}");
            return Err(refused(PREPROCESSING, reason));
        }
        (None, Some(found)) if found <= 4 => {
            return Err(refused(PREPROCESSING, format!("output `{name}` has {found} numbers a row")));
        }
        (Some(width), _) => shape[columns_axis] = width.into(),
        (None, _) => {}
    }
    let inner = format!("{name}_of_network");
    let raw = b.input(&inner, dtype, shape);
    pairs.push((name.clone(), inner));
    let placed = b.scoped("boxes", |b| {
        let mut rows = b.cast(&raw, DataType::F32);
        if columns_axis == 1 {
            rows = b.transpose(&rows, &[0, 2, 1]);
        }
        let mut placed;
        if width == Some(4) {
            placed = place(b, &rows, head.format());
        } else {
            let boxes = first_four(b, &rows);
            placed = place(b, &boxes, head.format());
            let rest = from(b, &rows, 2, 4);
            let axis = [("axis", 2_i64.into())];
            placed = b.operator("Concat", &[&placed, &rest], axis, DataType::F32, rows.shape().to_vec());
        }
        if columns_axis == 1 { b.transpose(&placed, &[0, 2, 1]) } else { placed }
    });
    b.output(name, &placed);
    Ok((b.finish(PRODUCER, "")?, pairs))
}

/// The box of each row.
pub(super) fn first_four(b: &mut Builder, rows: &Value) -> Value {
    let mut shape = rows.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = 4.into();
    }
    let [starts, ends, axes] = [0, 4, 2].map(|number| b.ints(&[number]));
    b.operator("Slice", &[rows, &starts, &ends, &axes], [], rows.dtype(), shape)
}

/// The same head with boxes of another format.
pub(super) fn with_format(head: &Head, other: BoxFormat) -> Head {
    let mut head = head.clone();
    match &mut head {
        Head::Queries { format, .. }
        | Head::Dense { format, .. }
        | Head::EndToEnd { format, .. }
        | Head::EndToEndParts { format, .. } => *format = other,
    }
    head
}
