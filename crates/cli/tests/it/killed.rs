//! `kill -9` at any moment, then the same command again: the same package, nothing half-done under a final name.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::{Ran, import_arguments, sightline};

/// The moments: as soon as this exists below the output folder, the program is killed.
const MOMENTS: &[&str] = &[
    ".sightline/tmp",
    ".sightline/steps/export",
    ".sightline/steps/verify",
    ".sightline/steps/deliver",
    ".sightline/steps/report",
];

#[test]
fn a_killed_import_and_a_rerun_give_the_same_package() {
    let home = tempfile::tempdir().unwrap();
    let whole = Ran::of(sightline(home.path()).args(import_arguments()));
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let expected = fs::read(home.path().join("models/shapes/manifest.json")).unwrap();

    for moment in MOMENTS {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("models");
        let mut child = sightline(home.path())
            .args(import_arguments())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&out.join(moment), &mut child);
        // SIGKILL: nothing in the program gets to tidy up.
        child.kill().unwrap();
        child.wait().unwrap();
        let package = out.join("shapes");
        assert!(!package.exists() || package.join("manifest.json").is_file(), "{moment}: a partial package");

        let again = Ran::of(sightline(home.path()).args(import_arguments()));
        assert_eq!(again.code, Some(0), "{moment}: {}", again.stderr);
        assert!(fs::read(package.join("manifest.json")).unwrap() == expected, "{moment}: another manifest");
        assert_eq!(
            fs::read_dir(out.join(".sightline/tmp")).unwrap().count(),
            0,
            "{moment}: something is left"
        );
    }
}

/// Waits until a path exists and, when it is a folder of records, holds one; or until the program is done.
fn wait_for(path: &Path, child: &mut Child) {
    let begun = Instant::now();
    let there = || match fs::read_dir(path) {
        Ok(mut entries) => path.ends_with("tmp") || entries.next().is_some(),
        Err(_) => false,
    };
    while !there() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{} never came", path.display());
        sleep(Duration::from_millis(1));
    }
}
