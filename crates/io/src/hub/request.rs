//! Requests: redirects that are followed, waits that the hub asks for, attempts after failures.

use super::{Hub, HubError};
use refit_core::Progress;
use std::{thread, time::Duration};
use ureq::{
    Body,
    http::{Response, Uri},
};

/// Most redirects of one request; the hub uses two.
pub(super) const MOST_REDIRECTS: usize = 5;
/// Attempts in a row that brought nothing.
pub(super) const MOST_ATTEMPTS: u32 = 5;
/// Longest wait that is followed without asking the user.
const MOST_WAIT_SECS: u64 = 120;

impl Hub {
    /// The answer at the end of redirects.
    pub(super) fn ask(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Response<Body>, HubError> {
        let mut address = address.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask_once(method, &address, from, name, progress)?;
            match redirect(&answer, &address) {
                Some(next) => address = next,
                None if answer.status().is_success() => return Ok(answer),
                None => break,
            }
        }
        Err(HubError::Answer {
            name: name.into(),
            problem: "redirects without end, or to no address",
        })
    }

    /// One answer that is a success or a redirect, after waiting as the hub says and trying again when it fails.
    pub(super) fn ask_once(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Response<Body>, HubError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let last = attempts == MOST_ATTEMPTS;
            let pause = self.pause * 2u32.pow(attempts - 1);
            let wait = match self.send(method, address, from) {
                Err(e) if last => return Err(self.lost(name, &e, progress)),
                Err(_) => pause,
                Ok(answer) => match answer.status().as_u16() {
                    200..=399 => return Ok(answer),
                    status @ (401 | 403) => {
                        return Err(HubError::Refused {
                            name: name.into(),
                            status,
                        });
                    }
                    404 | 410 => return Err(HubError::NotFound { name: name.into() }),
                    429 | 503 => {
                        let wait_secs: Option<u64> =
                            text(&answer, "retry-after").and_then(|t| t.parse().ok());
                        if last || wait_secs.is_some_and(|secs| secs > MOST_WAIT_SECS) {
                            return Err(HubError::Busy {
                                name: name.into(),
                                wait_secs,
                            });
                        }
                        wait_secs.map_or(pause, Duration::from_secs)
                    }
                    500..=599 if !last => pause,
                    status => {
                        return Err(HubError::Status {
                            name: name.into(),
                            status,
                        });
                    }
                },
            };
            Self::wait(wait, name, progress)?;
        }
    }

    fn send(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
    ) -> Result<Response<Body>, ureq::Error> {
        let agent = self.line.agent();
        let mut request = match method {
            Method::Get => agent.get(address),
            Method::Head => agent.head(address),
        };
        if let (Some(token), true) = (&self.env.token, self.is_home(address)) {
            request = request.header("authorization", token.header());
        }
        if let Some(from @ 1..) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        self.line.wait(|| request.call())
    }

    /// What to say of a connection that broke.
    pub(super) fn lost(
        &self,
        name: &str,
        problem: &dyn std::fmt::Display,
        progress: &dyn Progress,
    ) -> HubError {
        let name = name.into();
        let silent = self.line.fell_silent();
        if progress.cancelled() {
            return HubError::Cancelled { name };
        }
        let problem = if silent {
            format!("it said nothing for {:?}", self.line.patience)
        } else {
            problem.to_string()
        };
        HubError::Connection { name, problem }
    }

    /// Whether the address is on the hub itself, which alone may see the token.
    pub(super) fn is_home(&self, address: &str) -> bool {
        address.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme() == self.home.scheme() && uri.authority() == self.home.authority()
        })
    }

    pub(super) fn wait(
        time: Duration,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = time;
        while !left.is_zero() {
            if progress.cancelled() {
                return Err(HubError::Cancelled { name: name.into() });
            }
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) enum Method {
    Get,
    Head,
}

pub(super) fn text<'a>(answer: &'a Response<Body>, header: &str) -> Option<&'a str> {
    answer.headers().get(header)?.to_str().ok()
}

/// Where the answer of `address` sends us; never from a private connection to an open one.
pub(super) fn redirect(answer: &Response<Body>, address: &str) -> Option<String> {
    if !answer.status().is_redirection() {
        return None;
    }
    let to = text(answer, "location")?;
    let from = address.parse::<Uri>().ok()?;
    let scheme = from.scheme_str()?;
    let next = if to.starts_with('/') && !to.starts_with("//") {
        format!("{scheme}://{}{to}", from.authority()?)
    } else {
        to.to_owned()
    };
    let next_scheme = next.parse::<Uri>().ok()?.scheme_str()?.to_owned();
    let allowed = next_scheme == "https" || next_scheme == "http" && scheme == "http";
    allowed.then_some(next)
}
