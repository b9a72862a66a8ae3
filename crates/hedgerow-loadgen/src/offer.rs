//! Offers a workload to a server, in an open or a closed loop.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::Until;
use super::draw::Draws;
use super::outcome::{Ending, Record};
use super::{Client, Request};

/// What clients do at their deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait for the answer, however late.
    Wait,
    /// Close the connection, which cancels the request.
    HangUp,
}

impl Patience {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::HangUp => "hang-up",
        }
    }
}

impl FromStr for Patience {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "wait" => Ok(Self::Wait),
            "hang-up" => Ok(Self::HangUp),
            _ => Err("clients either `wait` or `hang-up`"),
        }
    }
}

/// How a workload is offered.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// What clients do at their deadline.
    pub patience: Patience,
    /// How long requests are sent.
    pub duration: Duration,
    /// How long to wait for answers after that.
    pub drain: Duration,
}

/// The results of a workload.
#[derive(Clone, Debug)]
pub struct Run {
    /// Every request, in the order in which they were due.
    pub records: Vec<Record>,
    /// How long requests were sent.
    pub duration: Duration,
    /// From the start to the end of the last request.
    pub took: Duration,
}

impl Offer {
    /// Open loop: sends every request at its own time, whatever the state of those before it. `watch` is called with
    /// each as it ends.
    ///
    /// # Errors
    ///
    /// When a client's task panics; a server's errors are in the records.
    pub async fn open_loop(
        self,
        client: &Client,
        requests: &[Request],
        mut watch: impl FnMut(&Record),
    ) -> anyhow::Result<Run> {
        let start = Instant::now();
        let mut to_send = requests.iter().enumerate().peekable();
        let mut underway = JoinSet::new();
        let mut records: Vec<(usize, Record)> = Vec::with_capacity(requests.len());
        loop {
            let due = to_send.peek().map(|(_, request)| start + request.at);
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(start)), if due.is_some() => {
                    if let Some((index, request)) = to_send.next() {
                        let (client, request) = (client.clone(), request.clone());
                        underway.spawn(async move { (index, self.ask(&client, request, start).await) });
                    }
                }
                Some(ended) = underway.join_next(), if !underway.is_empty() => {
                    let (index, record) = ended.context("waiting for an answer")?;
                    watch(&record);
                    records.push((index, record));
                }
                else => break,
            }
        }
        records.sort_by_key(|(index, _)| *index);
        let records = records.into_iter().map(|(_, record)| record).collect();
        Ok(Run { records, duration: self.duration, took: start.elapsed() })
    }

    /// Closed loop: a number of clients, each of which sends its next request when the one before has ended.
    ///
    /// # Errors
    ///
    /// When a client's task panics.
    pub async fn closed_loop(
        self,
        client: &Client,
        callers: usize,
        draws: Draws,
        mut watch: impl FnMut(&Record),
    ) -> anyhow::Result<Run> {
        let start = Instant::now();
        let draws = Arc::new(Mutex::new(draws));
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut underway = JoinSet::new();
        for _ in 0..callers {
            let (client, draws, sender) = (client.clone(), Arc::clone(&draws), sender.clone());
            underway.spawn(async move {
                while start.elapsed() < self.duration {
                    let next = draws.lock().unwrap_or_else(PoisonError::into_inner).any();
                    let record = self.ask(&client, Request { at: start.elapsed(), ..next }, start).await;
                    let is_refused = record.heard.status != Some(200);
                    if sender.send(record).is_err() {
                        return;
                    }
                    if is_refused {
                        // Without a pause, a refused client would retry thousands of times a second.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        drop(sender);
        let mut records = Vec::new();
        while let Some(record) = receiver.recv().await {
            watch(&record);
            records.push(record);
        }
        while let Some(ended) = underway.join_next().await {
            ended.context("waiting for an answer")?;
        }
        records.sort_by_key(|record| record.due);
        Ok(Run { records, duration: self.duration, took: start.elapsed() })
    }

    async fn ask(self, client: &Client, request: Request, start: Instant) -> Record {
        let sent = Instant::now();
        let over = start + self.duration + self.drain;
        let hangs_up =
            request.deadline.filter(|_| self.patience == Patience::HangUp).map(|after| sent + after);
        let until = match hangs_up {
            Some(at) if at <= over => Until { at, ending: &Ending::HungUp },
            Some(_) | None => Until { at: over, ending: &Ending::Unfinished },
        };
        let heard = client.ask(&request, sent, until).await;
        Record {
            class: request.class,
            due: request.at,
            sent: sent - start,
            prompt_asked: request.prompt_tokens,
            output_asked: request.output_tokens,
            deadline: request.deadline,
            heard,
        }
    }
}
