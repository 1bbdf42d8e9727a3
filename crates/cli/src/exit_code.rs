//! The documented outcomes as numbers. They are part of the interface: scripts rely on them.

use std::process::ExitCode;

use pipeline::Class;

/// A check failed: outputs disagree, or accuracy is below its bound.
pub(crate) const CHECK_FAILED: u8 = 40;

/// Every exit code with its meaning, for `--help`.
pub(crate) const TABLE: &[(u8, &str)] = &[
    (0, "done, all checks passed"),
    (1, "unexpected: a bug or the operating system"),
    (2, "wrong arguments"),
    (10, "source not found or not allowed"),
    (11, "nothing usable in the source"),
    (12, "not an object detector, or an architecture we do not have"),
    (13, "no label map"),
    (20, "export failed: missing or unused tensors, unsupported operator"),
    (30, "backend or tool not available here"),
    (CHECK_FAILED, "a check failed"),
];

/// The number of an outcome.
pub(crate) fn of(class: Class) -> u8 {
    match class {
        Class::Unexpected => 1,
        Class::Arguments => 2,
        Class::NotFound => 10,
        Class::NothingUsable => 11,
        Class::NotADetector => 12,
        Class::NoLabels => 13,
        Class::ExportFailed => 20,
        Class::NotAvailable => 30,
    }
}

/// The exit code of a run that produced its result.
pub(crate) fn passed(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::from(CHECK_FAILED) }
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in TABLE {
        text.push_str(&format!("  {code:<3} {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_in_the_table() {
        let classes = [
            Class::Unexpected,
            Class::Arguments,
            Class::NotFound,
            Class::NothingUsable,
            Class::NotADetector,
            Class::NoLabels,
            Class::ExportFailed,
            Class::NotAvailable,
        ];
        for class in classes {
            assert!(TABLE.iter().any(|(code, _)| *code == of(class)), "{class:?}");
        }
    }
}
