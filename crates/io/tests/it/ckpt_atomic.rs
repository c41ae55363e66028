//! Outputs appear complete or not at all.

use crate::ckpt_support::save;
use refit_core::Hint;
use refit_io::atomic::{AtomicError, OutputDir, OutputFile, Overwrite, write_file};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// What is in a folder, sorted.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| PathBuf::from(e.unwrap().file_name()))
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_written_kept_and_replaced() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.json");
    write_file(&file, b"one", Overwrite::Refuse).unwrap();
    let refused = write_file(&file, b"two", Overwrite::Refuse).unwrap_err();
    assert!(matches!(refused, AtomicError::Exists { .. }));
    assert!(refused.hint().unwrap().contains("--force"));
    assert_eq!(fs::read(&file).unwrap(), b"one");
    write_file(&file, b"three", Overwrite::Replace).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"three");
    assert_eq!(names(home.path()), [Path::new("run.json")]);
}

#[test]
fn a_file_created_meanwhile_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("x");
    let mut output = OutputFile::create(&file, Overwrite::Refuse).unwrap();
    output.write_all(b"ours").unwrap();
    save(&file, b"theirs");
    assert!(matches!(output.finish(), Err(AtomicError::Exists { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"theirs");
    assert_eq!(names(home.path()), [Path::new("x")]);
}

#[test]
fn a_dropped_output_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut file = OutputFile::create(home.path().join("x"), Overwrite::Refuse).unwrap();
    file.write_all(b"half").unwrap();
    let dir = OutputDir::create(home.path().join("run"), Overwrite::Refuse).unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    save(&dir.path().join("deep/x"), b"half");
    assert_eq!(names(home.path()).len(), 2);
    drop((file, dir));
    assert_eq!(names(home.path()).len(), 0);
}

#[test]
fn a_folder_moves_with_everything_below_it() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    let dir = OutputDir::create(&target, Overwrite::Refuse).unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    save(&dir.path().join("deep/x"), b"whole");
    assert_eq!(dir.finish().unwrap(), target);
    assert_eq!(fs::read(target.join("deep/x")).unwrap(), b"whole");
    let again = OutputDir::create(&target, Overwrite::Refuse);
    assert!(matches!(again, Err(AtomicError::Exists { .. })));
}

#[test]
fn only_an_output_of_ours_or_an_empty_folder_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    fs::create_dir(&target).unwrap();
    let replace = || OutputDir::create(&target, Overwrite::Replace);
    let dir = replace().unwrap();
    save(&dir.path().join("run.json"), b"1");
    dir.finish().unwrap();
    let dir = replace().unwrap();
    save(&dir.path().join("photo.jpg"), b"2");
    dir.finish().unwrap();
    assert_eq!(names(&target), [Path::new("photo.jpg")]);
    let refused = replace().unwrap_err();
    assert!(matches!(refused, AtomicError::Foreign { .. }), "{refused}");
    assert_eq!(names(home.path()), [Path::new("run")]);
}

#[test]
fn a_folder_created_meanwhile_is_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    let dir = OutputDir::create(&target, Overwrite::Refuse).unwrap();
    fs::create_dir(&target).unwrap();
    assert!(matches!(dir.finish(), Err(AtomicError::Exists { .. })));
    assert_eq!(names(home.path()), [Path::new("run")]);
}

#[test]
fn a_target_of_the_wrong_kind_or_place_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    save(&at("file"), b"");
    let file = |path: PathBuf| write_file(path, b"", Overwrite::Replace).unwrap_err();
    let dir = |path: PathBuf| OutputDir::create(path, Overwrite::Replace).unwrap_err();
    assert!(matches!(
        file(at("folder")),
        AtomicError::OtherKind {
            expected: "file",
            ..
        }
    ));
    assert!(matches!(
        dir(at("file")),
        AtomicError::OtherKind {
            expected: "folder",
            ..
        }
    ));
    assert!(matches!(file(at("folder/..")), AtomicError::NoName { .. }));
    assert!(matches!(dir("/".into()), AtomicError::NoName { .. }));
    let orphan = dir(at("no/such/run"));
    assert!(matches!(&orphan, AtomicError::NoParent { parent, .. } if *parent == at("no/such")));
    assert!(
        orphan
            .hint()
            .unwrap()
            .starts_with("create it first: mkdir -p")
    );
    assert!(matches!(file(at("file/x")), AtomicError::NoParent { .. }));
    assert!(matches!(dir(at("no/../run")), AtomicError::NoParent { .. }));
    assert_eq!(names(home.path()), [Path::new("file"), Path::new("folder")]);
}

#[test]
fn one_missing_folder_is_created_and_goes_with_an_output_that_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("runs/x");
    drop(OutputDir::create(&target, Overwrite::Refuse).unwrap());
    drop(OutputFile::create(&target, Overwrite::Refuse).unwrap());
    assert_eq!(names(home.path()).len(), 0);
    let dir = OutputDir::create(&target, Overwrite::Refuse).unwrap();
    let file = OutputFile::create(home.path().join("runs/y"), Overwrite::Refuse).unwrap();
    dir.finish().unwrap();
    drop(file);
    assert_eq!(names(&home.path().join("runs")), [Path::new("x")]);
    write_file(home.path().join("pages/a.html"), b"", Overwrite::Refuse).unwrap();
    assert!(home.path().join("pages/a.html").is_file());
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_neither_followed_nor_replaced() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    save(&at("file"), b"kept");
    fs::create_dir(at("folder")).unwrap();
    for (link, to) in [
        ("to_file", "file"),
        ("to_folder", "folder"),
        ("dangling", "nothing"),
    ] {
        std::os::unix::fs::symlink(at(to), at(link)).unwrap();
        for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
            let file = write_file(at(link), b"lost", overwrite);
            assert!(matches!(file, Err(AtomicError::Symlink { .. })), "{link}");
            let dir = OutputDir::create(at(link), overwrite);
            assert!(matches!(dir, Err(AtomicError::Symlink { .. })), "{link}");
        }
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"kept");
}

#[cfg(unix)]
#[test]
fn an_output_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let mode = |name: &str| {
        fs::metadata(home.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    save(&home.path().join("plain"), b"");
    write_file(home.path().join("ours"), b"", Overwrite::Refuse).unwrap();
    assert_eq!(mode("plain"), mode("ours"));
    fs::create_dir(home.path().join("plain_dir")).unwrap();
    let dir = OutputDir::create(home.path().join("our_dir"), Overwrite::Refuse).unwrap();
    dir.finish().unwrap();
    assert_eq!(mode("plain_dir"), mode("our_dir"));
}
