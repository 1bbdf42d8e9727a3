//! Files that the official Python library made (`tests/fixtures/make_onnx.py`), read, checked and written back.

use graph::{Attribute, DataType, Dim, Error, onnx};

use crate::{again, fixture, read, written};

const FIXTURES: [&str; 6] =
    ["forms.onnx", "external.onnx", "control.onnx", "custom.onnx", "old_ir.onnx", "quantized.onnx"];

#[test]
fn every_file_survives_a_round_trip() {
    for name in FIXTURES {
        let model = read(name);
        model.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        let copy = again(&model);
        assert_eq!(copy, model, "{name}");
        assert_eq!(written(&copy), written(&model), "{name}");
    }
}

#[test]
fn every_form_of_data_gives_the_same_tensor() {
    let model = read("forms.onnx");
    let mut pairs = 0;
    for (name, tensor) in &model.graph.initializers {
        if let Some(kind) = name.strip_suffix("_typed").filter(|kind| *kind != "string") {
            let raw = &model.graph.initializers[&format!("{kind}_raw")];
            assert_eq!(tensor, raw, "{kind}");
            assert!(tensor.bytes().iter().any(|byte| *byte != 0), "{kind}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 20);
    let value = |name: &str| &model.graph.initializers[name];
    assert_eq!(value("float16_typed").to_f32().unwrap(), [0.0, 1.0, 2.0, 5.0]);
    assert_eq!(value("bfloat16_typed").to_f32().unwrap(), [0.0, 1.0, 2.0, 5.0]);
    assert_eq!(value("int4_typed").bytes(), [0x10_u8, 0x52].as_slice());
    assert_eq!(value("string_typed").as_strings().unwrap()[1], "Hündin");
    assert_eq!((value("scalar").shape(), value("scalar").to_f32().unwrap()), ([].as_slice(), vec![2.5]));
    assert_eq!((value("empty").shape(), value("empty").byte_len()), ([0, 3].as_slice(), 0));
}

#[test]
fn external_data_is_found_folded_in_and_not_needed_for_the_structure() {
    assert_eq!(onnx::external_locations(fixture("external.onnx")).unwrap(), ["constant.bin", "external.bin"]);
    let model = read("external.onnx");
    assert_eq!(model.graph.initializers["b"].to_f32().unwrap(), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(model.graph.initializers["w"].to_f32().unwrap()[8..], [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(model.graph.nodes[0].tensor("value").unwrap().to_f32().unwrap(), [0.5]);
    assert!(onnx::external_locations(written(&model)).unwrap().is_empty());

    let structure = onnx::read_structure(fixture("external.onnx")).unwrap();
    structure.check().unwrap();
    let weight = &structure.graph.initializers["w"];
    assert_eq!((weight.shape(), weight.byte_len()), ([3, 4].as_slice(), 48));
    assert_eq!(weight.external().unwrap().location, "external.bin");
    assert!(matches!(weight.to_f32(), Err(Error::ExternalData { .. })));
    assert!(matches!(onnx::write(&structure, &mut Vec::new()), Err(Error::ExternalData { .. })));
}

#[test]
fn missing_or_short_external_files_are_named() {
    let missing = onnx::read(fixture("external.onnx"), &|_| Err("no such file".into())).unwrap_err();
    assert!(missing.hint().unwrap().contains("external.bin"));
    assert_eq!(missing.to_string(), "external data `external.bin` of tensor `w`: no such file");
    let short = onnx::read(fixture("external.onnx"), &|name| Ok(fixture(name).slice(..4))).unwrap_err();
    assert!(short.to_string().contains("48 bytes from 0 on are not in a file of 4"), "{short}");
}

#[test]
fn subgraphs_keep_their_constants() {
    let model = read("control.onnx");
    let Some(Attribute::Graph(branch)) = model.graph.nodes[0].attributes.get("else_branch") else {
        panic!("`If` has lost its branch");
    };
    assert_eq!(branch.initializers["two"].to_f32().unwrap(), [2.0]);
    let body = model.graph.nodes[1].subgraphs().next().unwrap();
    assert_eq!((body.inputs.len(), body.nodes.len()), (3, 2));
}

#[test]
fn what_is_not_understood_is_kept() {
    let model = read("custom.onnx");
    assert_eq!(model.metadata["stride"], "32");
    assert_eq!((model.producer_name.as_str(), model.model_version), ("fixture", 7));
    assert_eq!((model.functions.len(), model.other.len()), (1, 1));
    let node = &model.graph.nodes[0];
    assert_eq!(node.operator(), "com.example.Enhance");
    assert_eq!(node.attributes["strength"], Attribute::Float(0.5));
    assert_eq!(node.attributes["gains"], Attribute::Floats(vec![0.5, 2.0]));
    assert_eq!(node.text("text"), Some("plain"));
    assert_eq!(node.tensor("nothing").unwrap().len(), 0);
    for name in ["kind", "mask"] {
        assert!(matches!(node.attributes[name], Attribute::Other(_)), "{name}");
    }
    assert_eq!(node.other.iter().map(|part| part.0).collect::<Vec<_>>(), [8, 9]);
    let kept: Vec<u32> = model.graph.other.iter().map(|part| part.0).collect();
    assert_eq!(kept, [14, 15, 16]);
    assert_eq!(model.graph.inputs[0].other.len(), 1);
    let list = &model.graph.outputs[1];
    assert_eq!((list.dtype, list.shape.as_ref(), list.other.len()), (None, None, 1));
    assert_eq!(model.graph.values["e"].shape.as_ref().unwrap()[0], Dim::Symbol("n".into()));
}

#[test]
fn initializers_of_old_files_are_no_inputs() {
    let model = read("old_ir.onnx");
    let inputs: Vec<&str> = model.graph.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["x"]);
    assert_eq!(model.graph.initializers["w"].dtype(), DataType::F32);
}
