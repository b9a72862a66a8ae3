//! Durable batches: files of requests, their lines and their results, in one SQLite database.
//!
//! - takes: uploaded files, batches over them, and the answer to each line
//! - gives: the lines to run, the state of batches, and result files, in OpenAI's objects
//! - never: runs a request, reads a clock, or starts a thread
//!
//! Read [`Store`] first. Each change is one transaction that is on disk before the call returns, so that after
//! `kill -9` or a power cut at any moment each line of a batch is exactly once in its results. A line that is being run
//! waits here until its answer is stored, so a line that was interrupted is simply run again.
//!
//! The bytes of files are in the database, in chunks, and not in files beside it: a file and the batch that uses it
//! are then stored or deleted in one transaction, and nothing has to be cleaned up or reconciled after a crash. Result
//! files have no bytes of their own: they are the stored results of the lines, in the order of the lines.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod batches;
mod error;
mod files;
mod id;
mod line;
mod results;
mod schema;
mod store;
mod window;
mod work;

pub use batches::{BatchErrors, BatchObject, Metadata, NewBatch, RequestCounts, Status};
pub use error::StoreError;
pub use files::{FileObject, Listing, Part, UploadId};
pub use line::{ENDPOINTS, LineError};
pub use results::Answer;
pub use store::{Limits, Page, Store};
pub use window::CompletionWindow;
pub use work::{Begun, Line, OpenBatch};
