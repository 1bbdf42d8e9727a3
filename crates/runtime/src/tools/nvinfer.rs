//! The libraries of TensorRT that programs of this machine load.

use std::collections::BTreeSet;
use std::path::Path;

use super::programs;
use super::trtexec::Version;

/// Where NVIDIA's packages and archives put them, beside what the loader lists.
const FOLDERS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/tensorrt/lib",
    "/opt/tensorrt/lib",
];

/// The versions of `libnvinfer.so` that are installed, the oldest first.
pub fn versions() -> Vec<Version> {
    let mut found = BTreeSet::new();
    let loader = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].iter().map(Path::new).find(|path| path.is_file());
    for line in loader.and_then(|loader| programs::lines(loader, &["-p"])).unwrap_or_default() {
        // `	libnvinfer.so.10 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvinfer.so.10`
        if let Some((_, path)) = line.split_once(" => ") {
            found.extend(of_file(Path::new(path.trim())));
        }
    }
    for folder in FOLDERS {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(files.filter_map(|file| of_file(&file.path())));
    }
    found.into_iter().collect()
}

/// The major version of `libnvinfer.so` that a library asks the loader for.
pub fn wanted_by(library: &Path) -> Option<u32> {
    let file = std::fs::File::open(library).ok()?;
    let reader = std::io::BufReader::new(file);
    // Its name stands in the table of strings, between zeros.
    std::io::BufRead::split(reader, 0)
        .map_while(Result::ok)
        .find_map(|name| std::str::from_utf8(&name).ok()?.strip_prefix("libnvinfer.so.")?.parse().ok())
}

/// The version of a file that is or links to `libnvinfer.so.10.3.0`.
fn of_file(path: &Path) -> Option<Version> {
    let is_it = |path: &Path| path.file_name()?.to_str()?.strip_prefix("libnvinfer.so.").map(str::to_owned);
    is_it(path)?;
    of_name(&is_it(&path.canonicalize().ok()?)?)
}

/// `10.3.0`, which is what is behind `libnvinfer.so.` in the name of the file itself.
fn of_name(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    match [numbers.next(), numbers.next(), numbers.next()] {
        [Some(Some(major)), Some(Some(minor)), Some(Some(patch))] => Some(Version { major, minor, patch }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_own_name_has_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvinfer.so.10.3.0");
        std::fs::write(&file, "").unwrap();
        let link = folder.path().join("libnvinfer.so.10");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let expected = Some(Version { major: 10, minor: 3, patch: 0 });
        assert_eq!((of_file(&file), of_file(&link)), (expected, expected));
        for other in ["libnvinfer_plugin.so.10.3.0", "libnvinfer.so.10.x.0", "libnvinfer.so"] {
            let path = folder.path().join(other);
            std::fs::write(&path, "").unwrap();
            assert_eq!(of_file(&path), None, "{other}");
        }
    }

    #[test]
    fn a_library_names_the_one_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvds_infer.so");
        std::fs::write(&file, b"\x7fELF\0\xff\xfe\0libnvinfer_plugin.so.8\0libnvinfer.so.10\0libm.so.6\0")
            .unwrap();
        assert_eq!(wanted_by(&file), Some(10));
        std::fs::write(&file, b"\x7fELF\0libm.so.6\0").unwrap();
        assert_eq!(wanted_by(&file), None);
        assert_eq!(wanted_by(&folder.path().join("none.so")), None);
    }
}
