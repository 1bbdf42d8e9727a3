//! A network behind a scaler sees what it would see of the whole frame, and its boxes land in the same place.

use detect::in_graph::Scaled;
use detect::{
    Activation, BoxFormat, DenseLayout, Detector, ElementType, Error, Filter, Frames, Head, Image, PixelMask,
    Resize, Selection, Thresholds, preprocess,
};

use super::frames::{CENTRED, detector, difference, named, network, picture};
use super::run;

const EDGE: Resize = Resize::ShortestEdge { shortest: 40, longest: 96, multiple_of: Some(8) };
const CORNER: Resize = Resize::Letterbox { fill: 7, centred: false, upscale: false };
const BLACK: Resize = Resize::Letterbox { fill: 0, centred: true, upscale: true };

fn normalized(mut detector: Detector) -> Detector {
    detector.input.scale = 1.0 / 255.0;
    detector.input.mean = [0.485, 0.456, 0.406];
    detector.input.std = [0.229, 0.224, 0.225];
    detector
}

fn masked(mut detector: Detector, width: u32, height: u32) -> Detector {
    detector.input.mask = Some(PixelMask { tensor: "pixel_mask".into(), width, height });
    detector
}

fn sized(mut detector: Detector) -> Detector {
    detector.input.image_size = Some("orig_target_sizes".into());
    detector
}

fn heads() -> Vec<Head> {
    let formats = [
        BoxFormat::CxcywhNormalized,
        BoxFormat::XyxyNormalized,
        BoxFormat::CxcywhPixels,
        BoxFormat::XyxyPixels,
    ];
    let mut heads: Vec<Head> = formats
        .into_iter()
        .map(|format| match Head::queries(Activation::None, Selection::PerQuery) {
            Head::Queries { logits, boxes, activation, selection, iou, confidence, .. } => {
                Head::Queries { logits, boxes, format, activation, selection, iou, confidence }
            }
            other => other,
        })
        .collect();
    for layout in [DenseLayout::ChannelsFirst, DenseLayout::RowsFirst] {
        heads.push(Head::Dense {
            output: "output0".into(),
            layout,
            objectness: false,
            format: BoxFormat::CxcywhPixels,
            activation: Activation::None,
            iou: Some(0.7),
            confidence: 0.25,
        });
    }
    heads.push(Head::EndToEnd { output: "dets".into(), format: BoxFormat::XyxyPixels });
    heads.push(Head::EndToEndParts {
        count: None,
        boxes: "boxes".into(),
        scores: None,
        classes: "labels".into(),
        format: BoxFormat::XyxyNormalized,
        confidence: 0.5,
        clip: false,
    });
    heads
}

/// The graph behind the scaler against the whole description, on frames of one size.
fn compare(detector: &Detector, images: &[Image]) {
    let frame = (images[0].width(), images[0].height());
    let about = format!("{:?} {frame:?} {:?}", detector.input, detector.head);
    let plain = network(detector, 17);
    let whole = preprocess(&detector.input, images).unwrap();
    let expected = run(&plain, &whole.inputs);
    let scaled = Scaled::new(detector, frame).unwrap();
    let model = scaled.model(plain).unwrap();
    let described = scaled.described();
    assert_eq!(&Detector::from_json(&model.metadata[Detector::METADATA_KEY]).unwrap(), described);
    assert_eq!(model.graph.inputs.len(), 1, "{about}");
    let part = preprocess(&described.input, images).unwrap();
    assert!(described.input.is_identity());
    let found = run(&model, &part.inputs);
    for (name, _) in expected.iter().filter(|(name, _)| name.starts_with("seen")) {
        let (_, apart) = difference(named(&found, name), named(&expected, name));
        assert!(apart < 2e-6, "{name} of {about}: {apart}");
    }
    let thresholds = Thresholds { clip: false, ..Thresholds::for_head(&detector.head) };
    let expected = detector.decode(&expected, &whole.geometries, &thresholds).unwrap();
    let found = described.decode(&found, &part.geometries, &thresholds).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len(), "{about}");
        assert!(!expected.is_empty());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.label, found.score), (expected.label, expected.score));
            let (a, b) = (found.bbox, expected.bbox);
            let apart = [a.x1 - b.x1, a.y1 - b.y1, a.x2 - b.x2, a.y2 - b.y2].map(f32::abs);
            assert!(apart.iter().all(|apart| *apart < 2e-3), "{about}: {a:?} {b:?}");
        }
    }
}

#[test]
fn every_policy_and_head_is_the_same_behind_a_scaler() {
    for resize in [Resize::Stretch, CENTRED, CORNER, BLACK, EDGE] {
        for (width, height) in [(128, 72), (50, 90), (61, 37)] {
            let images = [picture(width, height), picture(width, height)];
            for head in heads() {
                let mut plain = detector(96, 64, resize, Filter::Bilinear, true);
                plain.head = head;
                compare(&plain, &images);
                compare(&normalized(plain), &images);
            }
        }
    }
}

#[test]
fn masks_and_sizes_become_constants() {
    let images = [picture(128, 72), picture(128, 72)];
    for resize in [Resize::Stretch, CENTRED, BLACK, EDGE] {
        let plain = detector(96, 64, resize, Filter::Bilinear, true);
        compare(&masked(normalized(plain.clone()), 96, 64), &images);
        compare(&masked(plain.clone(), 64, 64), &images);
        let mut told = sized(plain);
        compare(&told, &images);
        told.head = Head::EndToEndParts {
            count: None,
            boxes: "boxes".into(),
            scores: None,
            classes: "labels".into(),
            format: BoxFormat::XyxyOriginal,
            confidence: 0.5,
            clip: false,
        };
        compare(&told, &images);
    }
}

#[test]
fn half_precision_inputs_get_floats() {
    let mut half = normalized(detector(96, 64, CENTRED, Filter::Bilinear, true));
    half.input.dtype = ElementType::F16;
    let scaled = Scaled::new(&half, (128, 72)).unwrap();
    let model = scaled.model(network(&half, 17)).unwrap();
    assert_eq!(model.graph.inputs[0].to_string(), "scaled_frames  float32 [batch, 3, 54, 96]");
}

#[test]
fn only_what_depends_on_the_frame_is_bound_to_its_size() {
    let bound = |detector: &Detector| Scaled::new(detector, (128, 72)).unwrap().is_for_one_size();
    let of = |resize| normalized(detector(96, 64, resize, Filter::Bilinear, true));
    for (resize, expected) in
        [(Resize::Stretch, false), (BLACK, false), (CENTRED, true), (CORNER, true), (EDGE, true)]
    {
        assert_eq!(bound(&of(resize)), expected, "{resize:?}");
        assert!(bound(&sized(of(resize))));
    }
    assert!(!bound(&masked(of(Resize::Stretch), 96, 64)));
    assert!(bound(&masked(of(BLACK), 96, 64)));
    // What the scaler does itself keeps its name and place.
    let black = Scaled::new(&of(BLACK), (128, 72)).unwrap();
    assert_eq!((black.described().input.resize, black.described().input.width), (BLACK, 96));
}

#[test]
fn what_no_scaler_gives_is_refused() {
    let plain = detector(96, 64, CENTRED, Filter::Bilinear, true);
    let told = |detector: &Detector, frame| match Scaled::new(detector, frame) {
        Err(error @ Error::InGraph { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(told(&plain, (0, 72)).contains("0x72"));
    let mut bytes = plain.clone();
    bytes.input.dtype = ElementType::U8;
    assert!(told(&bytes, (128, 72)).contains("bytes"));
    let mut raw = plain.clone();
    raw.input.frames = Some(Frames::Rgb);
    raw.head = Head::EndToEnd { output: "dets".into(), format: BoxFormat::XyxyOriginal };
    assert!(told(&raw, (128, 72)).contains("raw frames"));
    let mut old = network(&plain, 17);
    old.opsets.insert(String::new(), 13);
    let error = Scaled::new(&plain, (128, 72)).unwrap().model(old).unwrap_err();
    assert!(error.to_string().contains("operator set 13"), "{error}");
}
