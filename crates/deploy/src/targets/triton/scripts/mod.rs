//! What is around the repository: the guide, the builder of engines, the clients.

use std::fmt::Write as _;

use detect::Detector;
use serde_json::{Map, Value, json};

use super::super::onnxruntime::{filled, program, python_detector};
use super::super::{DeliveredGraph, Deployment, Form, Graphs};
use super::config::max_batch;
use super::dali::ENCODED;
use super::{FOLDER, Listed, Options, SCRIPTS, Tier, Versions};
use crate::{Error, FileTree};

/// Adds the files.
pub(super) fn add(
    tree: &mut FileTree,
    deployment: &Deployment<'_>,
    models: &[Listed],
    options: &Options,
) -> Result<(), Error> {
    let graphs = deployment.graphs;
    let preferred = [Form::EndToEnd, Form::Plain].iter().find_map(|form| graphs.of(*form));
    let Some(graph) = preferred else { return Ok(()) };
    let unbuilt: Vec<&Listed> = models.iter().filter(|model| model.unbuilt.is_some()).collect();
    if !unbuilt.is_empty() {
        tree.add(format!("{FOLDER}/build.sh"), build(&unbuilt, models, graphs))?;
    }
    tree.add(format!("{FOLDER}/README.md"), readme(deployment, models, options))?;
    tree.add(format!("{SCRIPTS}/models.json"), models_json(models))?;
    let model = easiest(models).unwrap_or_default();
    let values = [("MODEL", model), ("DETECTOR", python_detector())];
    tree.add(format!("{SCRIPTS}/client.py"), filled(include_str!("client.py"), &values))?;
    let half = graph.detector.input.dtype == detect::ElementType::F16;
    let toml = filled(include_str!("Cargo.toml.in"), &[("HALF", if half { "half = \"2\"\n" } else { "" })]);
    tree.add(format!("{SCRIPTS}/rust/Cargo.toml"), toml)?;
    tree.add(format!("{SCRIPTS}/rust/src/main.rs"), rust(deployment, graph))?;
    Ok(())
}

/// The model that a client has the least to do for.
fn easiest(models: &[Listed]) -> Option<&str> {
    let takes = |wanted: &str| {
        let fits = |model: &&Listed| {
            model.detector.as_ref().is_some_and(|detector| takes(model, detector) == wanted)
        };
        models.iter().find(fits).map(|model| model.name.as_str())
    };
    takes("frames").or_else(|| takes("tensors"))
}

/// What a model is fed with.
fn takes(model: &Listed, detector: &Detector) -> &'static str {
    if model.name.ends_with("_ensemble") {
        ENCODED
    } else if detector.input.frames.is_some() {
        "frames"
    } else {
        "tensors"
    }
}

/// The description of every model, for the Python client.
fn models_json(models: &[Listed]) -> String {
    let described = models.iter().filter_map(|model| {
        let detector = model.detector.as_ref()?;
        Some((model.name.clone(), json!({"takes": takes(model, detector), "detector": detector})))
    });
    let map: Map<String, Value> = described.collect();
    format!("{:#}\n", Value::Object(map))
}

fn rust(deployment: &Deployment<'_>, graph: &DeliveredGraph) -> String {
    let half = graph.detector.input.dtype == detect::ElementType::F16;
    let output = "        \"FP16\" => bytes.as_chunks().0.iter().map(|two| half::f16::from_le_bytes(*two).to_f32()).collect(),\n";
    let values = [
        ("HALF_NUMBER", if half { "number!(half::f16, \"FP16\");\n" } else { "" }),
        ("HALF_OUTPUT", if half { output } else { "" }),
    ];
    let template = filled(include_str!("client.rs.in"), &values);
    let model = format!("{}{}", deployment.name, graph.form.suffix());
    program::assembled(&template, deployment.name, &model, &graph.detector)
}

/// One line an engine, and the ensemble that runs it then.
fn build(unbuilt: &[&Listed], models: &[Listed], graphs: &Graphs) -> String {
    let mut lines = String::new();
    for model in unbuilt {
        let (Some(source), Some(detector)) = (&model.unbuilt, &model.detector) else { continue };
        let graph = graphs.made.iter().find(|graph| graph.detector == *detector);
        let Some(graph) = graph else { continue };
        let shapes = shapes(graph, graphs.max_batch);
        let _ = writeln!(lines, "build {} {source}{shapes}", model.name);
        // Behind DALI the engine takes the place of the graph that it was built of.
        let ensemble =
            models.iter().find(|one| one.name.ends_with("_ensemble") && one.detector == model.detector);
        if let Some(ensemble) = ensemble {
            let _ = writeln!(lines, "behind_dali {source} {} {}", model.name, ensemble.name);
        }
    }
    filled(include_str!("build.sh.in"), &[("BUILDS", lines.trim_end())])
}

/// `trtexec`'s profile: from one image to the largest batch, quickest at half of it. A graph of fixed sizes needs none.
fn shapes(graph: &DeliveredGraph, verified: u32) -> String {
    let most = max_batch(graph, verified);
    if most == 0 {
        return String::new();
    }
    let profile = |which: &str, batch: u32| {
        let shape = |info: &graph::ValueInfo| {
            let rest = info.shape.iter().flatten().skip(1).map(|dim| dim.fixed().unwrap_or(1).to_string());
            let sides: Vec<String> = std::iter::once(batch.to_string()).chain(rest).collect();
            format!("{}:{}", info.name, sides.join("x"))
        };
        let shapes: Vec<String> = graph.inputs.iter().map(shape).collect();
        format!(" \\\n    '--{which}Shapes={}'", shapes.join(",").replace('\'', r"'\''"))
    };
    [("min", 1), ("opt", most.div_ceil(2)), ("max", most)]
        .map(|(which, batch)| profile(which, batch))
        .concat()
}

fn readme(deployment: &Deployment<'_>, models: &[Listed], options: &Options) -> String {
    let row = |model: &Listed| {
        let waiting = if model.unbuilt.is_some() { " (once `build.sh` has run)" } else { "" };
        format!("| `{}`{waiting} | {} |", model.name, model.about.replace('|', "\\|"))
    };
    let graphs = deployment.graphs;
    let most = graphs.of(Form::Plain).map_or(0, |graph| max_batch(graph, graphs.max_batch));
    let tier = |tier: Tier| {
        let batching = tier.dynamic_batching(most);
        let (sizes, delay) = batching.map_or(("-".to_owned(), "-".to_owned()), |batching| {
            let sizes = batching.scalars("preferred_batch_size").join(", ");
            let delay = batching.scalar("max_queue_delay_microseconds").unwrap_or_default();
            (sizes, format!("{delay} µs"))
        });
        format!("| {tier} | {sizes} | {delay} | {} |", tier.instances())
    };
    let build = if models.iter().any(|model| model.unbuilt.is_some()) {
        "    bash triton/build.sh        # on the target machine: TensorRT engines, once\n"
    } else {
        ""
    };
    let dali = if models.iter().any(|model| model.detector.is_none() && model.name.ends_with("_dali")) {
        " `_dali` and `_ensemble` need the DALI backend, which NVIDIA's containers for x86 hold; without it,\nstart with `--exit-on-error=false` or remove the two folders."
    } else {
        ""
    };
    filled(
        include_str!("README.md.in"),
        &[
            ("NAME", deployment.name.as_str()),
            ("MODELS", &models.iter().map(row).collect::<Vec<_>>().join("\n")),
            ("MAX_BATCH", &most.max(1).to_string()),
            ("TIER", options.tier.name()),
            ("TIERS", &Tier::ALL.map(tier).join("\n")),
            ("VERSIONS", &served(&options.versions)),
            ("DALI", dali),
            ("BUILD", build),
            ("SCRIPTS", SCRIPTS),
            ("CLIENT_MODEL", easiest(models).unwrap_or_default()),
        ],
    )
}

fn served(versions: &Versions) -> String {
    match versions {
        Versions::Latest(1) => "the newest version".into(),
        Versions::Latest(count) => format!("the {count} newest versions"),
        Versions::All => "every version".into(),
        Versions::Specific(versions) => {
            let versions: Vec<String> = versions.iter().map(u64::to_string).collect();
            format!("version {}", versions.join(", "))
        }
    }
}
