//! Downloads from a server of the test that behaves as the hub does, and as it does on bad days.

use refit_core::{Cancel, Hint, Silent};
use refit_io::{
    ckpt::sha256_file,
    hub::{Hub, HubEnv, HubError, Token, resolve_model},
};
use refit_testkit::http::{Request, Server, answer};
use std::{fs, io::Write, path::Path, time::Duration};

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
        if line.starts_with("GET /api/models/org/m/revision/main ") {
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
    let env = HubEnv {
        cache: Some(cache.into()),
        endpoint: address.into(),
        token: Token::new("hf_secret"),
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
    assert!(matches!(found, Err(HubError::Busy { wait_secs: 3600 })));
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

#[test]
fn no_address_is_no_hub() {
    for endpoint in ["", "hub", "/x"] {
        let env = HubEnv {
            cache: None,
            endpoint: endpoint.into(),
            token: None,
        };
        assert!(
            matches!(Hub::new(env), Err(HubError::Name { kind: "hub", .. })),
            "{endpoint}"
        );
    }
}
