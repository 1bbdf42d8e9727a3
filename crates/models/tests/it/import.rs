//! Detectors of graphs that others exported: every kind of head, and what is said when something is missing.

use std::collections::BTreeMap;

use detect::{
    Activation, Background, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Head, Labels,
    Resize, Selection,
};
use graph::{DataType, Dim, Graph, Model, ValueInfo};
use models::{Error, ErrorKind, HeadKind, ImportOptions, MemoryFiles, Normalization, import_onnx};

/// Entries of the metadata.
type Metadata = Vec<(&'static str, &'static str)>;

/// A value; sizes below 0 are open.
fn value(name: &str, dtype: DataType, shape: &[i64]) -> ValueInfo {
    let dim =
        |size: &i64| usize::try_from(*size).map_or_else(|_| Dim::Symbol(format!("d{size}")), Dim::Fixed);
    ValueInfo::tensor(name, dtype, shape.iter().map(dim).collect())
}

fn floats(name: &str, shape: &[i64]) -> ValueInfo {
    value(name, DataType::F32, shape)
}

fn model(inputs: Vec<ValueInfo>, outputs: Vec<ValueInfo>) -> Model {
    Model { graph: Graph { inputs, outputs, ..Graph::default() }, ..Model::default() }
}

fn with_metadata(mut model: Model, entries: &[(&str, &str)]) -> Model {
    model.metadata = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    model
}

fn image(name: &str) -> Vec<ValueInfo> {
    vec![floats(name, &[-1, 3, 640, 640])]
}

fn config(model_type: &str, class: &str, labels: usize) -> Vec<u8> {
    let id2label: BTreeMap<String, String> =
        (0..labels).map(|id| (id.to_string(), format!("name {id}"))).collect();
    serde_json::to_vec(&serde_json::json!({
        "model_type": model_type, "architectures": [class], "id2label": id2label, "num_queries": 100,
    }))
    .unwrap()
}

fn named(count: usize) -> ImportOptions {
    ImportOptions {
        labels: Some(Labels::from_lines(&"x\n".repeat(count)).unwrap()),
        ..ImportOptions::default()
    }
}

fn import(model: &Model, files: &MemoryFiles) -> Result<Detector, Error> {
    import_onnx(model, files, &ImportOptions::default())
}

#[test]
fn families_of_transformers_have_their_own_score_rule() {
    let softmax = Activation::Softmax { background: Background::Last };
    let cases = [
        ("detr", "DetrForObjectDetection", 92, softmax, Selection::PerQuery),
        ("yolos", "YolosForObjectDetection", 92, softmax, Selection::PerQuery),
        ("table-transformer", "TableTransformerForObjectDetection", 92, softmax, Selection::PerQuery),
        ("rt_detr", "RTDetrForObjectDetection", 91, Activation::Sigmoid, Selection::TopK { count: 100 }),
        ("d_fine", "DFineForObjectDetection", 91, Activation::Sigmoid, Selection::TopK { count: 100 }),
        (
            "deformable_detr",
            "DeformableDetrForObjectDetection",
            91,
            Activation::Sigmoid,
            Selection::TopK { count: 100 },
        ),
    ];
    for (model_type, class, columns, activation, selection) in cases {
        let graph = model(
            image("pixel_values"),
            vec![floats("logits", &[-1, 100, columns]), floats("pred_boxes", &[-1, 100, 4])],
        );
        let files = MemoryFiles::new()
            .with("config.json", config(model_type, class, 91))
            .with("preprocessor_config.json", "{}".as_bytes());
        let detector = import(&graph, &files).unwrap();
        let Head::Queries { activation: found, selection: chosen, format, .. } = detector.head else {
            panic!("{model_type}")
        };
        assert_eq!(
            (found, chosen, format),
            (activation, selection, BoxFormat::CxcywhNormalized),
            "{model_type}"
        );
        assert_eq!(detector.architecture, model_type.replace('-', "_"));
    }
}

#[test]
fn older_detr_exports_have_a_small_mask() {
    let inputs =
        vec![floats("pixel_values", &[-1, 3, -2, -3]), value("pixel_mask", DataType::I64, &[-1, 64, 64])];
    let graph = model(inputs, vec![floats("logits", &[-1, 100, 92]), floats("pred_boxes", &[-1, 100, 4])]);
    let files = MemoryFiles::new()
        .with("config.json", config("detr", "DetrForObjectDetection", 91))
        .with("preprocessor_config.json", "{\"size\": 800, \"max_size\": 1333}".as_bytes());
    let detector = import(&graph, &files).unwrap();
    let mask = detector.input.mask.unwrap();
    assert_eq!((mask.tensor.as_str(), mask.width, mask.height), ("pixel_mask", 64, 64));
    assert_eq!((detector.input.height, detector.input.width), (1333, 1333));
    assert_eq!(
        detector.input.resize,
        Resize::ShortestEdge { shortest: 800, longest: 1333, multiple_of: None }
    );
}

#[test]
fn ultralytics_says_what_its_output_is() {
    let base = [("author", "Ultralytics"), ("task", "detect"), ("stride", "32"), ("imgsz", "[480, 640]")];
    let three = ("names", "{0: 'person', 1: 'car', 2: \"driver's seat\"}");
    let two = ("names", "{0: 'a', 1: 'b'}");
    let dense = |layout, objectness, iou| Head::Dense {
        output: "output0".into(),
        layout,
        objectness,
        format: BoxFormat::CxcywhPixels,
        activation: Activation::None,
        iou: Some(iou),
        confidence: 0.25,
    };
    let end = |format| Head::EndToEnd { output: "output0".into(), format };
    let (channels, rows) = (DenseLayout::ChannelsFirst, DenseLayout::RowsFirst);
    let cases: Vec<(&str, Metadata, &[i64], Head)> = vec![
        ("v8", vec![three], &[-1, 7, 8400], dense(channels, false, 0.7)),
        ("v8, open rows", vec![three], &[-1, 7, -2], dense(channels, false, 0.7)),
        ("v5", vec![three], &[-1, 25200, 8], dense(rows, true, 0.45)),
        ("suppressed", vec![three, ("args", "{'nms': True}")], &[-1, 300, 6], end(BoxFormat::XyxyPixels)),
        ("end to end", vec![three, ("end2end", "True")], &[-1, 300, 6], end(BoxFormat::XyxyPixels)),
        ("end to end of two", vec![two, ("end2end", "True")], &[-1, 300, 6], end(BoxFormat::XyxyPixels)),
        ("v8 of two", vec![two], &[-1, 6, 8400], dense(channels, false, 0.7)),
        ("RT-DETR", vec![three, ("head", "RTDETRDecoder")], &[-1, 300, 6], end(BoxFormat::CxcywhNormalized)),
    ];
    for (name, more, shape, head) in cases {
        let graph = model(vec![floats("images", &[-1, 3, -2, -3])], vec![floats("output0", shape)]);
        let graph = with_metadata(graph, &[base.as_slice(), &more].concat());
        let detector = import(&graph, &MemoryFiles::new()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(detector.head, head, "{name}");
        assert_eq!((detector.input.height, detector.input.width), (480, 640), "{name}");
        let stretched = name == "RT-DETR";
        assert_eq!(detector.input.resize == Resize::Stretch, stretched, "{name}");
    }
    let segment = with_metadata(
        model(image("images"), vec![floats("output0", &[1, 116, 8400])]),
        &[("author", "Ultralytics"), ("task", "segment")],
    );
    assert_eq!(import(&segment, &MemoryFiles::new()).unwrap_err().kind(), ErrorKind::NotADetector);
}

#[test]
fn the_pair_dets_and_labels_is_decided_by_shape_and_type() {
    let roboflow =
        model(image("input"), vec![floats("dets", &[-1, 300, 4]), floats("labels", &[-1, 300, 91])]);
    let detector = import_onnx(&roboflow, &MemoryFiles::new(), &named(91)).unwrap();
    let Head::Queries { logits, boxes, activation, .. } = &detector.head else {
        panic!("{:?}", detector.head)
    };
    assert_eq!((logits.as_str(), boxes.as_str(), *activation), ("labels", "dets", Activation::Sigmoid));
    assert!((detector.input.mean[0] - 0.485).abs() < 1e-6);

    let ids = value("labels", DataType::I64, &[-1, 100]);
    let mmdetection = model(image("input"), vec![floats("dets", &[-1, 100, 5]), ids]);
    let options = ImportOptions {
        resize: Some(Resize::Stretch),
        normalization: Some(Normalization::ImageNet),
        ..named(80)
    };
    let detector = import_onnx(&mmdetection, &MemoryFiles::new(), &options).unwrap();
    let Head::EndToEndParts { scores: None, format: BoxFormat::XyxyPixels, .. } = detector.head else {
        panic!("{:?}", detector.head)
    };
    // Its normalisation is in none of the files.
    let error = import_onnx(&mmdetection, &MemoryFiles::new(), &named(80)).unwrap_err();
    assert!(
        matches!(&error, Error::Underivable { option, .. } if option.starts_with("--normalize")),
        "{error}"
    );

    let neither = model(image("input"), vec![floats("dets", &[-1, 100, 7]), floats("labels", &[-1, 100])]);
    let error = import_onnx(&neither, &MemoryFiles::new(), &named(80)).unwrap_err();
    assert!(matches!(&error, Error::Underivable { option, .. } if option.starts_with("--head")), "{error}");
}

#[test]
fn graphs_that_are_told_the_original_size_give_its_pixels() {
    let mut inputs = image("images");
    inputs.push(value("orig_target_sizes", DataType::I64, &[-1, 2]));
    let outputs = vec![
        value("labels", DataType::I64, &[-1, 300]),
        floats("boxes", &[-1, 300, 4]),
        floats("scores", &[-1, 300]),
    ];
    let detector = import_onnx(&model(inputs, outputs.clone()), &MemoryFiles::new(), &named(80)).unwrap();
    assert_eq!(detector.head.format(), BoxFormat::XyxyOriginal);
    assert_eq!(detector.input.image_size.as_deref(), Some("orig_target_sizes"));
    let error = import_onnx(&model(image("images"), outputs), &MemoryFiles::new(), &named(80)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OptionNeeded);
}

#[test]
fn models_of_ngc_are_read_with_their_keys() {
    let graph = || {
        let inputs = vec![floats("inputs", &[-1, 3, 544, 960])];
        model(inputs, vec![floats("pred_logits", &[-1, 900, 4]), floats("pred_boxes", &[-1, 900, 4])])
    };
    let keys = "net-scale-factor=0.01735207\noffsets=123.675;116.28;103.53\ninfer-dims=3;544;960\nmodel-color-format=1\n";
    let files = MemoryFiles::new()
        .with("nvinfer_config.txt", keys.as_bytes())
        .with("labels.txt", "person;bag;face\n".as_bytes());
    let detector = import(&graph(), &files).unwrap();
    assert_eq!(detector.labels.to_lines(), "N/A\nperson\nbag\nface\n");
    assert_eq!((detector.input.channels, detector.input.scale), (ChannelOrder::Bgr, 0.017_352_07));
    assert!((detector.input.mean[0] - 123.675 * 0.017_352_07).abs() < 1e-6);
    let Head::Queries { activation: Activation::Sigmoid, selection: Selection::TopK { count: 900 }, .. } =
        detector.head
    else {
        panic!("{:?}", detector.head)
    };
    let all = files.with("labels.txt", "background\nperson\nbag\nface\n".as_bytes());
    assert_eq!(import(&graph(), &all).unwrap().labels.name(1), Some("person"));

    let grid = vec![
        floats("output_bbox/BiasAdd:0", &[-1, 12, 34, 60]),
        floats("output_cov/Sigmoid:0", &[-1, 3, 34, 60]),
    ];
    let detectnet = model(vec![floats("input_1:0", &[-1, 3, 544, 960])], grid);
    let error = import(&detectnet, &all).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedHead { family: "DetectNet_v2", .. }), "{error}");
}

#[test]
fn outputs_of_the_suppression_plug_in_are_known() {
    let outputs = vec![
        value("num_dets", DataType::I32, &[-1, 1]),
        floats("det_boxes", &[-1, 100, 4]),
        floats("det_scores", &[-1, 100]),
        value("det_classes", DataType::I32, &[-1, 100]),
    ];
    let options = ImportOptions { normalization: Some(Normalization::Unit), ..named(80) };
    let options = ImportOptions {
        resize: Some(Resize::Letterbox { fill: 114, centred: true, upscale: true }),
        ..options
    };
    let detector = import_onnx(&model(image("images"), outputs), &MemoryFiles::new(), &options).unwrap();
    assert!(matches!(detector.head, Head::EndToEndParts { count: Some(_), .. }));
}

#[test]
fn a_graph_that_takes_bytes_normalises_them_itself() {
    let inputs = vec![value("images", DataType::U8, &[-1, 3, 640, 640])];
    let graph = model(inputs, vec![floats("output0", &[-1, 84, 8400])]);
    let options = ImportOptions { resize: Some(Resize::Stretch), ..named(80) };
    let detector = import_onnx(&graph, &MemoryFiles::new(), &options).unwrap();
    assert_eq!(detector.input.dtype, ElementType::U8);
    assert!(detector.input.is_identity());
}

#[test]
fn what_is_missing_is_named_with_its_option() {
    let open = model(vec![floats("images", &[-1, 3, -2, -3])], vec![floats("output0", &[-1, 84, -4])]);
    let options = |change: fn(&mut ImportOptions)| {
        let mut options = named(80);
        change(&mut options);
        options
    };
    let cases: [(ImportOptions, Option<&str>); 4] = [
        (options(|_| {}), Some("--normalize")),
        (options(|o| o.normalization = Some(Normalization::Unit)), Some("--size")),
        (
            options(|o| {
                o.normalization = Some(Normalization::Unit);
                o.size = Some((320, 320));
            }),
            Some("--resize"),
        ),
        (
            options(|o| {
                o.normalization = Some(Normalization::Unit);
                o.size = Some((320, 320));
                o.resize = Some(Resize::Stretch);
            }),
            None,
        ),
    ];
    for (options, expected) in cases {
        match (import_onnx(&open, &MemoryFiles::new(), &options), expected) {
            (Ok(_), None) => {}
            (Err(Error::Underivable { option, .. }), Some(expected)) => {
                assert!(option.starts_with(expected), "{option}");
            }
            (other, expected) => panic!("{expected:?}: {other:?}"),
        }
    }
    assert_eq!(import(&open, &MemoryFiles::new()).unwrap_err().kind(), ErrorKind::NoLabels);
    let detr = model(
        image("pixel_values"),
        vec![floats("logits", &[-1, 100, 81]), floats("pred_boxes", &[-1, 100, 4])],
    );
    let error = import_onnx(&detr, &MemoryFiles::new(), &named(80)).unwrap_err();
    assert!(matches!(&error, Error::Underivable { option, .. } if option.starts_with("--head")), "{error}");
    let told = ImportOptions {
        head: Some("queries-softmax".parse::<HeadKind>().unwrap()),
        normalization: Some(Normalization::ImageNet),
        resize: Some(Resize::Stretch),
        ..named(80)
    };
    let detector = import_onnx(&detr, &MemoryFiles::new(), &told).unwrap();
    assert!(matches!(detector.head, Head::Queries { selection: Selection::PerQuery, .. }));
}

#[test]
fn graphs_that_are_no_image_detectors_are_refused() {
    let boxes = || vec![floats("logits", &[-1, 100, 81]), floats("pred_boxes", &[-1, 100, 4])];
    let text = value("input_ids", DataType::I64, &[-1, 16]);
    let cases = [
        model(vec![floats("x", &[-1, 640, 640, 3])], boxes()),
        model(vec![floats("x", &[-1, 128])], boxes()),
        model(vec![value("x", DataType::I64, &[-1, 3, 64, 64])], boxes()),
        model(vec![floats("x", &[-1, 1, 64, 64])], boxes()),
        model(vec![image("x").remove(0), text], boxes()),
        model(vec![image("x").remove(0), floats("scale_factor", &[-1, 2])], boxes()),
    ];
    for (at, graph) in cases.into_iter().enumerate() {
        let error = import_onnx(&graph, &MemoryFiles::new(), &named(80)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ExportFailed, "case {at}: {error}");
    }
    let classifier =
        MemoryFiles::new().with("config.json", config("resnet", "ResNetForImageClassification", 1000));
    let graph = model(image("pixel_values"), vec![floats("logits", &[-1, 1000])]);
    assert_eq!(import(&graph, &classifier).unwrap_err().kind(), ErrorKind::NotADetector);
}

#[test]
fn damaged_descriptions_of_our_own_are_refused() {
    let mut graph = model(image("pixel_values"), vec![floats("logits", &[-1, 100, 81])]);
    graph.metadata.insert(Detector::METADATA_KEY.into(), "{\"schema\": 1}".into());
    assert!(matches!(import(&graph, &MemoryFiles::new()), Err(Error::Detector(_))));
}
