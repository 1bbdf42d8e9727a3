//! Which of Isaac ROS's decoders fits a head. One that nearly fits does not fit.

use detect::{Activation, BoxFormat, DenseLayout, Detector, Head, Thresholds};
use graph::{DataType, ValueInfo};

/// The rows that `YoloV8DecoderNode` reads, whatever the tensor holds.
const YOLO_ROWS: usize = 8400;

/// A decoder node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decoder {
    /// `isaac_ros_rtdetr`: boxes in pixels of the image, scores and class ids, an output each.
    RtDetr { boxes: String, scores: String, labels: String, confidence: f32 },
    /// `isaac_ros_yolov8`: 8400 rows of centre, size and class scores, channels first.
    YoloV8 { output: String, classes: usize, confidence: f32, iou: f32 },
}

/// The decoder for this detector, whose file states these outputs.
pub(super) fn of(detector: &Detector, outputs: &[ValueInfo]) -> Option<Decoder> {
    let confidence = Thresholds::for_head(&detector.head).confidence;
    let stated = |name: &str| outputs.iter().find(|output| output.name == name);
    match &detector.head {
        Head::EndToEndParts {
            count: None,
            boxes,
            scores: Some(scores),
            classes,
            format: BoxFormat::XyxyOriginal,
            ..
        } if detector.input.image_size.is_some() => {
            let is = |name: &str, dtype| stated(name).is_some_and(|output| output.dtype == Some(dtype));
            // The node refuses other types.
            let fits = is(boxes, DataType::F32) && is(scores, DataType::F32) && is(classes, DataType::I64);
            fits.then(|| Decoder::RtDetr {
                boxes: boxes.clone(),
                scores: scores.clone(),
                labels: classes.clone(),
                confidence,
            })
        }
        Head::Dense {
            output,
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(iou),
            ..
        } => {
            let shape = stated(output)?.shape.as_ref()?;
            let [_, columns, rows] = shape.as_slice() else { return None };
            let classes = columns.fixed()?.checked_sub(4)?;
            let fits = rows.fixed() == Some(YOLO_ROWS);
            fits.then(|| Decoder::YoloV8 { output: output.clone(), classes, confidence, iou: *iou })
        }
        _ => None,
    }
}

impl Decoder {
    /// What comes out, for people.
    pub(super) fn results(&self, detector: &Detector) -> String {
        let node = "Detections come out on `detections_output` (`vision_msgs/Detection2DArray`); `class_id` is the number of\n\
                    the line in `config/labels.txt`, from 0. ";
        let more = match self {
            Self::RtDetr { .. } => {
                "Boxes are in pixels of the camera's image. `RtDetrPreprocessorNode` tells the graph the image's size; its\n\
                 parameter `use_max_dim_for_orig_size` needs Isaac ROS 4.4."
                    .to_owned()
            }
            Self::YoloV8 { .. } => format!(
                "Boxes are in pixels of the encoder's picture, {}x{}. `YoloV8DecoderNode` rounds them to whole pixels and drops\n\
                 overlapping boxes of different classes too, which Sightline does not.",
                detector.input.width, detector.input.height
            ),
        };
        node.to_owned() + &more
    }
}

#[cfg(test)]
mod tests {
    use detect::{ElementType, Filter, ImageInput, Labels, Resize};
    use graph::Dim;

    use super::*;

    fn detector(head: Head) -> Detector {
        let input = ImageInput {
            tensor: "images".into(),
            width: 640,
            height: 640,
            channels: detect::ChannelOrder::Rgb,
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            antialias: false,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            dtype: ElementType::F32,
            mask: None,
            image_size: Some("orig_target_sizes".into()),
            frames: None,
        };
        Detector::new("test", Labels::from_lines("a\nb\n").unwrap(), input, head)
    }

    fn dense() -> Head {
        Head::Dense {
            output: "output0".into(),
            layout: DenseLayout::ChannelsFirst,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(0.7),
            confidence: 0.25,
        }
    }

    fn output(name: &str, dtype: DataType, sizes: &[usize]) -> ValueInfo {
        let shape = std::iter::once(Dim::batch()).chain(sizes.iter().map(|size| (*size).into()));
        ValueInfo::tensor(name, dtype, shape.collect())
    }

    #[test]
    fn only_the_shape_that_the_node_reads_is_given_to_it() {
        let decoder_of =
            |head, sizes: &[usize]| of(&detector(head), &[output("output0", DataType::F32, sizes)]);
        let expected = Decoder::YoloV8 { output: "output0".into(), classes: 80, confidence: 0.25, iou: 0.7 };
        assert_eq!(decoder_of(dense(), &[84, 8400]), Some(expected));
        assert_eq!(decoder_of(dense(), &[84, 2100]), None);
        assert_eq!(decoder_of(dense(), &[8400]), None);
        assert_eq!(of(&detector(dense()), &[]), None);
        let Head::Dense { output: name, layout, format, activation, iou, confidence, .. } = dense() else {
            panic!()
        };
        let with_objectness =
            Head::Dense { output: name, layout, objectness: true, format, activation, iou, confidence };
        assert_eq!(decoder_of(with_objectness, &[85, 8400]), None);
    }

    #[test]
    fn types_that_the_node_refuses_are_not_given_to_it() {
        let head = Head::EndToEndParts {
            count: None,
            boxes: "boxes".into(),
            scores: Some("scores".into()),
            classes: "labels".into(),
            format: BoxFormat::XyxyOriginal,
            confidence: 0.6,
            clip: false,
        };
        let outputs = |labels| {
            [
                output("labels", labels, &[300]),
                output("boxes", DataType::F32, &[300, 4]),
                output("scores", DataType::F32, &[300]),
            ]
        };
        assert!(matches!(
            of(&detector(head.clone()), &outputs(DataType::I64)),
            Some(Decoder::RtDetr { confidence: 0.6, .. })
        ));
        assert_eq!(of(&detector(head), &outputs(DataType::I32)), None);
    }
}
