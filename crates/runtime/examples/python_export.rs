//! Exports a folder's checkpoint with Python and prints what happens; the environment is installed at the first use.
//!
//!     cargo run --release -p runtime --example python_export -- CACHE DIR OUT.onnx [PROMPT...]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::Error;
use runtime::tools::python_exporter::{Request, Setup, Task, export};

#[expect(clippy::print_stdout, reason = "what happens is the point of the example")]
#[expect(clippy::disallowed_methods, reason = "an example stands for the program that reads the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(cache), Some(model), Some(out)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("python_export CACHE DIR OUT.onnx [PROMPT...]".into());
    };
    let prompt: Vec<String> = arguments.map(|text| text.to_string_lossy().into_owned()).collect();
    let task = if prompt.is_empty() { Task::ObjectDetection } else { Task::ZeroShotObjectDetection };
    let request = Request { model: &model, out: &out, task, opset: 17, size: None, prompt: &prompt };
    let setup = Setup {
        cache,
        python: "python3".into(),
        variables: std::env::vars_os().collect(),
        install_limit: Duration::from_hours(2),
        attempt_limit: Duration::from_mins(20),
    };
    let start = Instant::now();
    match export(&request, &setup, &mut |event| println!("{:6.1} s {event:?}", start.elapsed().as_secs_f64()))
    {
        Ok(exported) => println!("{exported:#?}"),
        Err(Error::PythonExport(failure)) => println!("{}", failure.report()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
