//! What the library says when it refuses a graph, in the words of the graph.

use std::fmt;
use std::path::PathBuf;

use graph::{Model, Node};

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it failed.
    pub stage: Stage,
    /// The node that it is about, where the library names one.
    pub node: Option<FailedNode>,
    /// The library's words.
    pub reason: String,
    /// Where everything that it said was kept.
    pub log: Option<PathBuf>,
}

/// When a build failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// While the graph was read.
    Parsing,
    /// While the engine was built.
    Building,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedNode {
    /// Its name, or its first output where it has none.
    pub name: String,
    /// Its operator.
    pub op: String,
}

/// How much a message of the library weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Error,
    Warning,
    Info,
    Verbose,
}

/// A message of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) weight: Weight,
    pub(super) text: String,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => 'E',
            Weight::Warning => 'W',
            Weight::Info => 'I',
            Weight::Verbose => 'V',
        };
        writeln!(f, "[{weight}] {}", self.text)
    }
}

/// Said wherever there is no driver, and no cause of anything.
const NO_DRIVER: &str = "catchCudaError";

impl Failure {
    /// The parser refused the graph.
    pub(super) fn parsing(messages: &[Message], graph: &Model) -> Self {
        let header = messages.iter().find_map(|message| Header::read(&message.text));
        let name =
            messages.iter().find_map(|message| message.text.split_once("Node name: ")).map(|(_, name)| name);
        let node = header.map(|header| {
            let own = graph
                .graph
                .nodes
                .iter()
                .find(|node| node.outputs.iter().any(|output| output == header.output));
            let told = name.and_then(|name| name.lines().next()).filter(|name| !name.is_empty());
            let unknown =
                || FailedNode { name: told.unwrap_or(header.output).to_owned(), op: header.op.to_owned() };
            own.map_or_else(unknown, FailedNode::of)
        });
        let last = messages.iter().rev().find_map(|message| message.text.split_once("ERROR: "));
        let body = last.and_then(|(_, text)| text.split_once('\n')).map(|(_, body)| body);
        let first_error = || errors(messages).next().unwrap_or("it said nothing");
        let reason = reason(body.unwrap_or_else(first_error), node.as_ref());
        Self { stage: Stage::Parsing, node, reason, log: None }
    }

    /// The builder gave no engine; `error` is all that its caller is told.
    pub(super) fn building(messages: &[Message], graph: &Model, error: &str) -> Self {
        let said = errors(messages).find(|text| text.contains("Error")).unwrap_or(error);
        let named = graph.graph.nodes.iter().filter(|node| mentions(said, &node.name));
        let node = named.max_by_key(|node| node.name.len()).map(FailedNode::of);
        let reason = reason(said, node.as_ref());
        Self { stage: Stage::Building, node, reason, log: None }
    }

    /// What helps.
    pub fn hint(&self) -> &'static str {
        let op = self.node.as_ref().map_or("", |node| node.op.as_str());
        if op == "EfficientNMS_TRT" {
            "it has no plug-ins: `sightline optimize MODEL --suppress-in-graph onnx` writes suppression with ONNX's own \
             operator; `--backend trtexec` has the plug-in"
        } else if self.reason.contains("Turing") {
            "Turing (7.5) multiplies no matrices in float32 with this TensorRT: build for 8.0 and later, or with `--backend trtexec`"
        } else if self.reason.contains("same input types") || self.reason.contains("types") {
            "it takes every type from the graph as it is: float16 is made by `sightline optimize MODEL --fp16`, eight bits by \
             `sightline quantize MODEL --calibrate DIR`"
        } else if self.reason.contains("compute capability") {
            "choose others with `--compute-capability`; `--backend trtexec` builds for every GPU that it runs on"
        } else {
            "replace that part in the model and export it again, or build with `--backend trtexec`, which has operators and \
             plug-ins of its own"
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Parsing => "the parser refuses",
            Stage::Building => "no engine can be built with",
        };
        match &self.node {
            Some(node) => write!(f, "{stage} node `{}` ({}): {}", node.name, node.op, self.reason)?,
            None => write!(f, "{stage} the graph: {}", self.reason)?,
        }
        match &self.log {
            Some(log) => write!(f, " (`{}`)", log.display()),
            None => Ok(()),
        }
    }
}

impl FailedNode {
    fn of(node: &Node) -> Self {
        let output = node.outputs.first().map_or("", String::as_str);
        let name = if node.name.is_empty() { output } else { &node.name };
        Self { name: name.to_owned(), op: node.op_type.clone() }
    }
}

/// `While parsing node number 1 [Det -> "d"]:`.
struct Header<'a> {
    op: &'a str,
    output: &'a str,
}

impl<'a> Header<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (_, rest) = text.split_once("While parsing node number ")?;
        let (op, rest) = rest.split_once('[')?.1.split_once(" -> \"")?;
        Some(Self { op, output: rest.split_once('"')?.0 })
    }
}

/// What was said of errors, but for the missing driver.
fn errors(messages: &[Message]) -> impl Iterator<Item = &str> {
    let errors = messages.iter().filter(|message| message.weight == Weight::Error);
    errors.map(|message| message.text.as_str()).filter(|text| !text.contains(NO_DRIVER))
}

/// Whether a name stands in the text, not as part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_./".contains(c);
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut behind = text[at + name.len()..].chars();
            let ends = match behind.next() {
                Some('.') => behind.next().is_none_or(char::is_whitespace),
                Some(next) => !is_part(next),
                None => true,
            };
            ends && before.is_none_or(|c| !is_part(c))
        })
}

/// One sentence of the library without its own function names, codes and source files.
fn reason(text: &str, node: Option<&FailedNode>) -> String {
    let lines = text.lines().filter(|line| !line.contains(NO_DRIVER));
    let lines: Vec<&str> =
        lines.map(without_code).filter(|line| !line.starts_with("Invalid Node - ")).collect();
    let text = lines.join(" ");
    if text == "false" || text.contains("Plugin not found") {
        return "it has no such operator".into();
    }
    // `ITensor::getDimensions: Error Code 4: API Usage Error (WORDS In validate at /_src/…:192)`.
    let text = match text.split_once("Error Code ").and_then(|(_, rest)| rest.split_once(" (")) {
        Some((_, inner)) => inner,
        None => &text,
    };
    let text = text.split(" In ").next().unwrap_or(text);
    let text = text.strip_prefix('[').and_then(|text| text.split_once("] ")).map_or(text, |(_, rest)| rest);
    let text = match node.and_then(|node| text.strip_prefix(&node.name)) {
        Some(rest) => rest.trim_start_matches([':', ' ']),
        None => text,
    };
    text.trim_start_matches("Assertion failed: ").trim().trim_end_matches(['.', ':']).to_owned()
}

/// `[6] WORDS` without the number.
fn without_code(line: &str) -> &str {
    let code = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    code.filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit())).map_or(line, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &[(&str, &str, &str)]) -> Model {
        let mut model = Model::default();
        model.graph.nodes = nodes
            .iter()
            .map(|(name, op, output)| Node {
                name: (*name).into(),
                op_type: (*op).into(),
                outputs: vec![(*output).into()],
                ..Node::default()
            })
            .collect();
        model
    }

    fn errors_of(texts: &[&str]) -> Vec<Message> {
        let message = |text: &&str| Message { weight: Weight::Error, text: (*text).to_owned() };
        texts.iter().map(message).collect()
    }

    // As TensorRT for RTX 1.7.1 says them on a machine without a driver.
    const DRIVER: &str = "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at \
                          /_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient))";
    const BEGIN: &str = "ModelImporter.cpp:142: --- Begin node ---\nNode name: ";
    const END: &str = "ModelImporter.cpp:143: --- End node ---";

    #[test]
    fn a_refused_node_is_named_as_the_graph_names_it() {
        let graph = graph(&[("backbone.relu", "Relu", "r"), ("head.det", "Det", "d"), ("", "MatMul", "y")]);
        let cases = [
            (
                vec![
                    "ModelImporter.cpp:140: While parsing node number 1 [Det -> \"d\"]:".to_owned(),
                    format!("{BEGIN}head.det"),
                    END.into(),
                    "ModelImporter.cpp:151: ERROR: onnxOpCheckers.cpp:1130 In function checkDet:\n[8] false".into(),
                ],
                "the parser refuses node `head.det` (Det): it has no such operator",
            ),
            (
                vec![
                    DRIVER.into(),
                    "ModelImporter.cpp:140: While parsing node number 0 [MatMul -> \"y\"]:".into(),
                    format!("{BEGIN}onnx_graphsurgeon_node_0"),
                    END.into(),
                    format!(
                        "ModelImporter.cpp:151: ERROR: ModelImporter.cpp:489 In function parseNode:\n[6] Invalid Node - y\n\
                         ITensor::getDimensions: Error Code 4: API Usage Error (y: last dimension of input0 = 32 and second to \
                         last dimension of input1 = 31 but must match. In validate at /_src/optimizer/matrix.cpp:192)\n{DRIVER}"
                    ),
                ],
                "the parser refuses node `y` (MatMul): last dimension of input0 = 32 and second to last dimension of input1 = \
                 31 but must match",
            ),
            (
                vec![
                    "(deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed: Failed to parse the ONNX model."
                        .into(),
                ],
                "the parser refuses the graph: (deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed: Failed to \
                 parse the ONNX model",
            ),
            (vec![], "the parser refuses the graph: it said nothing"),
        ];
        for (texts, expected) in cases {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let failure = Failure::parsing(&errors_of(&texts), &graph);
            assert_eq!(failure.to_string(), expected);
        }
    }

    #[test]
    fn a_build_that_fails_names_the_longest_node_that_is_mentioned() {
        let graph = graph(&[("head", "Add", "a"), ("head.conv", "Conv", "b"), ("head.conv1", "Conv", "c")]);
        let text = "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation for \
                    node head.conv. In computeCosts at /_src/optimizer/cost.cpp:1)";
        let failure = Failure::building(&errors_of(&[DRIVER, text]), &graph, "no engine");
        assert_eq!(
            failure.to_string(),
            "no engine can be built with node `head.conv` (Conv): Could not find any implementation for node head.conv"
        );
        let text = "[pass.cpp:337: check_turing_op_compatibility] Cannot compile operation 'head.conv1' for Turing (SM75): FP32 \
                    GEMM is not supported Error";
        let failure = Failure::building(&errors_of(&[DRIVER, text]), &graph, "no engine");
        assert!(
            failure.to_string().starts_with(
                "no engine can be built with node `head.conv1` (Conv): Cannot compile operation"
            ),
            "{failure}"
        );
        let failure = Failure::building(&errors_of(&[DRIVER]), &graph, "no engine");
        assert_eq!(failure.to_string(), "no engine can be built with the graph: no engine");
    }

    #[test]
    fn each_kind_of_refusal_has_its_way_out() {
        let failure = |op: &str, reason: &str| Failure {
            stage: Stage::Parsing,
            node: Some(FailedNode { name: "n".into(), op: op.into() }),
            reason: reason.into(),
            log: None,
        };
        assert!(failure("EfficientNMS_TRT", "").hint().contains("--suppress-in-graph onnx"));
        let types =
            "ElementWiseOperation SUM must have same input types. But they are of types Float and Half";
        assert!(failure("Add", types).hint().contains("--fp16"));
        assert!(
            failure("MatMul", "for Turing (SM75): FP32 GEMM is not supported")
                .hint()
                .contains("8.0 and later")
        );
        assert!(failure("Det", "it has no such operator").hint().contains("--backend trtexec"));
    }
}
