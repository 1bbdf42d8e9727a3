//! The report: its sections, its honesty about what was not measured, its escaping, its determinism.

use std::collections::BTreeMap;

use deploy::report::{BenchmarkData, ReportData, render};
use deploy::{Error, FileTree};
use detect::Labels;

use crate::{data, golden};

/// The fixed titles, in order.
const SECTIONS: [&str; 12] = [
    "Model Configuration",
    "System Configuration",
    "Preprocessing",
    "Engine Build Summary",
    "trtexec Results",
    "PEAK_GPU_STREAMS Derivation",
    "Single-Stream Validation",
    "DeepStream Benchmark Results",
    "trtexec vs DeepStream Comparison",
    "Efficiency Analysis",
    "Pipeline Timing",
    "Reference Commands",
];

const CHARTS: [&str; 5] = [
    "chart_trtexec_bs1_vs_bsmax.png",
    "chart_trtexec_throughput.png",
    "chart_ds_streams_vs_fps.png",
    "chart_trt_vs_ds.png",
    "chart_efficiency.png",
];

const NOT_MEASURED: &str = "Not measured here";

fn rendered(data: &ReportData) -> FileTree {
    render(data, &data::images(data)).unwrap()
}

fn text<'a>(tree: &'a FileTree, path: &str) -> &'a str {
    std::str::from_utf8(tree.bytes(path).unwrap()).unwrap()
}

fn markdown(tree: &FileTree) -> &str {
    text(tree, "reports/benchmark_report.md")
}

fn html(tree: &FileTree) -> &str {
    text(tree, "reports/benchmark_report.html")
}

/// The part of the Markdown under a numbered heading.
fn section(markdown: &str, number: usize) -> &str {
    let start = markdown.find(&format!("\n## {number}. ")).unwrap();
    let rest = &markdown[start + 1..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

/// Nothing measured, nothing evaluated.
fn empty() -> ReportData {
    let mut data = data::plain();
    data.manifest.checks.clear();
    data.manifest.accuracy.clear();
    data.measurements.figures.clear();
    data.measurements.steps.clear();
    data.measurements.image = None;
    data.curves.clear();
    data.samples.clear();
    data
}

#[test]
fn markdown_is_the_stored_one() {
    golden::check("benchmark_report.md", markdown(&rendered(&data::plain())));
    golden::check("benchmark_report_complete.md", markdown(&rendered(&data::complete())));
}

#[test]
fn every_section_is_there_in_order() {
    for data in [data::plain(), data::complete(), empty()] {
        let tree = rendered(&data);
        let titles: Vec<&str> = markdown(&tree).lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles[0], "Summary");
        for (number, (found, title)) in (1..).zip(titles[1..].iter().zip(SECTIONS)) {
            assert_eq!(*found, format!("{number}. {title}"));
        }
        assert_eq!(titles.len(), 17, "the twelve, the summary before and four after them");
        for title in SECTIONS {
            assert!(html(&tree).contains(&format!(". {title}</h2>")), "{title}");
        }
    }
}

#[test]
fn what_is_null_is_not_measured_here() {
    let marked = |data: &ReportData| -> Vec<usize> {
        let tree = rendered(data);
        (1..=16).filter(|number| section(markdown(&tree), *number).contains(NOT_MEASURED)).collect()
    };
    assert_eq!(marked(&data::plain()), [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(marked(&data::complete()), [0; 0]);
    assert_eq!(marked(&empty()), [4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16]);
    let mut engine_only = data::complete();
    engine_only.measurements.deepstream = None;
    assert_eq!(marked(&engine_only), [7, 8, 9, 10]);

    let plain = rendered(&data::plain());
    assert!(section(markdown(&plain), 5).contains("sightline build models/shapes-rtdetr --backend trtexec"));
    assert!(section(markdown(&plain), 8).contains("sightline run deepstream "));
    for tree in [&plain, &rendered(&data::complete())] {
        assert!(!markdown(tree).contains("(fill"));
        assert!(!markdown(tree).contains("NaN"));
    }
}

#[test]
fn an_engine_is_reported_with_its_build_and_its_checks() {
    let tree = rendered(&data::complete());
    let build = section(markdown(&tree), 4);
    for words in [
        "TensorRT 10.16.0 on Example GPU",
        "95 % float16 (57)",
        "`ForeignNode[a...b]`: the graph was simplified",
    ] {
        assert!(build.contains(words), "{words} in {build}");
    }
    assert!(section(markdown(&tree), 1).contains("batch 1 to 64, optimum 32"));
    assert!(section(markdown(&tree), 14).contains("engine, batch 64"));
    // The command that built it, not one that might.
    let commands = section(markdown(&tree), 12);
    assert!(
        commands.contains("trtexec --onnx=model/shapes-rtdetr.onnx --fp16\n")
            && !commands.contains("--minShapes")
    );
}

#[test]
fn html_has_exactly_five_png_charts_and_fetches_nothing() {
    for data in [data::plain(), data::complete(), empty()] {
        let tree = rendered(&data);
        let html = html(&tree);
        assert_eq!(html.matches("data:image/png").count(), 5);
        assert_eq!(html.matches("data:image/jpeg").count(), data.samples.len());
        assert_eq!(html.matches("<svg role=\"img\"").count(), if data.curves.is_empty() { 0 } else { 2 });
        for outside in ["http://", "https://", "<script", "<link", "url("] {
            let found = html.replace("http://www.w3.org/2000/svg", "").contains(outside);
            assert!(!found, "{outside}");
        }
        for tag in ["section", "table", "figure", "div", "main", "p"] {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}

#[test]
fn charts_have_their_names_and_size() {
    let tree = rendered(&data::plain());
    for chart in CHARTS {
        let png = tree.bytes(&format!("reports/charts/{chart}")).unwrap();
        let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (1500, 900), "{chart}");
        let drawn = picture.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
        assert!(drawn > 20_000, "{chart} is nearly blank: {drawn} pixels");
    }
    let drawings = ["chart_accuracy_by_class.svg", "chart_precision_recall.svg"];
    assert!(drawings.iter().all(|file| tree.get(&format!("reports/charts/{file}")).is_some()));
    assert!(rendered(&empty()).iter().all(|(path, _)| !drawings.iter().any(|file| path.ends_with(file))));
}

#[test]
fn the_pdf_has_pages() {
    for (data, least) in [(data::plain(), 5), (data::complete(), 6), (empty(), 3)] {
        let tree = rendered(&data);
        let pdf = tree.bytes("reports/benchmark_report_shapes-rtdetr.pdf").unwrap();
        assert!(pdf.starts_with(b"%PDF-") && pdf.trim_ascii_end().ends_with(b"%%EOF"));
        let text = String::from_utf8_lossy(pdf);
        let pages = text.matches("/Type/Page").count() - text.matches("/Type/Pages").count();
        assert!((least..=12).contains(&pages), "{pages} pages");
        assert!(!text.contains("CreationDate"), "the PDF carries no time");
    }
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    for data in [data::plain(), data::complete()] {
        assert_eq!(rendered(&data), rendered(&data));
    }
}

#[test]
fn the_report_is_made_again_from_what_was_recorded() {
    for data in [data::plain(), data::complete()] {
        let tree = rendered(&data);
        let recorded = ReportData::from_recorded(
            &data.manifest.to_json(),
            &data.measurements.to_json(),
            text(&tree, "reports/benchmark_data.json"),
        )
        .unwrap();
        assert_eq!(recorded, data);
        assert_eq!(rendered(&recorded), tree);
    }
    let data = data::plain();
    let broken = ReportData::from_recorded(&data.manifest.to_json(), &data.measurements.to_json(), "{}");
    assert!(matches!(broken, Err(Error::Json { file: "reports/benchmark_data.json", .. })));
}

#[test]
fn benchmark_data_has_the_documented_keys() {
    let value = |data: &ReportData| -> serde_json::Value {
        serde_json::from_str(&BenchmarkData::from(data).to_json()).unwrap()
    };
    let plain = value(&data::plain());
    assert_eq!((&plain["model_name"], &plain["max_bs"]), (&"shapes-rtdetr".into(), &8.into()));
    let unset = [
        "/engine",
        "/trtexec/bs1/qps",
        "/trtexec/bs1/gpu_mean_ms",
        "/trtexec/bsmax/qps",
        "/trtexec/bsmax/gpu_mean_ms",
        "/trtexec/bsmax/p99_ms",
        "/trtexec/bsmax/imgs_per_sec",
        "/peak_gpu_streams",
        "/deepstream/run1/streams",
        "/deepstream/run1/total_fps",
        "/deepstream/run1/fps_per_stream",
        "/deepstream/run2/streams",
    ];
    let complete = value(&data::complete());
    for key in unset {
        assert_eq!(plain.pointer(key), Some(&serde_json::Value::Null), "{key}");
        assert!(complete.pointer(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    assert_eq!(complete["peak_gpu_streams"], 62);
    assert_eq!(complete["max_bs"], 64);
    assert!(plain["accuracy"][0]["metrics"]["map"].is_f64() && plain["parity"].is_array());
}

#[test]
fn hostile_words_stay_words() {
    let names = [
        "<script>alert(1)</script>",
        "|",
        "#set page(width: 1pt)",
        "$x$ @ref *b* _i_ `c` \\ //",
        "#",
        "@",
        "]",
        "\"&'",
    ];
    let mut data = data::plain();
    data.manifest.detector.labels = Labels::new((0..).zip(names.map(String::from))).unwrap();
    data.manifest.source.location = "a`b|c</code><b>".into();
    data.manifest.checks[0].name = "#eval(\"1\") | <img src=x>".into();
    data.measurements.machine.cpu = "CPU \"x\" <y> #z".into();
    data.samples[0].image = "](x) <b>.jpg".into();
    data.commands[0].line = "sightline import '```' </pre> #[x]".into();
    let tree = rendered(&data);
    let html = html(&tree);
    for injected in ["<script", "<img src=x", "<b>.jpg", "</code><b>", "</pre> #"] {
        assert!(!html.contains(injected), "{injected}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let markdown = markdown(&tree);
    let row = markdown.lines().find(|line| line.starts_with("| 1 |")).unwrap();
    assert_eq!(row, "| 1 | \\| | 123 | 0.774 | 0.864 |");
    for line in section(markdown, 13).lines().filter(|line| line.starts_with('|')) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert!(bars == 4 || bars == 6, "{line}");
    }
    let pdf = tree.bytes("reports/benchmark_report_shapes-rtdetr.pdf").unwrap();
    assert!(pdf.len() > 50_000);
}

#[test]
fn extremes_are_drawn() {
    let mut data = data::complete();
    let long = "an extraordinarily long class name without any end ".repeat(4);
    data.manifest.detector.labels = Labels::new((0..200).map(|id| (id, format!("{long}{id}")))).unwrap();
    let class = data.manifest.accuracy[0].classes[0].clone();
    data.manifest.accuracy[0].classes =
        (0..200).map(|id| deploy::ClassAccuracy { id, ..class.clone() }).collect();
    data.measurements.figures[0].images_per_second = 0.0;
    data.measurements.tensorrt.as_mut().unwrap().batch_1.as_mut().unwrap().qps = 0.0;
    data.measurements.deepstream.as_mut().unwrap().run_1.as_mut().unwrap().streams = 0;
    data.curves[0].precision = vec![f64::NAN; 101];
    data.curves[1].precision.clear();
    assert!(rendered(&data).len() > 8);
}

#[test]
fn a_missing_sample_is_an_error() {
    let data = data::plain();
    assert!(matches!(render(&data, &BTreeMap::new()), Err(Error::Sample { source: None, .. })));
}
