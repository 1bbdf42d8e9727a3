//! All checks, one file each. A problem is a line that begins with the place, as compilers write it.

mod documents;
mod edges;
mod sources;

use std::error::Error;
use std::path::{Path, PathBuf};

/// Everything that is not as it should be in the repository at `root`.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let files = files(root)?;
    let mut problems = sources::check(root, &files)?;
    problems.extend(edges::check(&edges::metadata(root)?)?);
    problems.extend(documents::check(root, &files)?);
    Ok(problems)
}

/// All files below `root`, relative to it and sorted, without hidden folders and what is built.
fn files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') || name == "target" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(root).map_or_else(|_| entry.path(), Path::to_path_buf));
            }
        }
    }
    files.sort();
    Ok(files)
}
