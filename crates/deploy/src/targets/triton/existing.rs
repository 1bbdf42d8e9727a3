//! Whether a new version may join a model that is there.
//!
//! One configuration serves every version of a model, so they have to take and give the same.

use std::fmt;

use super::text_proto::Message;
use crate::Error;

/// What a configuration says a model is. What it leaves out the server finds out by itself, and fits anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKind {
    backend: Option<String>,
    is_batched: Option<bool>,
    max_batch: u32,
    inputs: Vec<Described>,
    outputs: Vec<Described>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Described {
    name: String,
    data_type: Option<String>,
    dims: Vec<String>,
}

/// The first thing in which two models differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    what: String,
    there: String,
    new: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, there, new } = self;
        write!(f, "its {what} is {there}, that of the new version is {new}")
    }
}

impl ModelKind {
    /// Reads `config.pbtxt`.
    ///
    /// # Errors
    /// [`Error::TextProto`].
    pub fn read(config: &str) -> Result<Self, Error> {
        Ok(Self::of(&Message::parse(config)?))
    }

    /// What a configuration says.
    pub fn of(config: &Message) -> Self {
        let platform =
            config.scalar("platform").filter(|text| !text.is_empty()).map(|platform| match platform {
                "onnxruntime_onnx" => "onnxruntime",
                "tensorrt_plan" => "tensorrt",
                "pytorch_libtorch" => "pytorch",
                other => other,
            });
        let backend = config.scalar("backend").filter(|text| !text.is_empty()).or(platform);
        let max_batch = config.scalar("max_batch_size");
        let tensors = |name| {
            let mut all: Vec<Described> = config.messages(name).into_iter().map(described).collect();
            all.sort();
            all
        };
        Self {
            backend: backend.map(str::to_owned),
            is_batched: max_batch.map(|size| size != "0"),
            max_batch: max_batch.and_then(|size| size.parse().ok()).unwrap_or(0),
            inputs: tensors("input"),
            outputs: tensors("output"),
        }
    }

    /// Why a version of the other kind cannot be one of this model.
    pub fn difference(&self, new: &Self) -> Option<Difference> {
        let differ =
            |what: &str, there: String, new: String| Some(Difference { what: what.to_owned(), there, new });
        if let (Some(there), Some(new)) = (&self.backend, &new.backend)
            && there != new
        {
            return differ("backend", there.clone(), new.clone());
        }
        if let (Some(there), Some(new)) = (self.is_batched, new.is_batched)
            && there != new
        {
            let word = |batched: bool| if batched { "batches" } else { "single requests" };
            return differ("way of batching", word(there).to_owned(), word(new).to_owned());
        }
        // An engine takes no larger batch than it was built for.
        if self.backend.as_deref() == Some("tensorrt") && self.max_batch > new.max_batch {
            return differ("largest batch", self.max_batch.to_string(), new.max_batch.to_string());
        }
        for (what, there, new) in
            [("inputs", &self.inputs, &new.inputs), ("outputs", &self.outputs, &new.outputs)]
        {
            if !there.is_empty() && !fits(there, new) {
                return differ(what, listed(there), listed(new));
            }
        }
        None
    }
}

fn described(tensor: &Message) -> Described {
    let scalar = |name| tensor.scalar(name).map(str::to_owned);
    Described {
        name: scalar("name").unwrap_or_default(),
        data_type: scalar("data_type"),
        dims: tensor.scalars("dims").into_iter().map(str::to_owned).collect(),
    }
}

fn fits(there: &[Described], new: &[Described]) -> bool {
    let same = |(a, b): (&Described, &Described)| {
        let size = |(a, b): (&String, &String)| a == b || a == "-1";
        let dims =
            a.dims.is_empty() || (a.dims.len() == b.dims.len() && a.dims.iter().zip(&b.dims).all(size));
        a.name == b.name && (a.data_type.is_none() || a.data_type == b.data_type) && dims
    };
    there.len() == new.len() && there.iter().zip(new).all(same)
}

fn listed(tensors: &[Described]) -> String {
    let one = |tensor: &Described| {
        let data_type = tensor.data_type.as_deref().unwrap_or("?");
        format!("`{}` {data_type} [{}]", tensor.name, tensor.dims.join(", "))
    };
    tensors.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: &str = r#"platform: "onnxruntime_onnx" max_batch_size: 8
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ] output { name: "y" data_type: TYPE_FP32 dims: 4 }"#;

    #[test]
    fn what_is_left_out_fits_and_what_differs_is_named() {
        let there = ModelKind::read(THERE).unwrap();
        let new = r#"backend: "onnxruntime" max_batch_size: 4
            input { name: "x" data_type: TYPE_FP32 dims: [ 3, 64, 64 ] } output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }"#;
        let difference = |there: &ModelKind, new: &str| {
            there.difference(&ModelKind::read(new).unwrap()).map(|difference| difference.to_string())
        };
        assert_eq!(difference(&there, new), None);
        assert_eq!(difference(&ModelKind::read("").unwrap(), new), None);
        for (from, to, word) in [
            ("onnxruntime", "tensorrt", "backend"),
            ("size: 4", "size: 0", "batching"),
            ("\"x\"", "\"z\"", "inputs"),
            ("dims: [ 4 ]", "dims: [ 5 ]", "outputs"),
            ("TYPE_FP32 dims: [ 4 ]", "TYPE_FP16 dims: [ 4 ]", "outputs"),
        ] {
            let found = difference(&there, &new.replace(from, to)).unwrap();
            assert!(found.contains(word), "{found}");
        }
        let engine = ModelKind::read(&THERE.replace("onnxruntime_onnx", "tensorrt_plan")).unwrap();
        let smaller = new.replace("onnxruntime", "tensorrt");
        assert!(difference(&engine, &smaller).unwrap().contains("largest batch"));
    }
}
