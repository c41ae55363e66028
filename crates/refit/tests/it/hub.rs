//! Models of a hub that behaves, and of one that does not.

use crate::{
    adapters,
    sandbox::{Said, Sandbox},
    streamed::{LINEAR, small},
};
use refit_testkit::http::{Request, Server, answer};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Name and bytes of a file.
type Held = (String, Vec<u8>);

/// What a hub answers that has the model `org/NAME` for every folder, with all of its files.
fn answers(folders: &[&Path]) -> impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static {
    let mut files: Vec<(String, Vec<Held>)> = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        });
        files.push((name, entries.collect()));
    }
    move |request, _| {
        let line = &request.line;
        for (model, files) in &files {
            if line.starts_with(&format!(
                "GET /api/models/org/{model}/revision/main?blobs=true "
            )) {
                let listed = files.iter().map(|(name, bytes)| {
                    format!(r#"{{"rfilename":"{name}","size":{}}}"#, bytes.len())
                });
                let listed = listed.collect::<Vec<_>>().join(",");
                let listed = format!(r#"{{"sha":"{COMMIT}","siblings":[{listed}]}}"#);
                return answer("200 OK", "", listed.as_bytes());
            }
            let path = |name: &str| format!(" /org/{model}/resolve/{COMMIT}/{name} ");
            let found = files.iter().enumerate();
            let mut found = found.filter(|(_, (name, _))| line.contains(&path(name)));
            match found.next() {
                Some((at, (_, bytes))) if line.starts_with("HEAD") => {
                    let etag = format!("etag: \"{at}\"\r\ncontent-length: {}\r\n", bytes.len());
                    return answer("200 OK", &etag, b"");
                }
                Some((_, (_, bytes))) => return answer("200 OK", "", bytes),
                None => {}
            }
        }
        answer("404 Not Found", "", b"")
    }
}

/// The program, with a hub at `address` and a cache of its own.
fn command(sandbox: &Sandbox, address: &str, args: &str) -> Command {
    let mut command = sandbox.command();
    command
        .env("HF_ENDPOINT", address)
        .env("HF_HUB_CACHE", sandbox.path().join("cache"))
        .env("HF_TOKEN", "hf_secret")
        .args(args.split_whitespace());
    command
}

fn run(sandbox: &Sandbox, address: &str, args: &str) -> Said {
    command(sandbox, address, args).output().unwrap().into()
}

#[test]
fn a_model_of_the_hub_comes_when_it_is_asked_for() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let server = Server::new(answers(&[&sandbox.path().join("a")]));
    let run = |args: &str| run(&sandbox, &server.address, args);
    sandbox.file("linear.yaml", LINEAR);
    sandbox.done("merge linear.yaml --out expected -q");
    sandbox.file("hub.yaml", LINEAR.replace("model: a", "model: org/a"));
    for args in ["", " --dry-run", " --dry-run --download"] {
        let said = run(&format!("merge hub.yaml --out out{args}"));
        assert_eq!(said.code, Some(3), "{}", said.err);
        let words = "`org/a` is neither a path nor in the cache";
        assert!(said.err.contains(words), "{}", said.err);
        assert!(said.err.contains("--download"), "{}", said.err);
    }
    assert!(server.seen().is_empty() && sandbox.names("cache").is_empty());

    let said = run("merge hub.yaml --out out --download -v");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("secret") && !said.out.contains("secret"));
    let read = |name: &str| std::fs::read(sandbox.path().join(name)).unwrap();
    let file = "model.safetensors";
    assert!(read(&format!("out/{file}")) == read(&format!("expected/{file}")));
    // From now on the cache has it.
    let asked = server.seen().len();
    let said = run("merge hub.yaml --out again");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(server.seen().len(), asked);

    sandbox.file("gone.yaml", LINEAR.replace("model: a", "model: org/b"));
    let said = run("merge gone.yaml --out gone --download");
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("the hub has no `org/b`"), "{}", said.err);

    // A cache is enough where the hub is gone, and where nobody may ask it.
    let address = server.address.clone();
    drop(server);
    let said = self::run(&sandbox, &address, "merge hub.yaml --out third --download");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let words = "warning: `org/a` is taken as the cache has it: the connection to the hub failed";
    assert!(said.err.contains(words), "{}", said.err);
    let mut offline = command(&sandbox, &address, "merge gone.yaml --out gone --download");
    let said: Said = offline.env("HF_HUB_OFFLINE", "1").output().unwrap().into();
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("HF_HUB_OFFLINE forbids"), "{}", said.err);
}

#[test]
fn adapters_and_bases_come_from_the_hub_too() {
    let sandbox = Sandbox::new();
    adapters::model(&sandbox, "base", None, &[]);
    adapters::model(&sandbox, "tuned", Some(2), &[]);
    let expected = "extract tuned --base base --others leave-out --rank 1 --out lora";
    sandbox.done(expected);
    let folders = ["base", "tuned", "lora"].map(|name| sandbox.path().join(name));
    let folders: Vec<&Path> = folders.iter().map(|folder| &**folder).collect();
    let server = Server::new(answers(&folders));
    let run = |args: &str| run(&sandbox, &server.address, args);
    let said = run("extract org/tuned --base org/base --rank 1 --out again --download");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let read = |name: &str| std::fs::read(sandbox.path().join(name)).unwrap();
    let file = "adapter_model.safetensors";
    assert!(read(&format!("again/{file}")) == read(&format!("lora/{file}")));
    sandbox.file(
        "cat.yaml",
        "adapter_method: cat\nadapters: [org/lora, again]\n",
    );
    let said = run("merge cat.yaml --out both");
    assert!(
        said.code == Some(3) && said.err.contains("--download"),
        "{}",
        said.err
    );
    let said = run("merge cat.yaml --out both --download");
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn refusals_and_failures_have_their_own_exit_codes() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    sandbox.file("hub.yaml", LINEAR.replace("model: a", "model: org/a"));
    for (status, code, words) in [
        ("401 Unauthorized", 4, "HF_TOKEN"),
        ("403 Forbidden", 4, "accept its terms"),
        ("404 Not Found", 3, "check the spelling"),
        ("429 Too Many Requests", 1, "asks to wait 600 s"),
        ("418 I'm a teapot", 1, "check HF_ENDPOINT"),
    ] {
        let server = Server::new(move |_, _| answer(status, "retry-after: 600\r\n", b""));
        let said = run(
            &sandbox,
            &server.address,
            "merge hub.yaml --out out --download",
        );
        assert_eq!(said.code, Some(code), "{status}: {}", said.err);
        assert!(said.err.contains(words), "{status}: {}", said.err);
        assert!(!said.err.contains("secret"));
    }
    for (name, value, words) in [
        ("HF_ENDPOINT", "ftp://hub", "is no address of a hub"),
        ("HF_TOKEN", "two words", "HF_TOKEN holds no token"),
    ] {
        let mut command = command(
            &sandbox,
            "http://127.0.0.1:9",
            "merge hub.yaml --out out --download",
        );
        let said: Said = command.env(name, value).output().unwrap().into();
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_download_from_a_hub_that_says_nothing() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    sandbox.file("hub.yaml", LINEAR.replace("model: a", "model: org/a"));
    let whole = answers(&[&sandbox.path().join("a")]);
    // Every file stops in its middle.
    let server = Server::stalling(move |request, before| {
        let mut answer = whole(request, before);
        if request.line.starts_with("GET /org/") {
            answer.truncate(answer.len() - 2);
        }
        answer
    });
    let child = command(
        &sandbox,
        &server.address,
        "merge hub.yaml --out out --download",
    )
    .stderr(std::process::Stdio::piped())
    .stdout(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    let begun = Instant::now();
    while !server
        .seen()
        .iter()
        .any(|r| r.line.starts_with("GET /org/"))
    {
        assert!(begun.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    let said = crate::interrupt::interrupted(child);
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains("goes on where it ended"), "{}", said.err);
    // Far below the 30 s of silence after which another attempt is made.
    assert!(asked.elapsed() < Duration::from_secs(15));
    assert!(!sandbox.names("").iter().any(|name| name.starts_with("out")));
}
