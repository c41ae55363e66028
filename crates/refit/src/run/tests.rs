use super::*;
use crate::report;
use refit_core::{Seed, StopReason};

fn record() -> RunRecord {
    RunRecord::start(
        "demo",
        "cpu",
        2,
        Seed::new(1),
        serde_json::json!({ "quick": true }),
    )
}

#[test]
fn a_finished_folder_reads_back_as_it_was_written() {
    let home = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(home.path().join("run"), Overwrite::Refuse, record()).unwrap();
    let outcome = Outcome {
        suite: "toy".into(),
        seeds: vec![0],
        ..Outcome::default()
    };
    run.set_outcome(outcome.clone());
    run.metrics()
        .unwrap()
        .write("base", 1, &[("loss", 0.5)])
        .unwrap();
    let path = run.finish(StopReason::Interrupted).unwrap();

    let files = RunFiles::read(&path).unwrap();
    assert_eq!(files.outcome, Some(outcome));
    assert_eq!(files.record.stop, StopReason::Interrupted);
    assert_eq!(files.metrics.len(), 1);
    let page = std::fs::read_to_string(path.join(REPORT)).unwrap();
    assert_eq!(
        page,
        report::render(&files),
        "the page is made from the files alone"
    );
}

#[test]
fn an_abandoned_run_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    drop(RunFolder::create(home.path().join("run"), Overwrite::Refuse, record()).unwrap());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_or_file_that_is_no_run_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let error = RunFiles::read(home.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not a run folder: it holds no `run.json`")
    );
    let file = home.path().join("file");
    write_file(&file, b"x", Overwrite::Refuse).unwrap();
    assert!(matches!(
        RunFiles::read(&file),
        Err(RunError::NotARun { .. })
    ));
    assert!(matches!(
        RunFiles::read(&home.path().join("no")),
        Err(RunError::NotARun { .. })
    ));
}

#[test]
fn a_broken_document_is_named() {
    let home = tempfile::tempdir().unwrap();
    write_file(
        home.path().join(RECORD),
        b"{\"verb\": 3}",
        Overwrite::Refuse,
    )
    .unwrap();
    let error = RunFiles::read(home.path()).unwrap_err();
    assert!(matches!(&error, RunError::Document { path, .. } if path.ends_with(RECORD)));
}

#[test]
fn a_run_that_cannot_be_finished_is_unfinished_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    let part = part_path(&target);
    let stop = || RunFiles::read(&part).unwrap().record.stop;
    let run = RunFolder::create_resumable(&target, Overwrite::Refuse, record()).unwrap();
    // No page can be written where a folder is.
    std::fs::create_dir(part.join(REPORT)).unwrap();
    let (_, run) = run.finish_or_return(StopReason::Done).unwrap_err();
    assert_eq!(stop(), StopReason::Interrupted);
    std::fs::remove_dir(part.join(REPORT)).unwrap();
    // The name was taken meanwhile: everything is written, and taken back.
    std::fs::create_dir(&target).unwrap();
    assert!(run.unwrap().finish(StopReason::Done).is_err());
    assert_eq!(stop(), StopReason::Interrupted);
    assert!(!part.join(REPORT).exists());
    std::fs::remove_dir(&target).unwrap();
    let again = RunFolder::resume(&target, Overwrite::Refuse).unwrap();
    assert_eq!(again.finish(StopReason::Done).unwrap(), target);
}

#[test]
fn a_run_that_was_killed_before_it_had_its_name_is_unfinished_again() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    let run = RunFolder::create_resumable(&target, Overwrite::Refuse, record()).unwrap();
    run.finish(StopReason::Done).unwrap();
    std::fs::rename(&target, part_path(&target)).unwrap();
    let again = RunFolder::resume(&target, Overwrite::Refuse).unwrap();
    let found = RunFiles::read(again.path()).unwrap().record;
    assert_eq!(found.stop, StopReason::Interrupted);
    let second = RunFolder::resume(&target, Overwrite::Refuse).unwrap_err();
    assert!(matches!(second, RunError::Busy { .. }), "{second}");
}

#[test]
fn a_run_that_goes_on_keeps_its_record_and_adds_up_its_time() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("run");
    let begun = RunFolder::create_resumable(&target, Overwrite::Refuse, record()).unwrap();
    // Whoever finds the folder now, after a kill, sees an interrupted run.
    let found = RunFiles::read(begun.path()).unwrap();
    assert_eq!(found.record.stop, StopReason::Interrupted);
    let first = begun.pause().unwrap();
    assert_eq!(first, part_path(&target));

    let again = RunFolder::resume(&first, Overwrite::Refuse).unwrap();
    assert_eq!(
        (again.target(), &again.record().settings),
        (&*target, &record().settings)
    );
    let before = again.record().seconds;
    assert_eq!(again.finish(StopReason::Done).unwrap(), target);
    let record = RunFiles::read(&target).unwrap().record;
    assert!(record.seconds > before && record.stop == StopReason::Done);
    let done = RunFolder::resume(&target, Overwrite::Refuse).unwrap_err();
    assert!(matches!(done, RunError::NotUnfinished { .. }), "{done}");
}
