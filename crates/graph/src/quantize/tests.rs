//! A small network of every rule, rounded.

use std::collections::BTreeMap;

use super::*;
use crate::{Builder, Model, Node, Tensor};

/// Two convolutions with a residual sum, their results joined, a third, and a head that decides.
fn network() -> Model {
    let node = |op: &str, inputs: &[&str], output: &str| Node {
        name: output.into(),
        op_type: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output.into()],
        ..Node::default()
    };
    let mut builder = Builder::new("network", 17);
    let weight = builder.weight("unused", Tensor::from_f32([1], vec![0.0]).unwrap());
    builder.output("unused_output", &weight);
    let mut model = builder.finish("test", "1").unwrap();
    let graph = &mut model.graph;
    for (name, from, to) in [("w1", 3, 4), ("w2", 4, 4), ("w3", 8, 4), ("w4", 4, 2)] {
        let values = (0..from * to).map(|at| (at as f32 - 3.0) / 8.0).collect();
        graph.initializers.insert(name.into(), Tensor::from_f32([to, from, 1, 1], values).unwrap());
    }
    let shape = vec![crate::Dim::batch(), 3.into(), 2.into(), 2.into()];
    graph.inputs = vec![crate::ValueInfo::tensor("x", crate::DataType::F32, shape)];
    let shape = vec![crate::Dim::batch(), 2.into(), 2.into(), 2.into()];
    graph.outputs = vec![crate::ValueInfo::tensor("y", crate::DataType::F32, shape)];
    graph.nodes = vec![
        node("Conv", &["x", "w1"], "a"),
        node("Relu", &["a"], "b"),
        node("Conv", &["b", "w2"], "c"),
        node("Add", &["c", "b"], "d"),
        node("Concat", &["d", "b"], "e"),
        node("Conv", &["e", "w3"], "f"),
        node("Conv", &["f", "w4"], "g"),
        node("Sigmoid", &["g"], "y"),
    ];
    graph.nodes[4].attributes.insert("axis".into(), 1.into());
    model
}

fn seen() -> BTreeMap<String, Histogram> {
    let histogram = |most: f32| {
        let mut histogram = Histogram::default();
        histogram.observe(&[most, most / 2.0, 0.0]);
        histogram
    };
    [("x", 1.0), ("b", 2.0), ("e", 4.0), ("f", 8.0)].map(|(name, most)| (name.into(), histogram(most))).into()
}

#[test]
fn layers_are_rounded_but_the_one_that_decides() {
    let placement = Placement::new(&network(), &PlacementOptions::default());
    let floats: Vec<Option<Float>> = placement.layers.iter().map(|layer| layer.float).collect();
    assert_eq!(floats, [None, None, None, Some(Float::Decides)]);
    let values: Vec<&str> = placement.values.keys().map(String::as_str).collect();
    assert_eq!(values, ["b", "e", "x"]);
    assert_eq!(placement.values["b"], placement.values["e"], "what is concatenated has one scale");
    assert_eq!(placement.sums, [(3, 1)], "of the sum, the branch that is not the convolution's");
    let pinned = PlacementOptions { pinned: ["c".to_owned()].into(), ..Default::default() };
    let placement = Placement::new(&network(), &pinned);
    assert_eq!(placement.layers[1].float, Some(Float::Pinned));
    assert!(placement.sums.is_empty());
}

#[test]
fn roundings_are_written_where_they_belong() {
    let mut model = network();
    let placement = Placement::new(&model, &PlacementOptions::default());
    let scales = scales(&placement, &seen(), Method::MinMax).unwrap();
    assert!((scales["b"] - 4.0 / 127.0).abs() < 1e-9, "the wider of the group");
    quantize(&mut model, &placement, &scales).unwrap();
    model.check().unwrap();
    let of = |output: &str| model.graph.nodes.iter().find(|node| node.outputs[0] == output).unwrap();
    assert_eq!(of("a").inputs, ["x/rounded", "w1/0/rounded"]);
    assert_eq!(of("d").inputs, ["c", "b/rounded"]);
    assert_eq!(of("e").inputs, ["d", "b"], "the sum's result is rounded behind the concatenation");
    assert_eq!(of("f").inputs[0], "e/rounded");
    assert_eq!(of("g").inputs, ["f", "w4"]);
    assert!(!model.graph.initializers.contains_key("w1"));
    let again = quantize(&mut model, &placement, &scales);
    assert!(again.is_err());
}

#[test]
fn what_was_not_watched_cannot_be_rounded() {
    let mut model = network();
    let placement = Placement::new(&model, &PlacementOptions::default());
    let error = quantize(&mut model, &placement, &Scales::new()).unwrap_err();
    assert!(error.to_string().contains("no scale"), "{error}");
    let error = scales(&placement, &BTreeMap::new(), Method::Mse).unwrap_err();
    assert!(error.to_string().contains("is not known"), "{error}");
    let mut broken = seen();
    broken.get_mut("e").unwrap().observe(&[f32::NAN]);
    let error = scales(&placement, &broken, Method::Mse).unwrap_err();
    assert!(error.to_string().contains("`e` is infinite or NaN"), "{error}");
    model.opsets.insert(String::new(), 12);
    let error = quantize(&mut model, &placement, &Scales::new()).unwrap_err();
    assert!(error.to_string().contains("opset 13"), "{error}");
}

#[test]
fn a_cache_holds_every_value_that_was_watched() {
    let cache = crate::CalibrationCache::of(8602, &seen(), Method::MinMax);
    assert!(cache.to_text().starts_with("TRT-8602-EntropyCalibration2\nb: "));
    let read = crate::CalibrationCache::read(cache.to_text().as_bytes()).unwrap();
    assert_eq!(read, cache);
    let of_f = read.entries.iter().find(|entry| entry.name == "f").unwrap();
    assert_eq!((of_f.scale.to_bits(), read.entries.len()), ((8.0_f32 / 127.0).to_bits(), 4));
}

#[test]
fn shared_weights_are_rounded_along_the_channels_of_each_layer() {
    let mut model = network();
    let graph = &mut model.graph;
    graph.initializers.insert("m".into(), Tensor::from_f32([2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap());
    let product = |op: &str, input: &str, output: &str| Node {
        op_type: op.into(),
        inputs: vec![input.into(), "m".into()],
        outputs: vec![output.into()],
        ..Node::default()
    };
    // Both read "y" and go on to a layer of their own, so that neither decides.
    let mut transposed = product("Gemm", "p", "q");
    transposed.attributes.insert("transB".into(), 1.into());
    graph.nodes.extend([product("MatMul", "y", "p"), transposed, product("MatMul", "q", "z")]);
    graph.outputs[0].name = "z".into();
    let placement = Placement::new(&model, &PlacementOptions::default());
    let all = placement.values.keys().map(|value| (value.clone(), 0.1)).collect();
    quantize(&mut model, &placement, &all).unwrap();
    let weights = |output: &str| {
        let node = model.graph.nodes.iter().find(|node| node.outputs[0] == output).unwrap();
        node.inputs[1].clone()
    };
    assert_eq!((weights("p"), weights("q")), ("m/1/rounded".into(), "m/0/rounded".into()));
    let scales = |name: &str| model.graph.initializers[name].to_f32().unwrap();
    assert_eq!(scales("m/1/scale"), [3.0 / 127.0, 4.0 / 127.0]);
    assert_eq!(scales("m/0/scale"), [2.0 / 127.0, 4.0 / 127.0]);
}

#[test]
fn a_users_cache_rounds_what_it_has_ranges_for() {
    let entry = |name: &str, scale| crate::CalibrationEntry { name: name.into(), scale };
    let cache = |entries| crate::CalibrationCache { version: 8602, algorithm: "X".into(), entries };
    let model = network();
    // Nothing of `x`: the first convolution stays. `b` and `e` are joined; `g` is in the graph and not rounded.
    let known =
        cache(vec![entry("b", 0.5), entry("e", 0.25), entry("g", 1.0), entry("(Unnamed Layer* 1)", 1.0)]);
    let (placement, scales, usage) = scales_of_cache(&model, &known, &PlacementOptions::default()).unwrap();
    let floats: Vec<Option<Float>> = placement.layers.iter().map(|layer| layer.float).collect();
    assert_eq!(floats, [Some(Float::NoRange), None, None, Some(Float::Decides)]);
    assert_eq!(scales, [("b".to_owned(), 0.5), ("e".to_owned(), 0.5)].into());
    assert_eq!((usage.used, usage.not_needed, usage.unknown), (2, 1, vec!["(Unnamed Layer* 1)".to_owned()]));
    let mut rounded = model.clone();
    quantize(&mut rounded, &placement, &scales).unwrap();
    rounded.check().unwrap();
    // A value that was always 0 has a scale of 0 in some caches: no division by it.
    let zeros = cache(vec![entry("b", 0.0), entry("e", 0.0)]);
    let (_, scales, _) = scales_of_cache(&model, &zeros, &PlacementOptions::default()).unwrap();
    assert!(scales.values().all(|scale| *scale > 0.0));
    let error = scales_of_cache(&model, &cache(vec![entry("z", 1.0)]), &PlacementOptions::default());
    assert!(error.unwrap_err().to_string().contains("names a value of this graph"));
}
