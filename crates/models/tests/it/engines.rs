//! Exported graphs become engines: TensorRT for RTX parses and builds them, for graphics processors that are not here.
//!
//! Every architecture's graph is parsed in float32, float16 and with eight-bit roundings, for any batch and for one, and built
//! in all three precisions, for any batch and for two by turns. `SIGHTLINE_ENGINES=all` builds every form of every fixture.
//! What is built is looked at: compute capabilities in the header, precision of the layers, profile of the input.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use graph::passes::{Batch, HalfOptions, convert_fp16, set_batch};
use graph::quantize::{Placement, PlacementOptions, quantize};
use graph::{ComputeCapability, DataType, EngineLayers, Model, Plan, PlanKind};
use models::{Exported, architectures, export};
use runtime::tools::Profile;
use runtime::tools::tensorrt_rtx::{Build, Builder};

use crate::sources::{fixture, fixtures, options};
use crate::usable;

/// A graph, its file and its precision.
struct Case {
    name: String,
    model: Model,
    precision: &'static str,
    is_static: bool,
    profiles: Vec<Profile>,
    capability: ComputeCapability,
}

const PRECISIONS: [&str; 3] = ["fp32", "fp16", "int8"];
/// What each form is built for. Turing (7.5) is left out: it multiplies no matrices in float32.
const CAPABILITIES: [ComputeCapability; 6] = {
    let [_, sm80, sm86, sm89, sm120, sm121] = ComputeCapability::RTX;
    [sm86, sm80, sm89, sm120, sm121, sm86]
};
/// The range that every rounded value gets: what comes out means nothing here.
const SCALE: f32 = 0.05;

/// The builder; `None`, told by name, where the library or the feature is not there.
#[expect(clippy::print_stdout, reason = "a test's output is for whoever reads why something was skipped")]
fn builder(test: &str) -> Option<Builder> {
    let library = usable::installed("tensorrt-rtx-", "libtensorrt_rtx.so");
    let reason = match library.map(|library| Builder::open(&library)) {
        Some(Ok(builder)) => return Some(builder),
        Some(Err(runtime::Error::LeftOut { .. })) => "compiled without the feature `tensorrt-rtx`".to_owned(),
        // Whoever installs the library wants it tested.
        Some(Err(error)) => panic!("{error}"),
        None => "`sightline runtime install tensorrt-rtx` was not run".to_owned(),
    };
    println!("skipped: {test}: {reason}");
    None
}

fn exported(name: &str) -> Exported {
    let folder = fixture(name);
    export(&folder, &options(&folder)).unwrap()
}

impl Case {
    /// The `form`th of six, each for a capability of its own.
    fn new(name: &str, exported: &Exported, form: usize) -> Self {
        let (precision, is_static) = (PRECISIONS[form % 3], form / 3 % 2 == 1);
        let mut model = exported.model.clone();
        if is_static {
            set_batch(&mut model, Batch::Fixed(2)).unwrap();
        }
        match precision {
            "fp16" => drop(convert_fp16(&mut model, &BTreeMap::new(), &HalfOptions::default()).unwrap()),
            "int8" => {
                let placement = Placement::new(&model, &PlacementOptions::default());
                let scales = placement.values.keys().map(|value| (value.clone(), SCALE)).collect();
                quantize(&mut model, &placement, &scales).unwrap();
            }
            _ => {}
        }
        let shape = |info: &graph::ValueInfo, batch: usize| -> Vec<usize> {
            info.shape.iter().flatten().map(|dim| dim.fixed().unwrap_or(batch)).collect()
        };
        let open = model.graph.inputs.iter().filter(|info| info.fixed_shape().is_none());
        let profile = |info: &graph::ValueInfo| Profile {
            tensor: info.name.clone(),
            min: shape(info, 1),
            opt: shape(info, 2),
            max: shape(info, 4),
        };
        let profiles: Vec<Profile> = open.map(profile).collect();
        assert_eq!(profiles.is_empty(), is_static, "{name}");
        let capability = CAPABILITIES[form];
        Self { name: name.to_owned(), model, precision, is_static, profiles, capability }
    }

    fn title(&self) -> String {
        let batch = if self.is_static { "static" } else { "dynamic" };
        format!("{} in {}, {batch} batch, for {}", self.name, self.precision, self.capability)
    }

    /// Parses, and builds into `folder` where that is wanted.
    fn run(&self, builder: &Builder, folder: &Path, is_built: bool) -> Result<(), runtime::Error> {
        let (onnx, engine) = (folder.join("model.onnx"), folder.join("model.engine"));
        let mut bytes = Vec::new();
        graph::onnx::write(&self.model, &mut bytes).unwrap();
        std::fs::write(&onnx, bytes).unwrap();
        let cancelled = Arc::new(AtomicBool::new(false));
        let build = Build {
            onnx: &onnx,
            graph: &self.model,
            engine: &engine,
            capabilities: &[self.capability],
            profiles: &self.profiles,
            workspace_mib: None,
            level: Some(0),
            cancelled: &cancelled,
        };
        if !is_built {
            return builder.parse(&build);
        }
        let printed = builder.build(&build)?;
        let plan = Plan::read(&std::fs::read(&engine).unwrap()).unwrap();
        assert_eq!(
            (plan.builder, plan.compute_capabilities),
            (PlanKind::TensorRtRtx, vec![self.capability]),
            "{}",
            self.title()
        );
        self.look(&EngineLayers::read(printed.layers.expect("layers are told").as_bytes()).unwrap());
        Ok(())
    }

    /// What the layers say has to be what was asked for.
    fn look(&self, layers: &EngineLayers) {
        let title = self.title();
        let share = |dtype: DataType| {
            layers.shares().iter().find(|share| share.dtype == dtype).map_or(0.0, |share| share.share)
        };
        let (dtype, least) = match self.precision {
            "fp16" => (DataType::F16, 0.5),
            "int8" => (DataType::I8, 0.25),
            _ => (DataType::F32, 0.9),
        };
        assert!(share(dtype) >= least, "{title}: {:?}", layers.shares());
        let input = &layers.inputs[0];
        assert_eq!(input.name, self.model.graph.inputs[0].name, "{title}");
        assert_eq!(input.shape[0], if self.is_static { 2 } else { -1 }, "{title}");
        let most: Vec<i64> = input.profiles.iter().map(|profile| profile.max[0]).collect();
        assert_eq!(most, if self.is_static { vec![] } else { vec![4] }, "{title}");
    }
}

/// The first fixture of each architecture, and every generation of Ultralytics' networks.
fn one_each() -> Vec<String> {
    let all = fixtures();
    let of = |architecture: &str| {
        let longer = format!("{architecture}-");
        let first = all.iter().find(|name| *name == architecture || name.starts_with(&longer));
        first.unwrap_or_else(|| panic!("no fixture for `{architecture}`")).clone()
    };
    let mut names: Vec<String> = architectures().into_iter().map(of).collect();
    names.extend(all.iter().filter(|name| name.starts_with("ultralytics-")).cloned());
    names.sort();
    names.dedup();
    names
}

#[test]
fn every_architecture_is_parsed_in_every_form() {
    let Some(builder) = builder("every_architecture_is_parsed_in_every_form") else { return };
    let folder = folder("parsed");
    for name in fixtures() {
        let exported = exported(&name);
        for form in 0..6 {
            let case = Case::new(&name, &exported, form);
            let parsed = case.run(&builder, &folder, false);
            assert!(parsed.is_ok(), "{}: {}", case.title(), parsed.unwrap_err());
        }
    }
}

#[test]
fn every_architecture_becomes_an_engine() {
    let Some(builder) = builder("every_architecture_becomes_an_engine") else { return };
    #[expect(clippy::disallowed_methods, reason = "a developer asks for all by it")]
    let is_all = std::env::var("SIGHTLINE_ENGINES").is_ok_and(|value| value == "all");
    let names = if is_all { fixtures() } else { one_each() };
    let folder = folder("built");
    let mut refused = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let exported = exported(name);
        // Every precision; the batch of each is open in one architecture and fixed in the next.
        let forms = (0..6).filter(|form| is_all || form / 3 == (at + form) % 2);
        for form in forms {
            let case = Case::new(name, &exported, form);
            let started = std::time::Instant::now();
            if let Err(error) = case.run(&builder, &folder, true) {
                refused.push(format!("{}: {error}", case.title()));
            }
            println!("{}: {:.2} s", case.title(), started.elapsed().as_secs_f64());
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
}

#[test]
fn a_refused_node_is_named_with_the_way_out() {
    let Some(builder) = builder("a_refused_node_is_named_with_the_way_out") else { return };
    let exported = exported("detr");
    let folder = folder("refused");
    let mut case = Case::new("detr", &exported, 0);
    let node = case.model.graph.nodes.iter_mut().find(|node| node.op_type == "Relu").unwrap();
    let name = node.name.clone();
    assert!(!name.is_empty());
    node.op_type = "Det".into();
    let error = case.run(&builder, &folder, true).unwrap_err();
    assert!(
        error.to_string().contains(&format!("refuses node `{name}` (Det): it has no such operator")),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--backend trtexec"));
    // Nor does every GPU take every type.
    let mut case = Case::new("detr", &exported, 0);
    case.capability = ComputeCapability::RTX[0];
    let error = case.run(&builder, &folder, true).unwrap_err();
    assert!(
        error.to_string().contains("no engine can be built with node `/")
            && error.to_string().contains("(MatMul)")
    );
    assert!(error.hint().unwrap().contains("Turing"), "{error}");
    // A type that does not fit: nothing is converted in silence.
    let mut case = Case::new("detr", &exported, 0);
    let floats = |case: &Case, input: &String| {
        case.model.graph.initializers.get(input).is_some_and(|tensor| tensor.dtype() == DataType::F32)
    };
    let mut sums = case.model.graph.nodes.iter().filter(|node| node.op_type == "Add");
    let bias = sums.find(|node| node.inputs.iter().any(|input| floats(&case, input))).unwrap().clone();
    let constant = bias.inputs.iter().find(|input| floats(&case, input)).unwrap();
    let tensor = &case.model.graph.initializers[constant];
    let half: Vec<half::f16> = tensor.to_f32().unwrap().into_iter().map(half::f16::from_f32).collect();
    let bytes: Vec<u8> = half.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = graph::Tensor::new(DataType::F16, tensor.shape().to_vec(), bytes.into()).unwrap();
    case.model.graph.initializers.insert(constant.clone(), tensor);
    let error = case.run(&builder, &folder, true).unwrap_err();
    assert!(error.to_string().contains(&format!("node `{}` (Add)", bias.name)), "{error}");
    assert!(error.hint().unwrap().contains("--fp16"), "{error}");
    assert!(!folder.join("model.engine").exists());
}

#[test]
fn a_build_is_called_off_between_its_steps() {
    let Some(builder) = builder("a_build_is_called_off_between_its_steps") else { return };
    let folder = folder("cancelled");
    let case = Case::new("detr", &exported("detr"), 0);
    let mut bytes = Vec::new();
    graph::onnx::write(&case.model, &mut bytes).unwrap();
    let (onnx, engine) = (folder.join("model.onnx"), folder.join("model.engine"));
    std::fs::write(&onnx, bytes).unwrap();
    let build = Build {
        onnx: &onnx,
        graph: &case.model,
        engine: &engine,
        capabilities: &ComputeCapability::RTX,
        profiles: &case.profiles,
        workspace_mib: Some(1024),
        level: None,
        cancelled: &Arc::new(AtomicBool::new(true)),
    };
    assert!(matches!(builder.build(&build), Err(runtime::Error::Cancelled)));
    assert!(!engine.exists());
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engines").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
