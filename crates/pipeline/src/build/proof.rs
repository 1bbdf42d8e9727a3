//! What is shown of an engine: that it computes with the numbers its name says, and that it answers as its graph does.

use std::path::Path;
use std::sync::Arc;

use deploy::{Bound, Check, LayerShare, Precision};
use graph::{DataType, EngineLayers};
use runtime::tools::trtexec::EngineSession;

use super::job::Work;
use super::make::{Made, Maker};
use super::source::Source;
use crate::network::Network;
use crate::run::{Event, Run};
use crate::steps::{BUILD, verify};
use crate::{Blob, Error};

/// Shares of the layers that have to compute in a precision, for its name to be true. A builder may leave single layers in
/// more bits where that is faster; below this it has ignored what it was asked for.
const FP32_SHARE: f64 = 0.9;
const FP16_SHARE: f64 = 0.5;
const INT8_SHARE: f64 = 0.25;

/// Types of eight bits, and of sixteen or fewer.
const EIGHT: &[DataType] = &[DataType::I8, DataType::F8E4M3Fn];
const HALF: &[DataType] = &[DataType::F16, DataType::Bf16, DataType::I8, DataType::F8E4M3Fn];

/// What the layers say.
pub(super) struct Precisions {
    pub(super) shares: Vec<LayerShare>,
    /// The precision read back.
    pub(super) found: Precision,
    pub(super) check: Check,
}

impl Maker<'_> {
    /// Compares the engine's answers with those of the fp32 graph on real images, at batch 1, in between and at the maximum.
    pub(super) fn parity(&self, run: &Run<'_>, made: &Made, name: &str) -> Result<Vec<Check>, Error> {
        let work = Work(run.store.temporary_folder()?);
        let source = self.job.source;
        let engine = run.store.path(&made.engine);
        let session = EngineSession {
            trtexec: self.trtexec.clone(),
            engine: engine.clone(),
            inputs: source.model.graph.inputs.clone(),
            outputs: source.model.graph.outputs.clone(),
            folder: work.0.clone(),
            plugins: self.job.options.plugins.clone(),
            device: self.processor.device,
            cancelled: Arc::clone(self.job.cancelled),
        };
        let subject = self.compared(source, name, &engine, made.batches.max);
        let bounds = self.job.options.bounds.of(self.job.options.precision);
        let images = self.job.options.images.first(self.job.options.limit);
        let progress =
            |done, total| run.tell(Event::Progress { step: BUILD.name, unit: "runs", done, total });
        run.tell(Event::Note { step: BUILD.name, message: "comparing its answers with those of the graph" });
        let smallest = self.job.shapes.fixed_batch.unwrap_or(made.batches.min);
        let load = || Ok(Network::of(super::rows::session(session, smallest), &source.detector));
        verify::compare(&subject, load, &images, &bounds, &progress)
    }

    fn compared<'s>(
        &'s self,
        source: &'s Source,
        name: &'s str,
        engine: &'s Path,
        max: u32,
    ) -> verify::Subject<'s> {
        verify::Subject {
            exact: &self.job.place.subject.onnx,
            source: &self.job.place.subject.detector,
            delivered: engine,
            detector: &source.detector,
            name,
            backend: &self.job.options.reference,
            max_batch: max as usize,
            claims: None,
        }
    }
}

/// Reads the precision back from the layers.
pub(super) fn precisions(
    run: &Run<'_>,
    layers: Option<&Blob>,
    wanted: Precision,
    name: &str,
) -> Result<Precisions, Error> {
    let layers = match layers {
        Some(blob) => {
            let path = run.store.path(blob);
            let bytes = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
            Some(EngineLayers::read(&bytes)?)
        }
        None => None,
    };
    Ok(read_back(layers.as_ref(), wanted, name))
}

fn read_back(layers: Option<&EngineLayers>, wanted: Precision, name: &str) -> Precisions {
    let shares = layers.map(EngineLayers::shares).unwrap_or_default();
    let of = |types: &[DataType]| -> f64 {
        shares.iter().filter(|share| types.contains(&share.dtype)).map(|share| share.share).sum()
    };
    let (title, share, least) = match wanted {
        Precision::Fp32 => ("float32", of(&[DataType::F32]), FP32_SHARE),
        Precision::Fp16 => ("float16 or less", of(HALF), FP16_SHARE),
        Precision::Int8 => ("int8", of(EIGHT), INT8_SHARE),
    };
    let title = format!("share of the layers in {title}");
    let listed = shares
        .iter()
        .map(|share| LayerShare {
            dtype: share.dtype.to_string(),
            layers: u32::try_from(share.layers).unwrap_or(u32::MAX),
            share: share.share,
        })
        .collect();
    if shares.is_empty() {
        let check = Check::not_run(&title, name, "the layers do not say what they compute with");
        return Precisions { shares: listed, found: wanted, check };
    }
    let found = match () {
        () if of(EIGHT) >= INT8_SHARE => Precision::Int8,
        () if of(HALF) >= FP16_SHARE => Precision::Fp16,
        () => Precision::Fp32,
    };
    let check = Check::of(&title, name, share, Bound::AtLeast(least), "");
    Precisions { shares: listed, found, check }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploy::Verdict;

    fn layers(types: &[(&str, usize)]) -> EngineLayers {
        let layer = |kind: &str| {
            format!(r#"{{"Name":"c","LayerType":"Conv","Weights":{{"Type":"{kind}","Count":9}}}}"#)
        };
        let all: Vec<String> = types.iter().flat_map(|(kind, count)| vec![layer(kind); *count]).collect();
        EngineLayers::read(format!(r#"{{"Layers":[{}],"Bindings":[]}}"#, all.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn an_engine_is_called_what_it_is() {
        let cases = [
            (vec![("Half", 9), ("Float", 1)], Precision::Fp16, Precision::Fp16, true),
            // Asked for fp16, and built in fp32: the mistake that PASSED does not show.
            (vec![("Float", 10)], Precision::Fp16, Precision::Fp32, false),
            (vec![("Float", 10)], Precision::Fp32, Precision::Fp32, true),
            (vec![("Half", 9), ("Float", 1)], Precision::Fp32, Precision::Fp16, false),
            (vec![("Int8", 6), ("Half", 4)], Precision::Int8, Precision::Int8, true),
            (vec![("Half", 10)], Precision::Int8, Precision::Fp16, false),
        ];
        for (types, wanted, found, passes) in cases {
            let read = read_back(Some(&layers(&types)), wanted, "e");
            assert_eq!(
                (read.found, read.check.verdict == Verdict::Pass),
                (found, passes),
                "{types:?} {wanted}"
            );
        }
        let names = EngineLayers::read(br#"{"Layers":["a"],"Bindings":[]}"#).unwrap();
        for silent in [None, Some(&names)] {
            assert!(matches!(read_back(silent, Precision::Fp16, "e").check.verdict, Verdict::NotRun { .. }));
        }
    }
}
