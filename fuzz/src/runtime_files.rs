//! Targets for what outside programs print and write.

use graph::{DataType, ValueInfo};
use runtime::tools::trtexec::{Log, read_outputs};

/// Reads what `trtexec` prints.
///
/// # Panics
/// When more is kept of a log than it has lines.
pub fn trtexec_log(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let log = Log::read(&text);
    assert!(log.errors.len() + log.doubts.len() <= text.lines().count(), "lines come from nowhere");
}

/// Reads the outputs that `trtexec` writes.
///
/// # Panics
/// When an output has another number of values than its shape says.
pub fn trtexec_outputs(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let info = |name: &str, dtype| ValueInfo { name: name.into(), dtype: Some(dtype), ..Default::default() };
    for declared in [info("scores", DataType::F32), info("labels", DataType::I64)] {
        if let Ok(outputs) = read_outputs(&text, &[declared]) {
            assert!(
                outputs.iter().all(|(_, tensor)| tensor.shape().iter().product::<usize>() == tensor.len())
            );
        }
    }
}
