//! Files that PyTorch wrote are listed without running them (fixtures: `tests/fixtures/make.py`).

use models::checkpoint_facts;

use crate::sources::fixture;

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
