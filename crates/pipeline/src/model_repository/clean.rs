//! `clean --triton`: removes the model files of a repository; configurations, labels and the folders of versions stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::{CONFIG, Repository, look, names, versions};
use crate::Error;
use crate::store::{create_dir, files_below};

/// What ends the name of a file, or of a folder of one model's files, that is built or exported and can be again. Code
/// (`model.py`, `dali.py`) is not.
const MADE: [&str; 6] = [".onnx", ".plan", ".onnx.old", ".plan.old", ".onnx.data", ".onnx_data"];

/// A repository without its models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanedRepository {
    /// The repository.
    pub repository: PathBuf,
    /// What was removed, or would be.
    pub files: Vec<RemovedFile>,
    /// The folder of the copies of all configurations, beside the repository; `None` when nothing was done.
    pub backup: Option<PathBuf>,
    /// Whether it was removed.
    pub removed: bool,
}

/// A model file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Removes the model files of every version of every model. All configurations are copied beside the repository first,
/// into `<repository>_configs_<time>`: a folder inside would be taken for a model.
///
/// # Errors
/// [`Error::NotARepository`] for a folder without a model.
pub fn clean_repository(path: &Path, dry_run: bool) -> Result<CleanedRepository, Error> {
    let root = look(path)?;
    let models: Vec<String> =
        names(&root)?.into_iter().filter(|name| root.join(name).join(CONFIG).is_file()).collect();
    if models.is_empty() {
        return Err(Error::NotARepository {
            path: path.to_owned(),
            reason: "holds no model: no `*/config.pbtxt`",
        });
    }
    let files = model_files(&root, &models)?;
    let mut cleaned = CleanedRepository { repository: path.to_owned(), files, backup: None, removed: false };
    if dry_run || cleaned.files.is_empty() {
        return Ok(cleaned);
    }
    let repository = Repository::open(path)?;
    cleaned.backup = Some(back_up(&repository.root, &models)?);
    for file in &cleaned.files {
        let path = repository.root.join(&file.path);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|source| Error::Io { path, source })?;
    }
    cleaned.removed = true;
    Ok(cleaned)
}

fn model_files(root: &Path, models: &[String]) -> Result<Vec<RemovedFile>, Error> {
    let mut files = Vec::new();
    for model in models {
        for version in versions(&root.join(model))? {
            let folder = root.join(model).join(version.to_string());
            for name in names(&folder)?.into_iter().filter(|name| MADE.iter().any(|end| name.ends_with(end)))
            {
                let path = folder.join(&name);
                files.push(RemovedFile { path: format!("{model}/{version}/{name}"), bytes: size(&path)? });
            }
        }
    }
    Ok(files)
}

/// Bytes of a file, or of all files of a folder; those that a link leads to do not count.
fn size(path: &Path) -> Result<u64, Error> {
    let at = |source| Error::Io { path: path.to_owned(), source };
    let meta = fs::symlink_metadata(path).map_err(at)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let sizes = files_below(path)?.into_iter().filter_map(|file| fs::symlink_metadata(file).ok());
    Ok(sizes.map(|meta| meta.len()).sum())
}

fn back_up(root: &Path, models: &[String]) -> Result<PathBuf, Error> {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = root.parent().unwrap_or(root);
    let stamp = stamp();
    let backup = (1..100).map(|count| {
        let again = if count == 1 { String::new() } else { format!("_{count}") };
        parent.join(format!("{name}_configs_{stamp}{again}"))
    });
    let backup = backup.into_iter().find(|place| !place.exists()).unwrap_or_else(|| parent.join(&name));
    for model in models {
        let from = root.join(model);
        let to = backup.join(model);
        let mut configs = vec![PathBuf::from(CONFIG)];
        let more = from.join("configs");
        if more.is_dir() {
            configs.extend(names(&more)?.into_iter().map(|name| Path::new("configs").join(name)));
        }
        for config in configs.iter().filter(|config| from.join(config).is_file()) {
            let target = to.join(config);
            create_dir(target.parent().unwrap_or(&to))?;
            fs::copy(from.join(config), &target).map_err(|source| Error::Io { path: target, source })?;
        }
    }
    Ok(backup)
}

/// This moment in UTC as it can stand in a name: `20260131T235959Z`.
fn stamp() -> String {
    let now = time::OffsetDateTime::from(SystemTime::now());
    let (date, time) = (now.date(), now.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
