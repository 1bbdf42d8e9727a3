//! NVIDIA Triton: a model repository, written from what the graphs really take and give.
//!
//! `triton/` is the repository itself: every folder in it is a model that loads, because a server does not start beside one
//! that does not. So a model whose engine is not there yet is a file `<model>.pbtxt` (a server looks at folders only) until
//! `build.sh` has built the engine on the target machine. Layout and fields: `docs/user_guide/model_repository.md` and
//! `model_configuration.md` of the server's documentation.

mod batching;
mod config;
mod dali;
mod ensemble;
mod existing;
mod interface;
mod scripts;
mod text_proto;
mod versions;

use detect::Detector;

pub use batching::Tier;
pub use existing::{Difference, ModelKind};
pub use text_proto::Message;
pub use versions::Versions;

use super::{DeliveredGraph, Deployment, Form, Graphs, Target};
use crate::{Error, FileTree, PackageName};

/// The target `triton`.
pub(super) struct Triton;

/// The folder in the package, which is the repository.
pub const FOLDER: &str = "triton";
/// The folder of the clients.
const SCRIPTS: &str = "scripts/triton";
/// The file of class names in a model's folder.
const LABELS: &str = "labels.txt";
/// The first line of every configuration.
const HEADER: &str = "# Written by Sightline from the inputs and outputs of the graph itself.\n";

/// What can be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which traffic `config.pbtxt` is made for; the other tiers lie beside it, in `configs/`.
    pub tier: Tier,
    /// Which versions the server loads.
    pub versions: Versions,
}

impl Target for Triton {
    fn name(&self) -> &'static str {
        FOLDER
    }

    fn about(&self) -> &'static str {
        "A model repository: ONNX and TensorRT, plain, end to end and with preprocessing (in the graph, or by DALI)."
    }

    fn forms(&self) -> &'static [Form] {
        &[Form::Plain, Form::EndToEnd, Form::Raw]
    }

    fn render(&self, deployment: &Deployment<'_>) -> Result<FileTree, Error> {
        render(deployment, &Options::default())
    }
}

/// The repository and the programs around it.
///
/// # Errors
/// [`Error::NoGraph`] without the plain graph, [`Error::Tensor`] for an input or output that Triton has no type or no shape
/// for.
pub fn render(deployment: &Deployment<'_>, options: &Options) -> Result<FileTree, Error> {
    let Deployment { name, graphs, model, .. } = *deployment;
    if graphs.of(Form::Plain).is_none() {
        return Err(Error::NoGraph { target: FOLDER, model: model.to_owned() });
    }
    let mut tree = FileTree::new();
    let mut models = Vec::new();
    for graph in &graphs.made {
        models.push(onnx(&mut tree, name, graph, graphs, options)?);
        if graph.form != Form::Raw {
            models.push(engine(&mut tree, name, graph, graphs, options)?);
        }
    }
    match dali::plan(graphs) {
        Ok(plan) => {
            models.push(dali::add(&mut tree, name, &plan, options)?);
            models.push(ensemble::add(&mut tree, name, &plan, options)?);
        }
        Err(reason) => models.push(Listed::refused(format!("{name}_dali, {name}_ensemble"), &reason)),
    }
    for (form, reason) in &graphs.refused {
        models.push(Listed::refused(format!("{name}{}", form.suffix()), reason));
    }
    scripts::add(&mut tree, deployment, &models, options)?;
    Ok(tree)
}

/// A model as the README lists it.
struct Listed {
    name: String,
    /// What it is.
    about: String,
    /// The description of what it takes and gives; `None` for one that is not there.
    detector: Option<Detector>,
    /// The ONNX file that its engine has to be built from, where that is still to do.
    unbuilt: Option<String>,
}

impl Listed {
    fn refused(name: String, reason: &str) -> Self {
        Self { name, about: format!("not here: {reason}"), detector: None, unbuilt: None }
    }
}

/// What the pieces of a model's name mean.
fn about(form: Form) -> &'static str {
    match form {
        Form::Plain => "the network: tensors in, its own outputs out",
        Form::EndToEnd => "the network with suppression in the graph: tensors in, detections out",
        Form::Raw => "frames in (RGB bytes of any size), detections in pixels of the frame out",
    }
}

/// The ONNX model of a form.
fn onnx(
    tree: &mut FileTree,
    name: &PackageName,
    graph: &DeliveredGraph,
    graphs: &Graphs,
    options: &Options,
) -> Result<Listed, Error> {
    let model = format!("{name}{}", graph.form.suffix());
    tree.add_same_as(format!("{FOLDER}/{model}/1/model.onnx"), &graph.path)?;
    let network = config::Network {
        name: &model,
        graph,
        max_batch: graphs.max_batch,
        runs_on: config::RunsOn::OnnxRuntime,
    };
    add_configs(tree, &model, options, |tier| network.message(tier))?;
    if let Some(accelerated) = network.accelerated(options.tier)? {
        tree.add(config_path(&model, Some("tensorrt")), written(&accelerated, options))?;
    }
    tree.add(format!("{FOLDER}/{model}/{LABELS}"), graph.detector.labels.to_lines())?;
    let about = format!("ONNX Runtime; {}", about(graph.form));
    Ok(Listed { name: model, about, detector: Some(graph.detector.clone()), unbuilt: None })
}

/// The TensorRT model of a form: a folder with its engine, or files for `build.sh`.
fn engine(
    tree: &mut FileTree,
    name: &PackageName,
    graph: &DeliveredGraph,
    graphs: &Graphs,
    options: &Options,
) -> Result<Listed, Error> {
    let source = format!("{name}{}", graph.form.suffix());
    let model = engine_name(name, graph.form);
    let network = config::Network {
        name: &model,
        graph,
        max_batch: graphs.max_batch,
        runs_on: config::RunsOn::TensorRt,
    };
    let about = format!("TensorRT; {}", about(graph.form));
    let listed = Listed { name: model.clone(), about, detector: Some(graph.detector.clone()), unbuilt: None };
    if let Some(path) = &graph.engine {
        tree.add_same_as(format!("{FOLDER}/{model}/1/model.plan"), path)?;
        tree.add(format!("{FOLDER}/{model}/{LABELS}"), graph.detector.labels.to_lines())?;
        add_configs(tree, &model, options, |tier| network.message(tier))?;
        return Ok(listed);
    }
    for tier in Tier::ALL {
        let config = written(&network.message(tier)?, options);
        let part = if tier == options.tier { String::new() } else { format!(".{tier}") };
        tree.add(format!("{FOLDER}/{model}{part}.pbtxt"), config)?;
    }
    Ok(Listed { unbuilt: Some(source), ..listed })
}

/// Where the engine of a form lies in the package once `build.sh` has run.
pub fn engine_path(name: &PackageName, form: Form) -> String {
    format!("{FOLDER}/{}/1/model.plan", engine_name(name, form))
}

/// `<name>_trt`, `<name>_trt_end2end`.
fn engine_name(name: &PackageName, form: Form) -> String {
    format!("{name}_trt{}", form.suffix())
}

/// `config.pbtxt` of the chosen tier, the others in `configs/`, where `--model-config-name=TIER` finds them.
fn add_configs(
    tree: &mut FileTree,
    model: &str,
    options: &Options,
    message: impl Fn(Tier) -> Result<Message, Error>,
) -> Result<(), Error> {
    for tier in Tier::ALL {
        let name = (tier != options.tier).then(|| tier.name());
        tree.add(config_path(model, name), written(&message(tier)?, options))?;
    }
    Ok(())
}

fn config_path(model: &str, alternative: Option<&str>) -> String {
    match alternative {
        None => format!("{FOLDER}/{model}/config.pbtxt"),
        Some(name) => format!("{FOLDER}/{model}/configs/{name}.pbtxt"),
    }
}

fn written(message: &Message, options: &Options) -> String {
    let message = message.clone().message("version_policy", options.versions.message());
    format!("{HEADER}{message}")
}
