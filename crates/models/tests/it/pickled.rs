//! Files that PyTorch wrote are listed and exported without running them (fixtures: `tests/fixtures/make.py`).

use models::{Checkpoint, Error, ErrorKind, ExportOptions, Files, MemoryFiles, checkpoint_facts, export};

use crate::sources::{fixture, in_memory, options};

/// The file that `export` writes.
fn exported(files: &dyn Files, options: &ExportOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph::onnx::write(&export(files, options).unwrap().model, &mut bytes).unwrap();
    bytes
}

#[test]
fn pickled_weights_give_the_same_graph_as_safetensors() {
    for name in ["rt_detr", "rt_detr_v2"] {
        let safe = fixture(name);
        let options = options(&safe);
        let mut pickled = in_memory(&safe);
        for file in pickled.names().into_iter().filter(|file| file.contains("safetensors")) {
            pickled.remove(&file);
        }
        let folder = fixture(&format!("pickled/{name}"));
        for file in folder.names() {
            pickled.insert(file.as_str(), folder.read(&file).unwrap());
        }
        let checkpoint = Checkpoint::read(&pickled).unwrap().facts();
        assert!(
            checkpoint.files.iter().all(|file| file.starts_with("pytorch_model")),
            "{:?}",
            checkpoint.files
        );
        assert!(exported(&safe, &options) == exported(&pickled, &options), "{name}");
    }
}

#[test]
fn an_index_of_pickled_shards_is_believed_only_where_they_agree() {
    let mut files = in_memory(&fixture("pickled/rt_detr_v2"));
    let index = files.read("pytorch_model.bin.index.json").unwrap();
    let text = std::str::from_utf8(&index).unwrap();
    for (from, to) in
        [("pytorch_model-00002", "../pytorch_model-00002"), ("-00001-of", "-00002-of"), (".bias", ".x")]
    {
        files.insert("pytorch_model.bin.index.json", text.replacen(from, to, 1).into_bytes());
        assert!(matches!(Checkpoint::read(&files), Err(Error::Damaged { .. })), "{from}");
    }
}

#[test]
fn a_pickle_that_would_run_code_is_refused_whatever_it_is_called() {
    let attack = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
    let mut files = in_memory(&fixture("rt_detr"));
    files.remove("model.safetensors");
    for name in ["pytorch_model.bin", "model.pt", "x.pth", "model.safetensors"] {
        let files = files.clone().with(name, &attack[..]);
        let error = export(&files, &ExportOptions::default()).unwrap_err();
        assert!(
            matches!(&error, Error::ForeignCode { file, names } if file == name && names == &["posix.system"]),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Unusable);
    }
    let alone = MemoryFiles::new().with("best.pt", &attack[..]);
    assert!(matches!(export(&alone, &ExportOptions::default()), Err(Error::ForeignCode { .. })));
}

#[test]
fn state_dicts_of_both_containers_are_listed() {
    for file in ["state.pt", "legacy.bin"] {
        let facts = checkpoint_facts(&fixture("pickled"), file).unwrap();
        let listed: Vec<String> = facts
            .tensors
            .iter()
            .map(|tensor| format!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape))
            .collect();
        let expected = [
            "0.weight F16 [3, 2]",
            "0.bias F16 [3]",
            "1.weight F16 [3]",
            "1.bias F16 [3]",
            "1.running_mean F16 [3]",
            "1.running_var F16 [3]",
            "1.num_batches_tracked I64 []",
        ];
        assert_eq!(listed, expected, "{file}");
        assert_eq!((facts.parameters, facts.bytes), (21, 50), "{file}");
        assert!(
            facts.globals.iter().all(|name| name.starts_with("torch") || name.starts_with("collections"))
        );
    }
}

#[test]
fn a_whole_module_is_listed_by_the_names_of_its_state_dict() {
    let facts = checkpoint_facts(&fixture("pickled"), "module.pt").unwrap();
    let names: Vec<&str> = facts.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.contains(&"model.0.weight") && names.contains(&"model.1.running_var"), "{names:?}");
    assert_eq!(names.len(), 7, "{names:?}");
    assert!(facts.globals.contains(&"torch.nn.modules.linear.Linear".to_owned()), "{:?}", facts.globals);
}
