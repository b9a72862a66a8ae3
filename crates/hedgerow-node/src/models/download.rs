//! Downloads files, resuming an interrupted download.
//!
//! - takes: an address, and the name of a file that may already contain the beginning
//! - gives: the complete file with its checksum verified; or an error, with the beginning preserved for the next
//!   attempt
//! - never: keeps bytes that proved wrong

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::http::{Client, header, shown};
use super::{FetchOptions, ModelError, Progress, Report, store};

/// A file to download, and its expected checksum.
pub(super) struct Download<'a> {
    /// The address.
    pub(super) url: &'a str,
    /// Further headers, such as a token.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Name of the file in progress reports.
    pub(super) title: &'a str,
    /// The file to fill. It stays after an interruption, and is removed if its checksum is wrong.
    pub(super) partial: &'a Path,
    /// The expected checksum. A partial file is resumed only with one, which verifies that both parts match.
    pub(super) sha256: Option<&'a str>,
}

impl Download<'_> {
    /// Downloads to the end, retrying as long as attempts make progress; returns the checksum.
    pub(super) fn run(
        &self,
        client: &Client,
        options: &FetchOptions,
        report: Report<'_>,
    ) -> Result<String, ModelError> {
        let mut partial = Partial::open(self.partial, self.sha256.is_some())?;
        let mut fruitless_attempts = 0;
        loop {
            let before = partial.done;
            let error = match self.attempt(client, &mut partial, report) {
                Ok(()) => return self.check(partial),
                Err(error) => error,
            };
            fruitless_attempts = if partial.done > before { 1 } else { fruitless_attempts + 1 };
            if !error.may_pass() || fruitless_attempts >= options.fruitless_attempts_max {
                return Err(error);
            }
            thread::sleep(options.pause * 2_u32.pow(fruitless_attempts.min(6)));
        }
    }

    /// Makes one request, from the end of the partial file to where the server stops.
    fn attempt(&self, client: &Client, partial: &mut Partial, report: Report<'_>) -> Result<(), ModelError> {
        let mut headers = self.headers.clone();
        if partial.done > 0 {
            headers.push(("range", format!("bytes={}-", partial.done)));
        }
        let mut response = client.open(self.url, &headers)?;
        let total = match response.status().as_u16() {
            206 if starts_at(&response, partial.done) => {
                content_length(&response).map(|rest| partial.done + rest)
            }
            // The server does not support ranges, or starts at another position: start from the beginning.
            200 => {
                partial.restart(self.partial)?;
                content_length(&response)
            }
            206 => {
                let detail = format!("a range that does not start at {}", partial.done);
                partial.restart(self.partial)?;
                return Err(ModelError::BadReply { url: shown(self.url), detail });
            }
            // The server has no bytes beyond those here: the file is complete, unless it is longer than the server's.
            416 if partial.done > 0 => return self.after_the_end(&response, partial),
            status => return Err(ModelError::HttpStatus { url: shown(self.url), status }),
        };
        self.receive(&mut response, total, partial, report)
    }

    fn after_the_end(&self, response: &Response<Body>, partial: &mut Partial) -> Result<(), ModelError> {
        let total = header(response, "content-range").and_then(|text| text.rsplit('/').next()?.parse().ok());
        if total.is_none_or(|total: u64| total == partial.done) {
            return Ok(()); // The checksum decides.
        }
        partial.restart(self.partial)?;
        let detail = "what was here is longer than the file".to_owned();
        Err(ModelError::Interrupted { url: shown(self.url), done: 0, detail })
    }

    fn receive(
        &self,
        response: &mut Response<Body>,
        total: Option<u64>,
        partial: &mut Partial,
        report: Report<'_>,
    ) -> Result<(), ModelError> {
        let mut body = response.body_mut().as_reader();
        let mut piece = vec![0; 64 << 10];
        let broke_off = |done, detail| ModelError::Interrupted { url: shown(self.url), done, detail };
        loop {
            report(Progress { activity: "downloading", file: self.title, done: partial.done, total });
            let count = body.read(&mut piece).map_err(|error| broke_off(partial.done, error.to_string()))?;
            if count == 0 {
                break;
            }
            partial.append(&piece[..count]).map_err(ModelError::io("writing", self.partial))?;
        }
        match total {
            Some(total) if partial.done < total => {
                Err(broke_off(partial.done, format!("{total} were announced")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check(&self, partial: Partial) -> Result<String, ModelError> {
        let actual = store::hex(&partial.hasher.finalize());
        match self.sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&actual) => {
                fs::remove_file(self.partial).map_err(ModelError::io("removing", self.partial))?;
                let path = self.partial.to_owned();
                Err(ModelError::WrongChecksum { path, expected: expected.to_owned(), actual })
            }
            Some(_) | None => Ok(actual),
        }
    }
}

/// A partial file, and the checksum of its content so far.
struct Partial {
    file: File,
    hasher: Sha256,
    done: u64,
}

impl Partial {
    fn open(path: &Path, keeps_beginning: bool) -> Result<Partial, ModelError> {
        let failed = || ModelError::io("opening", path);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut partial = Partial { file: file.map_err(failed())?, hasher: Sha256::new(), done: 0 };
        if keeps_beginning {
            let mut piece = vec![0; 1 << 20];
            loop {
                let count = partial.file.read(&mut piece).map_err(failed())?;
                if count == 0 {
                    break;
                }
                partial.hasher.update(&piece[..count]);
                partial.done += count as u64;
            }
        } else {
            partial.restart(path)?;
        }
        Ok(partial)
    }

    fn append(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.file.write_all(piece)?;
        self.hasher.update(piece);
        self.done += piece.len() as u64;
        Ok(())
    }

    fn restart(&mut self, path: &Path) -> Result<(), ModelError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(ModelError::io("emptying", path))?;
        self.hasher = Sha256::new();
        self.done = 0;
        Ok(())
    }
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    header(response, "content-length")?.parse().ok()
}

/// Whether `content-range: bytes 100-199/200` starts at the expected position.
fn starts_at(response: &Response<Body>, expected: u64) -> bool {
    let range = header(response, "content-range").and_then(|text| text.trim().strip_prefix("bytes "));
    range.and_then(|text| text.split_once('-')).is_some_and(|(start, _)| start.parse() == Ok(expected))
}
