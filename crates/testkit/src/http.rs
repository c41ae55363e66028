//! A server for tests of what talks to one.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// First line, and headers with names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    /// Such as `GET /path HTTP/1.1`.
    pub line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|pair| pair.0 == name);
        found.map(|pair| pair.1.as_str())
    }
}

type Answer = dyn Fn(&Request, usize) -> Vec<u8> + Send + Sync;

/// A server on the loopback address; it ends with the test.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` gets the request and how many came before it, and gives the bytes of the whole answer.
    ///
    /// # Panics
    /// When the loopback address cannot be listened on.
    pub fn new(answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(false, answer)
    }

    /// As [`new`](Self::new), but no connection is closed before the server ends: where an answer is shorter than it
    /// says, its reader waits.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn stalling(answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(true, answer)
    }

    fn start(
        stalls: bool,
        answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (seen, end) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (seen, end) = (Arc::clone(&seen), Arc::clone(&end));
            std::thread::spawn(move || {
                let mut open = Vec::new();
                for stream in listener.incoming().take(200) {
                    if end.load(Ordering::Relaxed) {
                        return;
                    }
                    let stream = stream.unwrap();
                    serve(&stream, &seen, &answer);
                    open.extend(stalls.then_some(stream));
                }
            })
        };
        Self {
            address,
            seen,
            end,
            thread: Some(thread),
        }
    }

    /// The requests so far.
    ///
    /// # Panics
    /// When an answer panicked.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut lines = BufReader::new(stream.take(1 << 16))
        .lines()
        .map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ")
                .map(|(a, b)| (a.to_lowercase(), b.to_owned()))
        });
    let request = Request {
        line,
        headers: headers.collect(),
    };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let mut stream = stream;
    let _ = stream.write_all(&answer(&request, before));
}

/// An answer such as `200 OK` with headers, each ended by `\r\n`; the length is added unless they tell it.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if headers.contains("content-length") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{length}{headers}\r\n");
    [head.as_bytes(), body].concat()
}
