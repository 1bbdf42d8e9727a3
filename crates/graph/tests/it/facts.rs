//! What `inspect` says: counted by hand, shapes as ONNX Runtime has them.

use std::collections::BTreeMap;

use graph::{DataType, Facts, Shapes, WarningKind, onnx};

use crate::{fixture, read};

#[test]
fn shapes_equal_those_of_onnxruntime() {
    let model = read("quantized.onnx");
    let shapes = Shapes::infer(&model, 1);
    let expected: BTreeMap<String, Vec<usize>> =
        serde_json::from_slice(&fixture("quantized.shapes.json")).unwrap();
    for (name, shape) in &expected {
        assert_eq!(shapes.of(name), Some(shape.as_slice()), "{name}");
    }
    assert_eq!(Shapes::infer(&model, 4).of("e"), Some([4, 63, 63].as_slice()));
}

#[test]
fn flops_and_precisions_are_those_counted_by_hand() {
    let facts = Facts::of(&read("quantized.onnx"));
    // Multiplications: output elements × what each sums over.
    let first = 8 * 9 * 11 * (3 * 3 * 3);
    let transposed = 8 * 9 * 11 * (4 * 2 * 2);
    let depthwise = 4 * 9 * 11 * (3 * 3);
    let matmul = 63 * 5 * 4;
    let einsum = 63 * 63 * 2;
    assert_eq!(facts.flops, Some(2 * (first + transposed + depthwise + matmul + einsum)));
    assert_eq!(facts.flops_unknown_nodes, 0);
    let share = |dtype| facts.precisions.iter().find(|share| share.dtype == dtype).unwrap();
    assert_eq!(share(DataType::I8).flops, Some(2 * first));
    assert_eq!(share(DataType::I8).parameters, 8 * 27 + 8 + 1);
    // The half-precision weight is widened before the product, which so is one of float32.
    assert_eq!((share(DataType::F16).parameters, share(DataType::F16).flops), (20, Some(0)));
    let sum: f64 = facts.precisions.iter().map(|share| share.parameter_share).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let conv = facts.operators.iter().find(|entry| entry.operator == "Conv").unwrap();
    assert_eq!((conv.count, facts.nodes), (2, 20));
}

#[test]
fn a_shape_that_is_not_known_makes_the_flops_unknown() {
    let mut model = read("quantized.onnx");
    model.graph.inputs[0].shape = None;
    let facts = Facts::of(&model);
    assert_eq!(facts.flops, None);
    assert!(facts.flops_unknown_nodes >= 2, "{}", facts.flops_unknown_nodes);
    assert!(facts.precisions.iter().all(|share| share.flops.is_none()));
}

#[test]
fn warnings_tell_what_may_go_wrong() {
    let kinds = |facts: &Facts| facts.warnings.iter().map(|warning| warning.kind).collect::<Vec<_>>();
    let missing = Facts::of(&onnx::read_structure(fixture("external.onnx")).unwrap());
    assert_eq!(kinds(&missing), [WarningKind::ExternalData, WarningKind::ExternalData]);
    assert_eq!((missing.external[1].tensors, missing.external[1].bytes), (2, 64));

    let custom = Facts::of(&read("custom.onnx"));
    let text = custom.warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>().join("\n");
    assert!(text.contains("com.example.Enhance (1)"), "{text}");
    assert!(text.contains("SequenceConstruct (1)"), "{text}");

    let forms = Facts::of(&read("forms.onnx"));
    assert!(kinds(&forms).contains(&WarningKind::Version), "IR version 11");

    let mut quantized = read("quantized.onnx");
    assert!(!kinds(&Facts::of(&quantized)).contains(&WarningKind::Quantization));
    let huge = Facts::of(&quantized).warnings;
    assert!(
        huge.iter().any(|warning| warning.message.contains("1 of them hold numbers beyond 32 bits")),
        "{huge:?}"
    );
    quantized.graph.nodes[0].inputs.truncate(2);
    assert!(kinds(&Facts::of(&quantized)).contains(&WarningKind::Quantization));
    quantized.graph.nodes[2].op_type = "DynamicQuantizeLinear".into();
    quantized.graph.inputs[0].shape.as_mut().unwrap()[2] = graph::Dim::Symbol("height".into());
    let kinds = kinds(&Facts::of(&quantized));
    assert!(kinds.contains(&WarningKind::DynamicSize));
    assert!(!kinds.contains(&WarningKind::TensorRtOperators), "said once is enough");
}

#[test]
fn facts_are_plain_json() {
    let facts = serde_json::to_value(Facts::of(&read("quantized.onnx"))).unwrap();
    assert_eq!(facts["inputs"][0]["shape"], serde_json::json!(["batch", 3, 17, 21]));
    assert_eq!(facts["inputs"][0]["dtype"], "float32");
    assert_eq!(facts["opset"], 17);
    assert_eq!(facts["warnings"][0]["kind"], "int64");
}
