//! Measures the time of one decision with a long queue: takes the node of a recording, fills the queue with requests
//! with long deadlines, and then adds arrivals one by one.
//!
//! `cargo run --release -p hedgerow-sim --example plan_time -- RECORDING [WAITING]`

#![expect(clippy::disallowed_methods, reason = "it measures wall time")]

use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;
use hedgerow_core::{Event, Pipeline};
use hedgerow_workload::Recording;

/// Number of timed arrivals.
const TIMED: u64 = 2_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        eprintln!("usage: plan_time RECORDING [WAITING]");
        std::process::exit(2);
    };
    let waiting: usize = args.next().and_then(|count| count.parse().ok()).unwrap_or(256);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let header =
        Recording::read(std::io::BufReader::new(file)).unwrap_or_else(|error| panic!("{error}")).header;
    let mut pipeline = Pipeline::new(header.node, header.settings);
    let mut id = 0;
    let mut request = |at: Instant| {
        id += 1;
        Request {
            // Deadlines from ten minutes to an hour: all requests are feasible, so all wait.
            deadline: Some(at + Span::from_seconds(600.0 + (id * 7_919 % 3_000) as f64)),
            ..Request::new(
                RequestId(id),
                at,
                Tokens(20 + (id * 31 % 80) as u32),
                Tokens(8 + (id * 17 % 40) as u32),
            )
        }
    };
    let mut now = Instant::START;
    while pipeline.queue_len() < waiting {
        now = now + Span::from_millis(1);
        let next = request(now);
        pipeline.on_event(now, Event::Arrived(next));
    }
    let mut micros: Vec<u128> = (0..TIMED)
        .map(|_| {
            now = now + Span::from_millis(1);
            let next = request(now);
            let name = next.id;
            let start = std::time::Instant::now();
            pipeline.on_event(now, Event::Arrived(next));
            let taken = start.elapsed().as_micros();
            // Keeps the queue length constant.
            pipeline.on_event(now, Event::Cancelled(name));
            taken
        })
        .collect();
    micros.sort_unstable();
    let rank = |part: usize| micros[micros.len() * part / 1_000];
    println!(
        "{} waiting, {} running: a decision takes p50 {} us, p99 {} us, p99.9 {} us",
        pipeline.queue_len(),
        pipeline.running().len(),
        rank(500),
        rank(990),
        rank(999)
    );
}
