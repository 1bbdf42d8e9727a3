//! Which images a job works on, and the annotations that go with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use detect::Image;
use detect::dataset::Dataset;
use rayon::prelude::*;
use serde::Serialize;

use crate::{Digest, Error};

/// Extensions of images that can be decoded.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Two scenes of our own, for a job that was given no image.
const BUILT_IN: [(&str, &[u8]); 2] = [
    ("built-in-1.jpg", include_bytes!("../assets/built-in-1.jpg")),
    ("built-in-2.jpg", include_bytes!("../assets/built-in-2.jpg")),
];

/// Images in a fixed order. It serializes as names and digests, so that it can be part of a step's key.
#[derive(Debug, Clone, Serialize)]
pub struct ImageSet {
    /// The images.
    pub images: Vec<ImageFile>,
    /// Whether they are the two scenes that come with the program.
    pub built_in: bool,
}

/// One image file.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFile {
    /// Its path below the image folder.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    #[serde(skip)]
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Disk(PathBuf),
    BuiltIn(&'static [u8]),
}

impl ImageFile {
    /// An image file on the disk.
    pub fn open(path: &Path, name: &str) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            sha256: Digest::of_file(path)?,
            place: Place::Disk(path.to_owned()),
        })
    }

    /// The decoded image.
    pub fn decode(&self) -> Result<Image, Error> {
        let in_file = |source| Error::InFile { path: self.path(), source: Box::new(source) };
        match &self.place {
            Place::BuiltIn(bytes) => Image::decode(bytes).map_err(in_file),
            Place::Disk(path) => {
                let bytes = fs::read(path).map_err(|source| Error::Io { path: path.clone(), source })?;
                Image::decode(&bytes).map_err(in_file)
            }
        }
    }

    fn path(&self) -> PathBuf {
        match &self.place {
            Place::Disk(path) => path.clone(),
            Place::BuiltIn(_) => PathBuf::from(&self.name),
        }
    }
}

impl ImageSet {
    /// The two scenes that come with the program.
    pub fn built_in() -> Self {
        let images = BUILT_IN
            .iter()
            .map(|(name, bytes)| ImageFile {
                name: (*name).to_owned(),
                sha256: Digest::of(bytes),
                place: Place::BuiltIn(bytes),
            })
            .collect();
        Self { images, built_in: true }
    }

    /// Every image directly in a folder, by name.
    pub fn of_folder(folder: &Path) -> Result<Self, Error> {
        Self::of_names(folder, &names_in(folder)?)
    }

    /// At most `count` images of a folder, or of those that a COCO file names: which ones depends on the seed and on the
    /// names alone, and only these are read.
    ///
    /// # Errors
    /// [`Error::Options`] when there is none.
    pub fn sample(path: &Path, count: usize, seed: u64) -> Result<Self, Error> {
        let (folder, names) =
            if path.is_dir() { (path.to_owned(), names_in(path)?) } else { named_by(path)? };
        let mut keyed: Vec<(String, String)> = names
            .into_iter()
            .map(|name| (Digest::of(format!("{seed} {name}").as_bytes()).to_string(), name))
            .collect();
        keyed.sort_unstable();
        let chosen: Vec<String> = keyed.into_iter().take(count).map(|(_, name)| name).collect();
        Self::of_names(&folder, &chosen)
    }

    /// The images that annotations name, in order of their ids.
    pub fn of_annotations(folder: &Path, dataset: &Dataset) -> Result<Self, Error> {
        let names: Vec<String> = dataset.images.iter().map(|image| image.file_name.clone()).collect();
        Self::of_names(folder, &names)
    }

    /// The same set, at most `count` images of it.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self { images: self.images.iter().take(count).cloned().collect(), built_in: self.built_in }
    }

    fn of_names(folder: &Path, names: &[String]) -> Result<Self, Error> {
        let images = names.par_iter().map(|name| {
            if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
                return Err(Error::Options(format!("image name `{name}` leaves its folder")));
            }
            ImageFile::open(&folder.join(name), name)
        });
        Ok(Self { images: images.collect::<Result<_, _>>()?, built_in: false })
    }
}

/// Annotations in COCO form.
#[derive(Debug, Clone)]
pub struct Annotations {
    /// What the file says.
    pub dataset: Dataset,
    /// The file's name.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

impl Annotations {
    /// Reads `instances.json`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let in_file = |source| Error::InFile { path: path.to_owned(), source: Box::new(source) };
        let dataset = Dataset::from_coco(&text).map_err(in_file)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if dataset.images.is_empty() || dataset.annotations.is_empty() {
            let reason = format!(
                "`{}` annotates {} images with {} objects: there is nothing to score",
                path.display(),
                dataset.images.len(),
                dataset.annotations.len()
            );
            return Err(Error::Options(reason));
        }
        Ok(Self { dataset, name, sha256: Digest::of(&text) })
    }

    /// The same annotations of at most `count` images.
    #[must_use]
    pub fn first(self, count: usize) -> Self {
        let kept: BTreeSet<u64> = self.dataset.images.iter().take(count).map(|image| image.id).collect();
        Self { dataset: self.dataset.with_images(|image| kept.contains(&image.id)), ..self }
    }

    /// How many objects an image holds, by its file name.
    pub(crate) fn object_count(&self, file_name: &str) -> Option<u64> {
        let image = self.dataset.images.iter().find(|image| image.file_name == file_name)?;
        Some(self.dataset.annotations.iter().filter(|object| object.image == image.id).count() as u64)
    }
}

/// Image files given one by one or as folders, by name.
pub fn image_files(paths: &[PathBuf]) -> Result<Vec<ImageFile>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(ImageSet::of_folder(path)?.images);
        } else {
            let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
            files.push(ImageFile::open(path, &name)?);
        }
    }
    Ok(files)
}

/// The image upside down: another one of the same size, for a batch of frames, which are of one size.
pub(crate) fn turned(image: &Image) -> Result<Image, Error> {
    let pixels = image.pixels().as_chunks::<3>().0.iter().rev().flatten().copied().collect();
    Ok(Image::new(image.width(), image.height(), pixels)?)
}

/// The images directly in a folder, by name.
fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let at = |source| Error::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let name = entry.map_err(at)?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_image(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        let reason = format!("`{}` holds no image ({})", folder.display(), EXTENSIONS.join(", "));
        return Err(Error::Options(reason));
    }
    Ok(names)
}

/// The images that a COCO file names, and their folder: the file's own, or `images` beside it.
fn named_by(path: &Path) -> Result<(PathBuf, Vec<String>), Error> {
    let dataset = Annotations::open(path)?.dataset;
    let own = path.parent().unwrap_or(Path::new("")).to_owned();
    let names: Vec<String> = dataset.images.into_iter().map(|image| image.file_name).collect();
    let first = names.first().map(String::as_str).unwrap_or_default();
    let folder = [own.clone(), own.join("images")].into_iter().find(|folder| folder.join(first).is_file());
    let folder = folder.ok_or_else(|| {
        let reason = format!("`{first}` of `{}` is neither beside it nor in `images` there", path.display());
        Error::Options(reason)
    })?;
    Ok((folder, names))
}

fn is_image(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Names for files made of these images: without folder and ending, fit for every file system, each once.
pub(crate) fn file_stems<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let stems = names.into_iter().map(|name| {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let plain: String =
            stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let numbered = (2..).map(|count: u32| format!("{plain}-{count}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|stem| !taken.contains(stem));
        let stem = free.unwrap_or(plain);
        taken.insert(stem.clone());
        stem
    });
    stems.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_stay_in_their_folder_and_differ() {
        let names =
            ["a.jpg", "sub/a b.png", "no_ending", "ü.jpeg", "一.jpg", "a.jpeg", "a-2.png", "../x.jpg"];
        let expected = ["a", "sub_a_b", "no_ending", "ü", "一", "a-2", "a-2-2", ".._x"];
        assert_eq!(file_stems(names), expected);
    }
}
