//! Downloads from a server of the test that behaves as the hub does, and as it does on bad days.

use refit_core::{Cancel, Hint, Silent};
use refit_io::{
    atomic::AtomicError,
    ckpt::sha256_file,
    hub::{Hub, HubEnv, HubError, Token, resolve_model},
};
use refit_testkit::http::{Request, Server, answer};
use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Where the range that is asked for begins.
fn from(request: &Request) -> usize {
    let range = request.header("range").unwrap_or("bytes=0-");
    let start = range.strip_prefix("bytes=").unwrap().strip_suffix('-');
    start.unwrap().parse().unwrap()
}

/// The large file of the model.
fn weights() -> Vec<u8> {
    (0..700_000u32).map(|i| ((i * 31) >> 3) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    sha256_file(path).unwrap()
}

fn listing() -> Vec<u8> {
    let json = format!(
        r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"config.json"}},{{"rfilename":"w/model.safetensors"}},{{"rfilename":"README.md"}}]}}"#
    );
    answer("200 OK", "", json.as_bytes())
}

/// A hub whose large file lies at `store`.
fn hub_with(store: &str) -> impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static {
    let (store, etag) = (store.to_owned(), sha256(&weights()));
    move |request, _| {
        let line = &request.line;
        if line.starts_with("GET /api/models/org/m/revision/main?blobs=true ") {
            listing()
        } else if line.contains(&format!("/org/m/resolve/{COMMIT}/config.json ")) {
            answer(
                "307 Temporary Redirect",
                "location: /inside/config.json\r\n",
                b"",
            )
        } else if line.starts_with("HEAD /inside/config.json ") {
            answer("200 OK", "etag: W/\"c0ffee\"\r\ncontent-length: 2\r\n", b"")
        } else if line.starts_with("GET /inside/config.json ") {
            answer("200 OK", "", b"{}")
        } else if line.contains(&format!("/org/m/resolve/{COMMIT}/w/model.safetensors ")) {
            let size = weights().len();
            let headers = format!(
                "location: {store}/blob\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {size}\r\n"
            );
            answer("302 Found", &headers, b"")
        } else {
            answer("404 Not Found", "", b"")
        }
    }
}

/// A store that answers ranges.
fn store() -> impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static {
    |request, _| {
        let (from, all) = (from(request), weights());
        if from == 0 {
            return answer("200 OK", "", &all);
        }
        answer("206 Partial Content", "", &all[from..])
    }
}

fn client(address: &str, cache: &Path) -> Hub {
    let set = HubEnv::read(|_| None);
    let env = HubEnv {
        cache: Some(cache.into()),
        endpoint: address.into(),
        token: Token::new("hf_secret"),
        ..set
    };
    Hub::new(env).unwrap().with_pause(Duration::from_millis(1))
}

fn wanted(file: &str) -> bool {
    file != "README.md"
}

#[test]
fn a_model_lands_in_the_layout_of_the_cache_and_the_token_stays_at_the_hub() {
    let (store, home) = (Server::new(store()), tempfile::tempdir().unwrap());
    let hub = Server::new(hub_with(&store.address));
    let client = client(&hub.address, home.path());
    let folder = client.download("org/m", None, wanted, &Silent).unwrap();
    assert_eq!(
        resolve_model("org/m", None, Some(home.path())).unwrap(),
        folder
    );
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert_eq!(
        fs::read(folder.join("w/model.safetensors")).unwrap(),
        weights()
    );
    assert!(!folder.join("README.md").exists());
    let blob = home
        .path()
        .join("models--org--m/blobs")
        .join(sha256(&weights()));
    assert_eq!(fs::read(&blob).unwrap(), weights());
    for request in hub.seen() {
        assert_eq!(
            request.header("authorization"),
            Some("Bearer hf_secret"),
            "{request:?}"
        );
    }
    let at_store = store.seen();
    assert_eq!(at_store.len(), 1);
    assert_eq!(at_store[0].header("authorization"), None);
    assert!(!format!("{client:?}").contains("secret"));
    // What is there is not asked for again.
    let before = hub.seen().len();
    client.download("org/m", None, wanted, &Silent).unwrap();
    assert_eq!((hub.seen().len(), store.seen().len()), (before + 1, 1));
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let store = Server::new(|request, before| {
        let (from, all) = (from(request), weights());
        let size = format!("content-length: {}\r\n", all.len() - from);
        let end = (from + 250_000).min(all.len());
        let status = if before == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        answer(status, &size, &all[from..end])
    });
    let (hub, home) = (
        Server::new(hub_with(&store.address)),
        tempfile::tempdir().unwrap(),
    );
    let folder = client(&hub.address, home.path())
        .download("org/m", None, wanted, &Silent)
        .unwrap();
    assert_eq!(
        fs::read(folder.join("w/model.safetensors")).unwrap(),
        weights()
    );
    let starts: Vec<_> = store.seen().iter().map(from).collect();
    assert_eq!(starts.len(), 3);
    assert!(
        starts[0] == 0 && starts[1] > 0 && starts[2] > starts[1],
        "{starts:?}"
    );
}

#[test]
fn an_unfinished_file_is_continued_by_the_next_run_or_begun_again_where_ranges_are_not_known() {
    for ranges in [true, false] {
        let store = Server::new(move |request, _| {
            let from = if ranges { from(request) } else { 0 };
            let status = if from > 0 {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            answer(status, "", &weights()[from..])
        });
        let (hub, home) = (
            Server::new(hub_with(&store.address)),
            tempfile::tempdir().unwrap(),
        );
        let blobs = home.path().join("models--org--m/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let unfinished = blobs.join(format!("{}.incomplete", sha256(&weights())));
        fs::File::create(&unfinished)
            .unwrap()
            .write_all(&weights()[..5000])
            .unwrap();
        let folder = client(&hub.address, home.path())
            .download("org/m", None, wanted, &Silent)
            .unwrap();
        assert_eq!(
            fs::read(folder.join("w/model.safetensors")).unwrap(),
            weights()
        );
        assert_eq!(from(&store.seen()[0]), 5000);
        assert!(!unfinished.exists());
    }
}

#[test]
fn other_bytes_than_announced_never_get_their_name() {
    let wrong: [fn(Vec<u8>) -> Vec<u8>; 2] = [
        |mut bytes| {
            bytes[77] ^= 1;
            bytes
        },
        |mut bytes| {
            bytes.push(0);
            bytes
        },
    ];
    for (spoil, what) in wrong.into_iter().zip(["SHA-256", "size"]) {
        let store = Server::new(move |_, _| answer("200 OK", "", &spoil(weights())));
        let (hub, home) = (
            Server::new(hub_with(&store.address)),
            tempfile::tempdir().unwrap(),
        );
        let found = client(&hub.address, home.path()).download("org/m", None, wanted, &Silent);
        assert!(
            matches!(&found, Err(HubError::Mismatch { what: w, .. }) if *w == what),
            "{found:?}"
        );
        let model = home.path().join("models--org--m");
        assert!(!model.join("blobs").join(sha256(&weights())).exists());
        assert!(!model.join("refs/main").exists());
    }
}

#[test]
fn refusals_are_told_apart_without_trying_again() {
    for (status, requests) in [
        ("401 Unauthorized", 1),
        ("403 Forbidden", 1),
        ("404 Not Found", 1),
        ("418 I'm a teapot", 1),
    ] {
        let hub = Server::new(move |_, _| answer(status, "", b"hf_secret"));
        let home = tempfile::tempdir().unwrap();
        let error = client(&hub.address, home.path())
            .download("org/m", None, wanted, &Silent)
            .unwrap_err();
        let expected = match status.as_bytes()[..3] {
            [b'4', b'0', b'4'] => matches!(error, HubError::NotFound { .. }),
            [b'4', b'1', b'8'] => matches!(error, HubError::Status { status: 418, .. }),
            _ => matches!(
                error,
                HubError::Refused {
                    status: 401 | 403,
                    ..
                }
            ),
        };
        assert!(expected, "{error:?}");
        assert_eq!(hub.seen().len(), requests);
        let words = format!("{error} {error:?} {:?}", error.hint());
        assert!(!words.contains("secret"));
    }
}

#[test]
fn the_hub_is_waited_for_as_it_says_and_no_longer_than_two_minutes() {
    let hub = Server::new(|_, before| match before {
        0 => answer("429 Too Many Requests", "retry-after: 0\r\n", b""),
        1 => answer("503 Service Unavailable", "", b""),
        2 => listing(),
        _ => answer("404 Not Found", "", b""),
    });
    let home = tempfile::tempdir().unwrap();
    let none = |_: &str| false;
    client(&hub.address, home.path())
        .download("org/m", None, none, &Silent)
        .unwrap();
    assert_eq!(hub.seen().len(), 3);
    let hub = Server::new(|_, _| answer("429 Too Many Requests", "retry-after: 3600\r\n", b""));
    let found = client(&hub.address, home.path()).download("org/m", None, none, &Silent);
    assert!(matches!(
        found,
        Err(HubError::Busy {
            wait_secs: Some(3600),
            ..
        })
    ));
    assert_eq!(hub.seen().len(), 1);
    let hub = Server::new(|_, _| answer("500 Internal Server Error", "", b""));
    let found = client(&hub.address, home.path()).download("org/m", None, none, &Silent);
    assert!(matches!(found, Err(HubError::Status { status: 500, .. })));
    assert_eq!(hub.seen().len(), 5);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for file in ["../x", "/etc/x", "a/../../x", "a\\\\b"] {
        let json = format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"{file}"}}]}}"#);
        let hub = Server::new(move |_, _| answer("200 OK", "", json.as_bytes()));
        let found = client(&hub.address, home.path()).download("org/m", None, wanted, &Silent);
        assert!(
            matches!(found, Err(HubError::Name { kind: "file", .. })),
            "{found:?}"
        );
    }
    let hub = Server::new(|_, _| answer("200 OK", "", br#"{"sha":"../x","siblings":[]}"#));
    let client_of_bad = client(&hub.address, home.path());
    let found = client_of_bad.download("org/m", None, wanted, &Silent);
    assert!(matches!(found, Err(HubError::Name { kind: "commit", .. })));
    let found = client_of_bad.download("../m", None, wanted, &Silent);
    assert!(matches!(found, Err(HubError::Name { kind: "model", .. })));
    assert_eq!(hub.seen().len(), 1);
    let hub = Server::new(|_, _| answer("302 Found", "location: /again\r\n", b""));
    let found = client(&hub.address, home.path()).download("org/m", None, wanted, &Silent);
    assert!(matches!(found, Err(HubError::Answer { .. })));
    assert!(hub.seen().len() < 10);
}

#[test]
fn a_stop_is_heard_and_keeps_what_came() {
    let store = Server::new(store());
    let (hub, home) = (
        Server::new(hub_with(&store.address)),
        tempfile::tempdir().unwrap(),
    );
    let cancel = Cancel::default();
    cancel.raise();
    let found = client(&hub.address, home.path()).download("org/m", None, wanted, &cancel);
    assert!(matches!(found, Err(HubError::Cancelled { .. })));
    client(&hub.address, home.path())
        .download("org/m", None, wanted, &Silent)
        .unwrap();
}

/// A store whose answers end after 1000 bytes without an end, the first `times`.
fn stalling_store(times: usize) -> Server {
    Server::stalling(move |request, before| {
        let (from, all) = (from(request), weights());
        let status = if from == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        let whole = answer(status, "", &all[from..]);
        let short = whole.len() - (all.len() - from) + 1000;
        whole[..if before < times { short } else { whole.len() }].to_vec()
    })
}

#[test]
fn a_hub_that_falls_silent_is_asked_again_and_not_for_ever() {
    let patience = Duration::from_millis(200);
    let store = stalling_store(2);
    let (hub, home) = (
        Server::new(hub_with(&store.address)),
        tempfile::tempdir().unwrap(),
    );
    let client = client(&hub.address, home.path()).with_patience(patience);
    let folder = client.download("org/m", None, wanted, &Silent).unwrap();
    assert_eq!(
        fs::read(folder.join("w/model.safetensors")).unwrap(),
        weights()
    );
    let starts: Vec<_> = store.seen().iter().map(from).collect();
    assert_eq!(starts, [0, 1000, 2000]);
    // Nothing at all, not even the beginning of an answer.
    let mute = Server::stalling(|_, _| Vec::new());
    let home = tempfile::tempdir().unwrap();
    let client = self::client(&mute.address, home.path()).with_patience(patience);
    let error = client.download("org/m", None, wanted, &Silent).unwrap_err();
    assert!(
        matches!(&error, HubError::Connection { problem, .. } if problem == "it said nothing for 200ms"),
        "{error:?}"
    );
    assert_eq!(mute.seen().len(), 5);
}

#[test]
fn a_stop_is_heard_while_the_hub_says_nothing() {
    let store = stalling_store(usize::MAX);
    let (hub, home) = (
        Server::new(hub_with(&store.address)),
        tempfile::tempdir().unwrap(),
    );
    let mute = Server::stalling(|_, _| Vec::new());
    for address in [&hub.address, &mute.address] {
        let cancel = Cancel::default();
        let (later, begun) = (cancel.clone(), Instant::now());
        let raiser = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            later.raise();
        });
        let found = client(address, home.path()).download("org/m", None, wanted, &cancel);
        raiser.join().unwrap();
        assert!(
            matches!(found, Err(HubError::Cancelled { .. })),
            "{found:?}"
        );
        // Far below the 30 s of silence that are waited for.
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn an_unfinished_file_that_is_no_beginning_is_begun_again() {
    let store = Server::new(|request, _| match from(request) {
        0 => answer("200 OK", "", &weights()),
        _ => answer("416 Range Not Satisfiable", "", b""),
    });
    let (hub, home) = (
        Server::new(hub_with(&store.address)),
        tempfile::tempdir().unwrap(),
    );
    let blobs = home.path().join("models--org--m/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let unfinished = blobs.join(format!("{}.incomplete", sha256(&weights())));
    fs::File::create(&unfinished)
        .unwrap()
        .write_all(b"other")
        .unwrap();
    let folder = client(&hub.address, home.path())
        .download("org/m", None, wanted, &Silent)
        .unwrap();
    assert_eq!(
        fs::read(folder.join("w/model.safetensors")).unwrap(),
        weights()
    );
}

/// A hub of two models; `org/big` says that its weights have `bytes`.
fn hub_of_two(bytes: u64) -> Server {
    Server::new(move |request, _| {
        let line = &request.line;
        if line.starts_with("GET /api/models/org/") {
            let json = format!(
                r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"config.json","size":2}},{{"rfilename":"model.safetensors","size":{}}}]}}"#,
                if line.contains("/big/") { bytes } else { 3 }
            );
            answer("200 OK", "", json.as_bytes())
        } else if line.contains("config.json ") {
            answer("200 OK", "etag: \"c0ffee\"\r\n", b"{}")
        } else {
            answer("200 OK", "etag: \"beef\"\r\n", b"abc")
        }
    })
}

#[test]
fn every_model_is_found_and_has_room_before_the_first_byte_comes() {
    let home = tempfile::tempdir().unwrap();
    let models = [("org/small", None), ("org/big", None)];
    let hub = hub_of_two(u64::MAX);
    let found = client(&hub.address, home.path()).download_models(&models, &Silent);
    let room = |error: &HubError| matches!(error, HubError::Output(AtomicError::NoRoom { .. }));
    assert!(found.as_ref().is_err_and(room), "{found:?}");
    assert_eq!(hub.seen().len(), 2);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

    let hub = hub_of_two(3);
    let hub_client = client(&hub.address, home.path());
    let found = hub_client.download_models(&models, &Silent).unwrap();
    assert!(found.iter().all(|brought| brought.unasked.is_none()));
    // A file that lost its end is brought again; the others are left alone.
    let weights = found[1].folder.join("model.safetensors");
    assert_eq!(fs::read(&weights).unwrap(), b"abc");
    let blob = fs::canonicalize(&weights).unwrap();
    fs::File::create(blob).unwrap().write_all(b"a").unwrap();
    let before = hub.seen().len();
    hub_client.download_models(&models, &Silent).unwrap();
    assert_eq!(fs::read(&weights).unwrap(), b"abc");
    assert_eq!(hub.seen().len(), before + 4);
}

#[test]
fn what_the_cache_has_is_taken_where_the_hub_is_not_there() {
    let home = tempfile::tempdir().unwrap();
    let models = [("org/small", None)];
    let hub = hub_of_two(3);
    let address = hub.address.clone();
    let brought = client(&address, home.path()).download_models(&models, &Silent);
    let folder = brought.unwrap().remove(0).folder;
    drop(hub);
    let again = client(&address, home.path()).download_models(&models, &Silent);
    let again = again.unwrap().remove(0);
    assert_eq!(again.folder, folder);
    assert!(matches!(again.unasked, Some(HubError::Connection { .. })));
    let other = client(&address, home.path()).download_models(&[("org/big", None)], &Silent);
    assert!(matches!(other, Err(HubError::Connection { .. })));
    // No request at all.
    let hub = hub_of_two(3);
    let offline = HubEnv {
        cache: Some(home.path().into()),
        endpoint: hub.address.clone(),
        offline: true,
        ..HubEnv::read(|_| None)
    };
    let offline = Hub::new(offline).unwrap();
    let found = offline.download_models(&models, &Silent).unwrap().remove(0);
    assert_eq!(found.folder, folder);
    assert!(matches!(found.unasked, Some(HubError::Offline { .. })));
    let found = offline.download_models(&[("org/big", None)], &Silent);
    assert!(matches!(found, Err(HubError::Offline { .. })));
    assert_eq!(hub.seen().len(), 0);
}

#[test]
fn no_address_is_no_hub_and_no_word_is_no_token() {
    for endpoint in ["hub", "/x", "ftp://hub.local", "https://"] {
        let found = Hub::new(HubEnv::read(|name| {
            (name == "HF_ENDPOINT").then(|| endpoint.into())
        }));
        assert!(
            matches!(found, Err(HubError::Endpoint { .. })),
            "{endpoint}"
        );
    }
    let found = Hub::new(HubEnv::read(|name| {
        (name == "HF_TOKEN").then(|| "hf_secret twice".into())
    }));
    let error = found.unwrap_err();
    assert!(matches!(error, HubError::Token));
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("secret"));
}
