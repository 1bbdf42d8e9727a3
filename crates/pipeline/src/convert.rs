//! From what the steps found to the forms of the manifest and the measurements.

use deploy::report::PrecisionRecall;
use deploy::{
    Accuracy, ClassAccuracy, CocoMetrics, Dataset, Figure, Gpu, ImageTimes, Latency, Machine, Precision,
    StepRecord,
};

use crate::run::Taken;
use crate::steps::evaluate::Evaluation;
use crate::steps::measure::Figures;

pub(crate) fn step_record(taken: &Taken) -> StepRecord {
    StepRecord { name: taken.step.name.to_owned(), version: taken.step.version, key: taken.key.to_string() }
}

/// A score; pycocotools' −1 for "nothing to compute it from" becomes an absence.
fn score(value: f64) -> Option<f64> {
    (value >= 0.0).then_some(value)
}

pub(crate) fn accuracy(model: &str, evaluation: &Evaluation) -> Accuracy {
    let (found, scores) = (&evaluation.scores, &evaluation.scores.scores);
    let classes = found.classes.iter().map(|class| ClassAccuracy {
        id: class.label,
        map: score(class.map),
        ap50: score(class.ap50),
        objects: class.objects as u64,
    });
    Accuracy {
        subject: model.to_owned(),
        backend: evaluation.backend.clone(),
        dataset: Dataset {
            annotations: evaluation.annotations.clone(),
            sha256: evaluation.sha256.to_string(),
            images: found.images as u64,
            objects: found.objects as u64,
        },
        metrics: CocoMetrics {
            map: score(scores.map),
            ap50: score(scores.ap50),
            ap75: score(scores.ap75),
            ap_small: score(scores.ap_small),
            ap_medium: score(scores.ap_medium),
            ap_large: score(scores.ap_large),
            ar1: score(scores.ar1),
            ar10: score(scores.ar10),
            ar100: score(scores.ar100),
            ar_small: score(scores.ar_small),
            ar_medium: score(scores.ar_medium),
            ar_large: score(scores.ar_large),
        },
        classes: classes.collect(),
        change: None,
    }
}

/// The precision–recall curve, all classes together.
pub(crate) fn curves(evaluation: &Evaluation) -> Vec<PrecisionRecall> {
    let precision = &evaluation.scores.precision;
    let curve = PrecisionRecall { iou: Some(0.5), precision: precision.clone() };
    if precision.is_empty() { Vec::new() } else { vec![curve] }
}

pub(crate) fn machine(machine: &runtime::Machine, figures: Option<&Figures>) -> Machine {
    let gpus = machine.gpus.iter().map(|gpu| Gpu {
        name: gpu.name.clone(),
        memory_bytes: gpu.memory_mib.map(|mib| mib << 20),
        driver: Some(gpu.driver.clone()),
    });
    Machine {
        os: machine.os.clone(),
        cpu: machine.cpu.clone().unwrap_or_else(|| machine.architecture.clone()),
        cores: u32::try_from(machine.cores).unwrap_or(u32::MAX),
        memory_bytes: machine.memory_bytes,
        gpus: gpus.collect(),
        software: figures.map(|f| (f.backend.clone(), f.version.clone())).into_iter().collect(),
    }
}

pub(crate) fn figures(model: &str, precision: Precision, figures: &Figures) -> Vec<Figure> {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let figure = |latency: &runtime::Latency| Figure {
        backend: figures.backend.clone(),
        version: Some(figures.version.clone()),
        device: figures.device.clone(),
        artefact: model.to_owned(),
        precision,
        batch: count(latency.protocol.batch),
        threads: latency.protocol.threads.map(count),
        warm_up: count(latency.protocol.warm_up),
        count: count(latency.protocol.count),
        latency: Latency {
            min_ms: latency.min_ms,
            mean_ms: latency.mean_ms,
            p50_ms: latency.p50_ms,
            p90_ms: latency.p90_ms,
            p99_ms: latency.p99_ms,
        },
        images_per_second: latency.throughput,
    };
    figures.batches.iter().map(figure).collect()
}

pub(crate) fn image_times(figures: &Figures) -> ImageTimes {
    ImageTimes {
        backend: figures.backend.clone(),
        decode_ms: figures.image.decode_ms,
        preprocess_ms: figures.image.preprocess_ms,
        inference_ms: figures.image.inference_ms,
        postprocess_ms: figures.image.postprocess_ms,
        count: u32::try_from(figures.image.count).unwrap_or(u32::MAX),
    }
}
