//! Packages to report on: one measured on a plain machine, one with TensorRT and `DeepStream` figures besides.
//!
//! The figures are made up for the tests; only their forms are real.

use std::collections::BTreeMap;
use std::io::Cursor;

use deploy::report::{Command, PrecisionRecall, ReportData, Sample};
use deploy::{
    Accuracy, Artefact, Bound, Capture, CaptureMode, Check, ClassAccuracy, CocoMetrics, Dataset, DeepStream,
    Engine, EngineBuild, Figure, Gpu, ImageTimes, Latency, LayerShare, Licence, Machine, Manifest,
    Measurements, Precision, Retry, Source, SourceFile, StepRecord, StepTime, StreamRun, TensorRt, Tool,
    TrtexecRun,
};
use detect::{
    Activation, ChannelOrder, Detector, ElementType, Filter, Head, ImageInput, Labels, Resize, Selection,
};

const LABELS: &str = "circle\nsquare\ntriangle\nstar\nhexagon\ncross\nring\narrow\n";

/// An RT-DETRv2 of 320 × 320 pixels and eight classes.
pub(crate) fn detector() -> Detector {
    Detector::new(
        "rt_detr_v2",
        Labels::from_lines(LABELS).expect("eight names"),
        ImageInput {
            tensor: "pixel_values".into(),
            width: 320,
            height: 320,
            channels: ChannelOrder::Rgb,
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            antialias: true,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            dtype: ElementType::F32,
            mask: None,
            image_size: None,
            frames: None,
        },
        Head::queries(Activation::Sigmoid, Selection::TopK { count: 100 }),
    )
}

fn digest(seed: u8) -> String {
    let byte = |n: u8| n.wrapping_mul(37).wrapping_add(seed.wrapping_mul(91));
    (0..32).fold(String::new(), |text, n| format!("{text}{:02x}", byte(n)))
}

/// What a plain machine records.
pub(crate) fn plain() -> ReportData {
    let commands = [(
        "Import",
        "sightline import examples/shapes-rtdetr --annotations examples/shapes-rtdetr/val/instances.json \
         --images examples/shapes-rtdetr/val/images",
    )];
    ReportData {
        manifest: manifest(),
        measurements: measurements(),
        curves: [(None, 0.72), (Some(0.5), 0.9), (Some(0.75), 0.83)]
            .map(|(iou, knee)| PrecisionRecall { iou, precision: curve(knee) })
            .into(),
        samples: (0..6)
            .map(|n| Sample {
                path: format!("samples/00000{n}.jpg"),
                image: format!("00000{n}.jpg"),
                detections: 3 + n,
                objects: Some(3 + n - n % 2),
            })
            .collect(),
        commands: commands
            .map(|(purpose, line)| Command { purpose: purpose.into(), line: line.into() })
            .into(),
    }
}

fn curve(knee: f64) -> Vec<f64> {
    (0..=100)
        .map(|n| {
            let recall = f64::from(n) / 100.0;
            (1.0 - 0.04 * recall - ((recall - knee).max(0.0) / (1.02 - knee)).powi(2)).max(0.0)
        })
        .collect()
}

fn manifest() -> Manifest {
    let model = |path: &str, seed, bytes, precision| Artefact {
        path: path.into(),
        sha256: digest(seed),
        bytes,
        precision: Some(precision),
        opset: Some(17),
    };
    Manifest {
        schema: Manifest::SCHEMA,
        tool: Tool { name: "sightline".into(), version: "0.1.0".into() },
        name: "shapes-rtdetr".parse().expect("a plain name"),
        source: Source {
            location: "examples/shapes-rtdetr".into(),
            revision: None,
            files: [
                ("config.json", 3321),
                ("model.safetensors", 10_301_442),
                ("preprocessor_config.json", 444),
            ]
            .map(|(path, bytes)| SourceFile { path: path.into(), sha256: digest(path.len() as u8), bytes })
            .into(),
        },
        licence: Some(Licence { id: "apache-2.0".into(), stated_in: "README.md".into() }),
        max_batch: 8,
        detector: detector(),
        steps: ["acquire", "export", "verify", "deliver"]
            .map(|name| StepRecord { name: name.into(), version: 1, key: digest(name.len() as u8) })
            .into(),
        artefacts: vec![
            model("model/shapes-rtdetr.onnx", 1, 20_611_337, Precision::Fp32),
            model("model/shapes-rtdetr_fp16.onnx", 2, 10_402_118, Precision::Fp16),
        ],
        calibration: None,
        checks: checks(),
        accuracy: vec![
            accuracy("model/shapes-rtdetr.onnx", 0.0),
            accuracy("model/shapes-rtdetr_fp16.onnx", -0.0004),
        ],
    }
}

fn checks() -> Vec<Check> {
    let fp32 = "model/shapes-rtdetr.onnx, batch 1";
    let batch = "model/shapes-rtdetr.onnx, batch 8";
    let fp16 = "model/shapes-rtdetr_fp16.onnx, batch 1";
    vec![
        Check::of("logits, max abs difference", fp32, 2.3e-5, Bound::AtMost(1e-4), ""),
        Check::of("boxes, max abs difference", fp32, 1.4e-6, Bound::AtMost(1e-5), ""),
        Check::of("rows of one image agree", batch, 0.0, Bound::AtMost(1e-6), ""),
        Check::of("missed detections", fp16, 0.0, Bound::AtMost(0.0), ""),
        Check::of("largest movement of a box", fp16, 0.31, Bound::AtMost(1.0), "px"),
        Check::of("mAP difference", fp16, -0.0004, Bound::AtLeast(-0.002), ""),
        Check::not_run("engine layers are fp16", "benchmarks/engines", "no TensorRT on this machine"),
    ]
}

fn accuracy(subject: &str, change: f64) -> Accuracy {
    let maps = [0.812, 0.774, 0.702, 0.655, 0.731, 0.689, 0.701, 0.680];
    Accuracy {
        subject: subject.into(),
        backend: "embedded".into(),
        dataset: Dataset {
            annotations: "instances.json".into(),
            sha256: digest(9),
            images: 128,
            objects: 1043,
        },
        metrics: CocoMetrics {
            map: Some(0.718 + change),
            ap50: Some(0.808 + change),
            ap75: Some(0.776 + change),
            ap_small: Some(0.545),
            ap_medium: Some(0.741),
            ap_large: None,
            ar1: Some(0.412),
            ar10: Some(0.866),
            ar100: Some(0.874),
            ar_small: Some(0.757),
            ar_medium: Some(0.881),
            ar_large: None,
        },
        change: None,
        classes: (0..)
            .zip(maps)
            .map(|(id, map)| ClassAccuracy {
                id,
                map: Some(map + change),
                ap50: Some(map + 0.09),
                objects: 120 + u64::from(id) * 3,
            })
            .collect(),
    }
}

fn measurements() -> Measurements {
    let times = [("acquire", 0.02), ("export", 0.61), ("verify", 7.4), ("deliver", 0.05), ("measure", 12.9)];
    let figure = |precision, batch, p50: f64| Figure {
        backend: "embedded".into(),
        version: Some("rten 0.27.1".into()),
        device: "cpu".into(),
        artefact: deploy::paths::model(&"shapes-rtdetr".parse().expect("a plain name"), precision),
        precision,
        batch,
        threads: Some(2),
        warm_up: 3,
        count: 20,
        latency: Latency {
            min_ms: p50 * 0.97,
            mean_ms: p50 * 1.02,
            p50_ms: p50,
            p90_ms: p50 * 1.07,
            p99_ms: p50 * 1.15,
        },
        images_per_second: f64::from(batch) * 1000.0 / (p50 * 1.02),
    };
    Measurements {
        schema: Measurements::SCHEMA,
        measured_at: Some("2026-11-20T21:00:00Z".into()),
        machine: Machine {
            os: "Debian GNU/Linux 12, Linux 6.1".into(),
            cpu: "Example CPU at 2.60 GHz".into(),
            cores: 2,
            memory_bytes: Some(24_700_000_000),
            gpus: vec![],
            software: BTreeMap::from([("rten".into(), "0.27.1".into())]),
        },
        steps: times.map(|(name, seconds)| StepTime { name: name.into(), seconds }).into(),
        figures: vec![
            figure(Precision::Fp32, 1, 41.3),
            figure(Precision::Fp32, 8, 309.0),
            figure(Precision::Fp16, 1, 43.9),
        ],
        image: Some(ImageTimes {
            backend: "embedded".into(),
            decode_ms: 0.92,
            preprocess_ms: 0.61,
            inference_ms: 41.3,
            postprocess_ms: 0.04,
            count: 24,
        }),
        tensorrt: None,
        rtx_engines: Vec::new(),
        deepstream: None,
        video: None,
        plan: None,
    }
}

/// The same package on a machine with TensorRT and `DeepStream`.
pub(crate) fn complete() -> ReportData {
    let mut data = plain();
    let run =
        |batch, qps, gpu_mean_ms| TrtexecRun { batch, qps, gpu_mean_ms, gpu_p99_ms: gpu_mean_ms * 1.02 };
    let engine = "benchmarks/engines/shapes-rtdetr_dynamic_b64.engine";
    data.measurements.machine.gpus = vec![Gpu {
        name: "Example GPU".into(),
        memory_bytes: Some(24_000_000_000),
        driver: Some("590.1".into()),
    }];
    for (name, version) in [("CUDA", "13.1"), ("TensorRT", "10.16.0"), ("DeepStream", "9.2")] {
        data.measurements.machine.software.insert(name.into(), version.into());
    }
    data.measurements.tensorrt = Some(TensorRt {
        engine: Engine {
            path: engine.into(),
            bytes: 14_200_000,
            precision: Precision::Fp16,
            max_batch: 64,
            workspace_mib: Some(32_768),
            timing_cache: Some("benchmarks/engines/timing.cache".into()),
            optimization_level: None,
            build_seconds: 181.0,
            built_from: "model/shapes-rtdetr.onnx".into(),
            build: Some(EngineBuild {
                tensorrt: "10.16.0".into(),
                gpu: "Example GPU".into(),
                source_sha256: "5e".repeat(32),
                min_batch: 1,
                opt_batch: 32,
                command: "trtexec --onnx=model/shapes-rtdetr.onnx --fp16".into(),
                retries: vec![Retry {
                    because: "it has no kernel for `ForeignNode[a...b]`".into(),
                    then: "the graph was simplified".into(),
                }],
                layers: vec![LayerShare { dtype: "float16".into(), layers: 57, share: 0.95 }],
            }),
        },
        batch_1: Some(run(1, 512.0, 1.92)),
        batch_max: Some(run(64, 29.1, 34.2)),
        checks: vec![Check::of("detections missed (of 31)", "engine, batch 64", 0.0, Bound::AtMost(0.0), "")],
    });
    let rtx = data.measurements.tensorrt.iter().map(|built| {
        let mut engine = built.engine.clone();
        engine.path = "benchmarks/engines/shapes-rtdetr_rtx_sm89_dynamic_b64.engine".into();
        engine.build =
            engine.build.map(|build| EngineBuild { gpu: "compute capability 8.9".into(), ..build });
        TensorRt { engine, batch_1: None, batch_max: None, checks: Vec::new() }
    });
    data.measurements.rtx_engines = rtx.collect();
    data.measurements.deepstream = Some(DeepStream {
        parser: Some("parser/libnvdsinfer_shapes_rtdetr_parser.so".into()),
        cluster_mode: Some(4),
        capture: Some(Capture {
            video: "sample_720p.mp4".into(),
            kitti_folder: "samples/kitti_output".into(),
            frames: 100,
            frames_with_detections: 97,
            mode: CaptureMode::Theora,
            artefact: Some("samples/shapes-rtdetr_output.ogv".into()),
            passed: true,
        }),
        run_1: Some(StreamRun { streams: 62, total_fps: 1571.0 }),
        run_2: Some(StreamRun { streams: 52, total_fps: 1562.0 }),
        limit: None,
    });
    data
}

/// A picture for each sample of a report: the annotated images of a package, as far as the report can tell.
pub(crate) fn images(data: &ReportData) -> BTreeMap<String, Vec<u8>> {
    let picture = |seed: u32| {
        image::RgbImage::from_fn(320, 240, |x, y| {
            let inside = (x.abs_diff(60 + 30 * seed) < 40) && (y.abs_diff(120) < 40);
            if inside { image::Rgb([233, 30, 99]) } else { image::Rgb([(x / 2) as u8, (y / 2) as u8, 90]) }
        })
    };
    (0..)
        .zip(&data.samples)
        .map(|(seed, sample)| {
            let mut jpeg = Cursor::new(Vec::new());
            picture(seed).write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("a picture");
            (sample.path.clone(), jpeg.into_inner())
        })
        .collect()
}
