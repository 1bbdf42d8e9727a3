//! What an export takes, leaves out, says and refuses.

use std::collections::BTreeSet;

use detect::{Activation, Background, Detector, Head, Labels, Resize, Selection};
use models::{
    Error, ErrorKind, ExportOptions, Files, ImportOptions, MemoryFiles, architectures, export, import_onnx,
};
use rten_tensor::{AsView, NdTensor, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::sources::{fixture, fixtures, in_memory, options, trained, with_config, with_tensors};

/// Operators that TensorRT, ONNX Runtime and the embedded backend all have.
const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Floor",
    "Gather",
    "GatherND",
    "Gelu",
    "Greater",
    "GridSample",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Pad",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "TopK",
    "Transpose",
    "Unsqueeze",
    "Where",
];

fn plain() -> ExportOptions {
    ExportOptions::default()
}

fn bytes_of(files: &dyn Files, options: &ExportOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(&export(files, options).unwrap().model, &mut bytes).unwrap();
    bytes
}

#[test]
fn only_operators_that_every_runtime_has_and_only_the_batch_is_open() {
    for name in fixtures() {
        for exact in [false, true] {
            let folder = fixture(&name);
            let exported = export(&folder, &ExportOptions { exact, ..options(&folder) }).unwrap();
            let graph = &exported.model.graph;
            let used: BTreeSet<&str> = graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
            let foreign: Vec<&&str> = used.iter().filter(|op| !OPERATORS.contains(op)).collect();
            assert!(foreign.is_empty(), "{name}: {foreign:?}");
            // Shapes and positions are int64 in every ONNX graph.
            let facts = graph::Facts::of(&exported.model);
            let grave = facts.warnings.iter().find(|warning| warning.kind != graph::WarningKind::Int64);
            assert!(grave.is_none(), "{name}: {grave:?}");
            let shapes = graph.values.values().filter_map(|value| value.shape.as_ref());
            for dim in shapes.flatten().filter(|dim| dim.fixed().is_none()) {
                assert!(dim.to_string().ends_with("batch"), "{name}: {dim}");
            }
            assert_eq!((exported.model.opset(), exported.model.ir_version), (17, 8));
        }
    }
}

#[test]
fn folding_leaves_no_normalization_of_batches_and_fewer_nodes() {
    let source = trained();
    let folded = export(&source, &plain()).unwrap();
    let exact = export(&source, &ExportOptions { exact: true, ..plain() }).unwrap();
    let count = |exported: &models::Exported, op: &str| {
        exported.model.graph.nodes.iter().filter(|node| node.op_type == op).count()
    };
    // A module that is used in every layer is stored once.
    let stored =
        |part: &str| folded.model.graph.initializers.keys().filter(|name| name.contains(part)).count();
    assert_eq!(stored("query_pos_head"), 4);
    assert_eq!(count(&folded, "BatchNormalization"), 0);
    assert!(count(&exact, "BatchNormalization") > 50);
    assert!(folded.model.graph.nodes.len() < exact.model.graph.nodes.len());
}

#[test]
fn the_detector_travels_in_the_metadata() {
    let exported = export(&trained(), &plain()).unwrap();
    let detector = &exported.detector;
    assert_eq!((detector.architecture.as_str(), detector.labels.len()), ("rt_detr_v2", 8));
    assert_eq!((detector.input.height, detector.input.width), (320, 320));
    assert_eq!((detector.input.resize, detector.input.is_identity()), (Resize::Stretch, false));
    let text = &exported.model.metadata[Detector::METADATA_KEY];
    assert_eq!(&Detector::from_json(text).unwrap(), detector);
    let again = import_onnx(&exported.model, &MemoryFiles::new(), &ImportOptions::default()).unwrap();
    assert_eq!(&again, detector);
    assert!(exported.warnings.is_empty(), "{:?}", exported.warnings);
    assert!(exported.ignored.iter().any(|name| name == "model.denoising_class_embed.weight"));
    assert!(exported.ignored.iter().all(|name| !name.contains("running")));
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    let source = fixture("rt_detr");
    assert_eq!(bytes_of(&source, &plain()), bytes_of(&source, &plain()));
}

#[test]
fn names_of_the_fifth_generation_are_read_too() {
    let files = in_memory(&fixture("rt_detr"));
    let renamed = with_tensors(&files, |name| {
        let name = name.replace("out_proj", "o_proj").replace("encoder.encoder.", "encoder.aifi.");
        let name = name.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.");
        Some(name.replace("model.decoder.class_embed", "class_embed"))
    });
    assert_eq!(bytes_of(&files, &plain()), bytes_of(&renamed, &plain()));
}

#[test]
fn options_change_size_labels_and_opset() {
    let labels = Labels::from_lines(&"x\n".repeat(8)).unwrap();
    let options =
        ExportOptions { size: Some((256, 384)), labels: Some(labels.clone()), opset: 22, ..plain() };
    let exported = export(&trained(), &options).unwrap();
    assert_eq!((exported.detector.input.height, exported.detector.input.width), (256, 384));
    assert_eq!(exported.detector.labels, labels);
    assert_eq!((exported.model.opset(), exported.model.ir_version), (22, 10));
    let input = exported.model.graph.inputs[0].shape.clone().unwrap();
    assert_eq!(input.iter().map(ToString::to_string).collect::<Vec<_>>(), ["batch", "3", "256", "384"]);
    for opset in [15, 23] {
        let error = export(&trained(), &ExportOptions { opset, ..plain() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ExportFailed, "{error}");
    }
    let error = export(&trained(), &ExportOptions { size: Some((330, 320)), ..plain() }).unwrap_err();
    assert!(matches!(error, Error::Underivable { option, .. } if option.starts_with("--size")));
}

#[test]
fn every_tensor_is_used_or_named() {
    let files = in_memory(&fixture("rt_detr"));
    let missing = with_tensors(&files, |name| (!name.contains("lateral_convs")).then(|| name.to_owned()));
    let Err(Error::Weights(mismatch)) = export(&missing, &plain()) else { panic!("not refused") };
    assert_eq!((mismatch.missing.len(), mismatch.unused.len(), mismatch.shapes.len()), (10, 0, 0));
    assert!(mismatch.missing.contains(&"model.encoder.lateral_convs.0.conv.weight".to_owned()));

    let strange = with_tensors(&files, |name| Some(name.replace("query_pos_head", "query_pos_tail")));
    let Err(Error::Weights(mismatch)) = export(&strange, &plain()) else { panic!("not refused") };
    assert_eq!((mismatch.missing.len(), mismatch.unused.len()), (4, 4));

    let wider = with_config(&files, "decoder_ffn_dim", 64.into());
    let Err(Error::Weights(mismatch)) = export(&wider, &plain()) else { panic!("not refused") };
    let weight = "model.decoder.layers.0.fc1.weight".to_owned();
    assert!(mismatch.shapes.contains(&(weight, vec![64, 16], vec![32, 16])), "{mismatch:?}");
    assert_eq!(Error::Weights(mismatch).kind(), ErrorKind::ExportFailed);
}

#[test]
fn sources_without_a_detector_or_labels_fail_with_their_kind() {
    let files = in_memory(&fixture("rt_detr"));
    let text = |value: &str| serde_json::Value::from(value);
    let classes = |class: &str| serde_json::json!([class]);
    let cases = [
        (
            with_config(&files, "architectures", classes("ResNetForImageClassification")),
            ErrorKind::NotADetector,
        ),
        (with_config(&files, "architectures", classes("LlamaForCausalLM")), ErrorKind::NotADetector),
        (with_config(&files, "model_type", text("detr_of_tomorrow")), ErrorKind::NotADetector),
        (
            with_config(&with_config(&files, "id2label", ().into()), "label2id", ().into()),
            ErrorKind::NoLabels,
        ),
        (with_config(&files, "backbone", text("resnet50")), ErrorKind::ExportFailed),
        (with_config(&files, "activation_function", text("sine")), ErrorKind::ExportFailed),
        (with_config(&files, "num_queries", 100_000.into()), ErrorKind::ExportFailed),
        (MemoryFiles::new(), ErrorKind::Unusable),
    ];
    for (at, (files, kind)) in cases.into_iter().enumerate() {
        // With a backbone configuration the name of another backbone does not matter.
        let files = if at == 4 { with_config(&files, "backbone_config", ().into()) } else { files };
        let error = export(&files, &plain()).unwrap_err();
        assert_eq!(error.kind(), kind, "case {at}: {error}");
    }
    let unknown = with_config(&files, "model_type", text("detr_of_tomorrow"));
    let hint = export(&unknown, &plain()).unwrap_err().hint().unwrap();
    assert!(architectures().iter().all(|name| hint.contains(name)), "{hint}");
}

#[test]
fn the_configuration_of_the_hub_and_its_defaults_are_read() {
    // What transformers 4 wrote: the backbone's keys are null, the size of things is left to the defaults.
    let config = serde_json::json!({
        "model_type": "rt_detr", "architectures": ["RTDetrForObjectDetection"], "backbone": null,
        "backbone_config": null, "use_timm_backbone": false, "torch_dtype": "float32",
        "id2label": {"0": "a", "1": "b"}, "anchor_image_size": [], "eval_size": null,
        "num_queries": 20,
    });
    let files = in_memory(&fixture("rt_detr")).with("config.json", serde_json::to_vec(&config).unwrap());
    let Err(Error::Weights(mismatch)) = export(&files, &plain()) else { panic!("not refused") };
    let stem =
        mismatch.shapes.iter().find(|shape| shape.0.ends_with("embedder.2.convolution.weight")).unwrap();
    assert_eq!(stem.1, [64, 32, 3, 3]);
    let last = "model.backbone.model.encoder.stages.3.layers.2.layer.2.convolution.weight".to_owned();
    assert!(mismatch.missing.contains(&last));
}

#[test]
fn fields_that_change_a_constant_change_only_that() {
    let files = in_memory(&fixture("rt_detr"));
    let plain_bytes = bytes_of(&files, &plain());
    let same_anchors = with_config(&files, "anchor_image_size", serde_json::json!([96, 96]));
    assert_eq!(bytes_of(&same_anchors, &plain()), plain_bytes);
    let general = with_config(&files, "hidden_size", 999.into());
    assert_eq!(bytes_of(&general, &plain()), plain_bytes, "`d_model` goes before the general name");

    let position = "model.encoder.aifi.0.position_embedding";
    assert!(export(&files, &plain()).unwrap().model.graph.initializers.contains_key(position));
    let without = with_config(&files, "eval_size", serde_json::json!([96, 96]));
    assert!(!export(&without, &plain()).unwrap().model.graph.initializers.contains_key(position));
    let warmer = with_config(&files, "positional_encoding_temperature", 20.into());
    assert_ne!(bytes_of(&warmer, &plain()), plain_bytes);

    let softmax = with_config(&files, "use_focal_loss", false.into());
    let Head::Queries { activation, selection, .. } = export(&softmax, &plain()).unwrap().detector.head
    else {
        panic!("no queries")
    };
    assert_eq!(activation, Activation::Softmax { background: Background::Last });
    assert_eq!(selection, Selection::PerQuery);
}

#[test]
fn learned_queries_are_the_same_for_every_image() {
    let files = in_memory(&fixture("rt_detr"));
    let bytes = files.read("model.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let learned: Vec<u8> = (0..20 * 16).flat_map(|at| (at as f32 / 100.0).sin().to_le_bytes()).collect();
    let extra = TensorView::new(safetensors::Dtype::F32, vec![20, 16], &learned).unwrap();
    let mut tensors = file.tensors();
    tensors.push(("model.weight_embedding.weight".into(), extra));
    let changed = safetensors::serialize(tensors, None).unwrap();
    let files = with_config(&files, "learn_initial_query", true.into()).with("model.safetensors", changed);

    let model = rten::Model::load(bytes_of(&files, &plain())).unwrap();
    let image: Vec<f32> = (0..3 * 96 * 96).map(|at| (at % 251) as f32 / 250.0).collect();
    let batch = NdTensor::from_data([2, 3, 96, 96], [image.clone(), image].concat());
    let [input, output] = ["pixel_values", "logits"].map(|name| model.node_id(name).unwrap());
    let [logits] = model.run_n(vec![(input, batch.into())], [output], None).unwrap();
    let logits: Tensor<f32> = logits.try_into().unwrap();
    let (first, second) = logits.data().unwrap().split_at(20 * 80);
    assert!(first.iter().all(|logit| logit.is_finite()));
    assert!(first.iter().zip(second).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn too_many_labels_are_refused_and_too_few_told() {
    let files = in_memory(&fixture("rt_detr"));
    let labels = |count: usize| Some(Labels::from_lines(&"x\n".repeat(count)).unwrap());
    let error = export(&files, &ExportOptions { labels: labels(81), ..plain() }).unwrap_err();
    assert!(matches!(error, Error::BadLabels { .. }));
    let few = export(&files, &ExportOptions { labels: labels(3), ..plain() }).unwrap();
    assert_eq!(few.warnings.len(), 1);
    assert_eq!(few.model.graph.outputs[0].shape.as_ref().unwrap()[2].fixed(), Some(80));
}
