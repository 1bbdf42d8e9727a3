//! Annotated images, and how their categories relate to a detector's classes.
//!
//! Category ids of a dataset and label ids of a detector are different numbers for the same thing (COCO counts to 90
//! with gaps, most heads to 79): they only meet in [`CategoryMap`].

mod categories;
mod coco;
mod folder;

pub use categories::{CategoryMap, Matching};
pub use folder::image_names;

/// Images with their annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The images, in the file's order; ids are unique.
    pub images: Vec<ImageRecord>,
    /// The categories, in the file's order; ids are unique.
    pub categories: Vec<Category>,
    /// The objects; image and category exist.
    pub annotations: Vec<Annotation>,
}

/// One image of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Its id.
    pub id: u64,
    /// Its file, relative to the dataset's folder; never outside of it.
    pub file_name: String,
    /// Width and height in pixels, where the file gives them.
    pub size: Option<(u32, u32)>,
}

/// One category of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// One annotated object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annotation {
    /// Its image.
    pub image: u64,
    /// Its category.
    pub category: u64,
    /// Left, top, width, height in pixels.
    pub bbox: [f64; 4],
    /// Area of the object in square pixels (of its mask, in COCO): decides small, medium or large.
    pub area: f64,
    /// Whether it stands for a group that must not count as missed.
    pub crowd: bool,
}

impl Dataset {
    /// The same dataset with only these images and their objects, in the dataset's order.
    #[must_use]
    pub fn with_images(&self, keep: impl Fn(&ImageRecord) -> bool) -> Self {
        let images: Vec<ImageRecord> = self.images.iter().filter(|image| keep(image)).cloned().collect();
        let ids: std::collections::BTreeSet<u64> = images.iter().map(|image| image.id).collect();
        let annotations =
            self.annotations.iter().filter(|object| ids.contains(&object.image)).copied().collect();
        Self { images, categories: self.categories.clone(), annotations }
    }
}
