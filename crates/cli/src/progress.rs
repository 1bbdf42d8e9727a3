//! Draws the pipeline's events: a line a step, and a bar where something is counted and someone looks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::{Event, hub};

use crate::output::{Output, Style};

/// The pictures of a run. Bars only on a terminal; lines go above them so that they do not tear.
pub(crate) struct Progress<'o> {
    output: &'o Output,
    bars: MultiProgress,
    counting: RefCell<Option<ProgressBar>>,
    downloads: RefCell<BTreeMap<String, ProgressBar>>,
}

impl<'o> Progress<'o> {
    pub(crate) fn new(output: &'o Output) -> Self {
        let target = if output.draws { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            output,
            bars: MultiProgress::with_draw_target(target),
            counting: RefCell::default(),
            downloads: RefCell::default(),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: &Event<'_>) {
        match event {
            Event::Started { step, because } => {
                self.clear();
                let why = because.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                if self.output.verbose || !why.is_empty() {
                    self.line(&self.step(step, Style::Cyan, &format!("runs{why}")));
                }
            }
            Event::Reused { step } => self.line(&self.step(step, Style::Dim, "reused")),
            Event::Finished { step, elapsed } => {
                self.clear();
                self.line(&self.step(step, Style::Green, &format!("done in {}", seconds(*elapsed))));
            }
            Event::Progress { step, unit, done, total } => self.count(step, unit, *done, *total),
            Event::Download(progress) => self.download(progress),
            Event::Note { step, message } => self.line(&self.step(step, Style::Dim, message)),
            Event::Warning { step, message } => {
                self.bars.suspend(|| self.output.warn(&format!("{step}: {message}")));
            }
            _ => {}
        }
    }

    /// Removes what is drawn.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.counting.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }

    fn step(&self, step: &str, style: Style, text: &str) -> String {
        format!(
            "{:>9}  {}",
            self.output.paint(Style::Bold, &format!("{step:>9}")).trim_start(),
            self.output.paint(style, text)
        )
    }

    fn line(&self, line: &str) {
        self.bars.suspend(|| self.output.say(line));
    }

    fn count(&self, step: &str, unit: &str, done: u64, total: u64) {
        let mut counting = self.counting.borrow_mut();
        let bar = counting.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(total));
            bar.set_style(style("{msg:>9}  {bar:30} {pos}/{len} {prefix}  {eta} left"));
            bar
        });
        bar.set_length(total);
        bar.set_message(step.to_owned());
        bar.set_prefix(unit.to_owned());
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
            *counting = None;
        }
    }

    fn download(&self, event: &hub::Event) {
        match event {
            hub::Event::Started { file, total, resumed_from } => {
                let bar = self.bars.add(ProgressBar::new(total.unwrap_or(0)));
                bar.set_style(style(
                    "{msg:>30}  {bar:24} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12}  {eta} left",
                ));
                bar.set_message(file.clone());
                bar.set_position(*resumed_from);
                if *resumed_from > 0 {
                    self.line(&self.step("acquire", Style::Dim, &format!("{file} goes on where it was cut")));
                }
                self.downloads.borrow_mut().insert(file.clone(), bar);
            }
            hub::Event::Advanced { file, done, total } => {
                if let Some(bar) = self.downloads.borrow().get(file) {
                    bar.set_length(total.unwrap_or(0));
                    bar.set_position(*done);
                }
            }
            hub::Event::Finished { file, size, cached } => {
                if let Some(bar) = self.downloads.borrow_mut().remove(file) {
                    bar.finish_and_clear();
                }
                if self.output.verbose || !cached {
                    let how = if *cached { "is here" } else { "fetched and checked" };
                    let text = format!("{file} {how} ({})", HumanBytes(*size));
                    self.line(&self.step("acquire", Style::Dim, &text));
                }
            }
            hub::Event::Retried { what, attempt, delay, reason } => {
                let text = format!("{what}: {reason}; try {} in {}", attempt + 1, seconds(*delay));
                self.bars.suspend(|| self.output.warn(&text));
            }
            hub::Event::Waiting { file } => {
                self.line(&self.step(
                    "acquire",
                    Style::Dim,
                    &format!("waits for another process to fetch {file}"),
                ));
            }
            hub::Event::Split { file, connections } if self.output.verbose => {
                let text = format!("{file} over {connections} connections");
                self.line(&self.step("acquire", Style::Dim, &text));
            }
            _ => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A duration as people read it.
pub(crate) fn seconds(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s => format!("{} min {:.0} s", (s / 60.0) as u64, s % 60.0),
    }
}
