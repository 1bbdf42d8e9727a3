//! The report as PDF, typeset in this process by Typst from a template that reads the document as JSON.
//!
//! The template is ours and fixed; text from outside arrives as data and is never parsed as markup. There is no clock:
//! the PDF carries no date.

use std::collections::BTreeMap;

use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Duration, Smart};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_layout::PagedDocument;
use typst_pdf::PdfOptions;

use super::document::Document;
use super::{Pictures, fonts};
use crate::Error;

const TEMPLATE: &str = include_str!("report.typ");

/// The bytes of the PDF.
pub(super) fn write(document: &Document, pictures: &Pictures) -> Result<Vec<u8>, Error> {
    let world = ReportWorld::new(document, pictures)?;
    let pages: PagedDocument = typst::compile(&world).output.map_err(|errors| failed(&errors))?;
    let options = PdfOptions { creator: Smart::Custom(None), ..PdfOptions::default() };
    let bytes = typst_pdf::pdf(&pages, &options).map_err(|errors| failed(&errors));
    // Typst memoizes layouts for an editor's sake; a report is made once.
    typst::comemo::evict(0);
    bytes
}

fn failed(errors: &[SourceDiagnostic]) -> Error {
    let reasons: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    Error::Typeset { reason: reasons.join("; ") }
}

/// What Typst may read: the template, the document, the pictures and three fonts.
struct ReportWorld {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    main: Source,
    files: BTreeMap<String, Bytes>,
}

impl ReportWorld {
    fn new(document: &Document, pictures: &Pictures) -> Result<Self, Error> {
        let json = serde_json::to_vec(document)
            .map_err(|error| Error::Typeset { reason: format!("the document is not JSON: {error}") })?;
        let mut files = BTreeMap::from([("document.json".to_owned(), Bytes::new(json))]);
        let charts = pictures.charts.iter().map(|(file, (svg, _))| (file, svg));
        for (file, svg) in charts.chain(&pictures.drawings) {
            files.insert(format!("drawings/{file}.svg"), Bytes::from_string(svg.clone()));
        }
        for (path, jpeg) in &pictures.photos {
            files.insert(format!("photos/{path}"), Bytes::new(jpeg.clone()));
        }
        let fonts: Vec<Font> = fonts::ALL.iter().flat_map(|data| Font::iter(Bytes::new(*data))).collect();
        Ok(Self {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            main: Source::new(main_file()?, TEMPLATE.to_owned()),
            files,
        })
    }
}

fn main_file() -> Result<FileId, Error> {
    let path = VirtualPath::new("/report.typ")
        .map_err(|_| Error::Typeset { reason: "`/report.typ` is not a path".into() })?;
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

impl World for ReportWorld {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    fn main(&self) -> FileId {
        self.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.main.id() { Ok(self.main.clone()) } else { Err(absent(id)) }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        self.files.get(id.vpath().get_without_slash()).cloned().ok_or_else(|| absent(id))
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.get(index).cloned()
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

fn absent(id: FileId) -> FileError {
    FileError::NotFound(id.vpath().get_without_slash().into())
}
