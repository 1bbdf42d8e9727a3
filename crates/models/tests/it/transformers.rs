//! Vision transformers as backbones (YOLOS, LW-DETR, RF-DETR): names, sizes and configurations that the fixtures'
//! numbers do not show.

use detect::{Head, Labels, Resize, Selection};
use models::{Error, ExportOptions, Exported, Files, MemoryFiles, export};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::sources::{fixture, in_memory};

fn plain() -> ExportOptions {
    ExportOptions::default()
}

fn bytes_of(exported: &Exported) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(&exported.model, &mut bytes).unwrap();
    bytes
}

fn config(files: &MemoryFiles) -> Value {
    serde_json::from_slice(&files.read("config.json").unwrap()).unwrap()
}

/// The same source with the tensors under other names.
fn renamed(files: &MemoryFiles, name: impl Fn(&str) -> String) -> MemoryFiles {
    let bytes = files.read("model.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, TensorView<'_>)> =
        file.tensors().into_iter().map(|(old, view)| (name(&old), view)).collect();
    files.clone().with("model.safetensors", safetensors::serialize(tensors, None).unwrap())
}

#[test]
fn the_names_of_the_modules_themselves_are_read_too() {
    let yolos = in_memory(&fixture("yolos-mid"));
    let own =
        renamed(&yolos, |name| name.replace("encoder.mid_position", "encoder.interpolation.mid_position"));
    let lw_detr = in_memory(&fixture("lw_detr"));
    let projections =
        [("attention.query", "q_proj"), ("attention.key", "k_proj"), ("attention.value", "v_proj")];
    let lw_own = renamed(&lw_detr, |name| {
        let name = name.replace("attention.output.", "attention.o_proj.");
        projections.iter().fold(name, |name, (old, new)| name.replace(old, new))
    });
    let rf_detr = in_memory(&fixture("rf_detr"));
    let lightning = renamed(&rf_detr, |name| format!("model.{name}"));
    let rf_own = renamed(&rf_detr, |name| {
        let pairs = [
            ("backbone.0.encoder.encoder", "model.backbone.backbone"),
            ("backbone.0.projector.stages.0.0", "model.backbone.projector.projector_layer"),
            ("backbone.0.projector.stages.0.1", "model.backbone.projector.layer_norm"),
            (".m.", ".bottlenecks."),
            ("cv1", "conv1"),
            ("cv2", "conv2"),
            (".bn.", ".norm."),
            ("attention.output.dense", "attention.o_proj"),
            ("transformer.", "model."),
            ("refpoint_embed", "model.reference_point_embed"),
            ("query_feat", "model.query_feat"),
            ("decoder.norm", "decoder.layernorm"),
            ("linear", "mlp.fc"),
            ("self_attn.out_proj", "self_attn.o_proj"),
        ];
        let name = pairs.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new));
        let name = projections.iter().fold(name, |name, (old, new)| name.replace(old, new));
        if !name.starts_with("model.decoder.layers.") {
            return name;
        }
        let norms =
            [("norm1", "self_attn_layer_norm"), ("norm2", "cross_attn_layer_norm"), ("norm3", "layer_norm")];
        norms.iter().fold(name, |name, (old, new)| name.replace(old, new))
    });
    for (files, other) in [(&yolos, &own), (&lw_detr, &lw_own), (&rf_detr, &rf_own), (&rf_detr, &lightning)] {
        let [one, two] = [files, other].map(|files| bytes_of(&export(files, &plain()).unwrap()));
        assert!(one == two);
    }
}

#[test]
fn yolos_stretches_images_unless_told_otherwise() {
    let files = in_memory(&fixture("yolos"));
    let exported = export(&files, &plain()).unwrap();
    let input = &exported.detector.input;
    assert_eq!((input.height, input.width, input.resize), (128, 224, Resize::Stretch));
    assert!(exported.warnings.iter().any(|warning| warning.contains("stretched")), "{:?}", exported.warnings);

    let sized = export(&files, &ExportOptions { size: Some((96, 160)), ..plain() }).unwrap();
    assert_eq!((sized.detector.input.height, sized.detector.input.width), (96, 160));
    let kept = Resize::ShortestEdge { shortest: 128, longest: 224, multiple_of: Some(16) };
    let kept = export(&files, &ExportOptions { resize: Some(kept), ..plain() }).unwrap();
    assert!(matches!(kept.detector.input.resize, Resize::ShortestEdge { .. }));
    let small = export(&files, &ExportOptions { size: Some((8, 160)), ..plain() });
    assert!(matches!(small, Err(Error::Underivable { .. })));
}

#[test]
fn sizes_that_do_not_fit_windows_are_refused_with_the_way_out() {
    for name in ["lw_detr", "rf_detr"] {
        let files = in_memory(&fixture(name));
        let odd = export(&files, &ExportOptions { size: Some((96, 112)), ..plain() });
        let Err(Error::Underivable { option, .. }) = odd else { panic!("{name}: not refused") };
        assert!(option.starts_with("--size"));
        assert!(export(&files, &ExportOptions { size: Some((96, 128)), ..plain() }).is_ok(), "{name}");
    }
}

#[test]
fn a_package_checkpoint_says_its_size_and_its_classes() {
    let files = in_memory(&fixture("rf_detr-package"));
    let exported = export(&files, &plain()).unwrap();
    let detector = &exported.detector;
    assert_eq!(
        (detector.architecture.as_str(), detector.labels.to_lines().as_str()),
        ("rf_detr", "cat\ndog\nbird\nN/A\n")
    );
    assert_eq!(
        (detector.input.height, detector.input.resize, detector.input.antialias),
        (96, Resize::Stretch, false)
    );
    assert!(matches!(detector.head, Head::Queries { selection: Selection::TopK { count: 20 }, .. }));
    assert!(exported.warnings.is_empty(), "{:?}", exported.warnings);
    assert!(exported.ignored.iter().any(|name| name.contains("enc_output.1.")));

    let registers = export(&in_memory(&fixture("rf_detr-package-registers")), &plain()).unwrap();
    assert!(registers.ignored.iter().any(|name| name.contains("segmentation_head")));
}

#[test]
fn what_a_package_checkpoint_does_not_say_follows_from_its_tensors() {
    let files = in_memory(&fixture("rf_detr-package"));
    let checkpoint = models::Checkpoint::read(&files).unwrap();
    // The same tensors alone, as safetensors.
    let facts = checkpoint.facts();
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = facts
        .tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), vec![0; tensor.bytes as usize]))
        .collect();
    let dtype =
        |name: &str| match facts.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype.as_str() {
            "F16" => safetensors::Dtype::F16,
            "BOOL" => safetensors::Dtype::BOOL,
            _ => safetensors::Dtype::F32,
        };
    let views = data.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(dtype(name), shape.clone(), bytes).unwrap())
    });
    let weights = safetensors::serialize(views, None).unwrap();
    let alone = MemoryFiles::new().with("model.safetensors", weights);

    assert!(matches!(export(&alone, &plain()), Err(Error::NoLabels { .. })));
    let labels = Labels::from_lines("a\nb\nc\nd\n").unwrap();
    // The number of heads and the stages that feed the projector leave no trace; these are not the package's own.
    let said = json!({
        "model_type": "rf_detr", "encoder": "dinov2_windowed_small", "ca_nheads": 8, "sa_nheads": 4,
        "out_feature_indexes": [1, 2], "names": ["a", "b", "c", "d"],
    });
    let told = alone.clone().with("config.json", said.to_string());
    let exported = export(&told, &plain()).unwrap();
    assert_eq!((exported.detector.input.height, exported.detector.input.width), (96, 96));
    let whole = export(&files, &ExportOptions { labels: Some(labels), ..plain() }).unwrap();
    assert_eq!(exported.model.graph.nodes.len(), whole.model.graph.nodes.len());

    for (key, value) in [
        ("encoder", json!("dinov2_small")),
        ("encoder", json!("resnet50")),
        ("rms_norm", json!(true)),
        ("use_grouppose_keypoints", json!(true)),
        ("decoder_norm", json!("BN")),
        ("sa_nheads", json!(0)),
        ("out_feature_indexes", json!([1_000_000_000])),
        ("num_windows", json!(0)),
    ] {
        let mut said = said.clone();
        said[key] = value.clone();
        let files = alone.clone().with("config.json", said.to_string());
        assert!(matches!(export(&files, &plain()), Err(Error::Unsupported { .. })), "{key}: {value}");
    }
}

#[test]
fn absurd_configurations_are_errors() {
    let absurd =
        [json!(1_000_000_000_000_000_000_u64), json!(0), json!(-1), json!("x"), json!([1e9, 3]), json!({})];
    for name in ["yolos-odd", "lw_detr-two", "rf_detr-wide"] {
        let files = in_memory(&fixture(name));
        let whole = config(&files);
        let below = whole.get("backbone_config").and_then(Value::as_object).into_iter().flatten();
        let keys = whole.as_object().unwrap().keys().map(|key| (None, key.clone()));
        let keys: Vec<(Option<&str>, String)> =
            keys.chain(below.map(|(key, _)| (Some("backbone_config"), key.clone()))).collect();
        for ((object, key), value) in keys.iter().flat_map(|key| absurd.iter().map(move |value| (key, value)))
        {
            let mut changed = whole.clone();
            let place = match object {
                Some(object) => &mut changed[*object],
                None => &mut changed,
            };
            place[key] = value.clone();
            let files = files.clone().with("config.json", serde_json::to_vec(&changed).unwrap());
            // Whatever is not used may be anything; nothing may panic or take long.
            let sizes = ["hidden_size", "d_model", "num_hidden_layers", "decoder_layers", "patch_size"];
            let outcome = export(&files, &plain());
            assert!(outcome.is_err() || !sizes.contains(&key.as_str()), "{name}: {key} = {value}");
        }
    }
}
