//! OR-tools' CP-SAT as a peer, in a Python process that stays open; `cp_sat.py` defines the protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use hedgerow_solver::Instance;
use hedgerow_workload::hint::hinted;
use serde::Deserialize;

use super::measure::Measured;
use crate::instance_file::InstanceFile;

/// Its name in tables.
pub(super) const NAME: &str = "cp-sat";

/// The name of its search alone in tables.
pub(super) const SEARCH: &str = "cp-sat-search";

const SCRIPT: &str = include_str!("cp_sat.py");

/// A Python process that runs the script; stopped when dropped.
pub(super) struct CpSat {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    version: String,
}

/// The script's first line.
#[derive(Deserialize)]
struct Hello {
    version: String,
}

/// The script's reply to an instance.
#[derive(Deserialize)]
struct Reply {
    value: u128,
    bound: u128,
    chosen: Vec<usize>,
    seconds: f64,
    search_seconds: f64,
}

impl CpSat {
    /// Starts the script.
    ///
    /// # Errors
    ///
    /// When the Python does not start, or cannot import ortools.
    pub(super) fn start(python: &Path, time_limit: Duration) -> anyhow::Result<Self> {
        let cannot = |what: String| {
            let hint = "make one: python3 -m venv ortools && ortools/bin/pip install ortools; \
                        then `--cp-sat ortools/bin/python`";
            hinted(format!("{} cannot run CP-SAT: {what}", python.display()), hint)
        };
        let mut child = Command::new(python)
            .args(["-c", SCRIPT, &time_limit.as_secs_f64().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| cannot(error.to_string()))?;
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut cp_sat = Self { child, input, output, version: String::new() };
        let Hello { version } = cp_sat.reply().map_err(|error| cannot(format!("{error:#}")))?;
        cp_sat.version = version;
        Ok(cp_sat)
    }

    /// The version of OR-tools.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Solves an instance. The time is that of the whole answer; CP-SAT's own search time, without the bounds and
    /// models that Python builds, is returned too.
    pub(super) fn solve(&mut self, instance: &Instance) -> anyhow::Result<Measured> {
        let ids = (0..instance.items.len()).map(|index| index.to_string()).collect();
        let file = InstanceFile { name: None, ids, instance: instance.clone() };
        let line = file.to_json().replace('\n', " ") + "\n";
        self.input.write_all(line.as_bytes()).context("writing to the Python of CP-SAT")?;
        let Reply { value, bound, chosen, seconds, search_seconds } = self.reply().context("CP-SAT")?;
        let time = Duration::try_from_secs_f64(seconds).context("CP-SAT's seconds")?;
        let search = Duration::try_from_secs_f64(search_seconds).context("CP-SAT's seconds")?;
        Ok(Measured { chosen, value, bound, nodes: None, time, search: Some(search) })
    }

    fn reply<T: for<'de> Deserialize<'de>>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("reading from the Python of CP-SAT")?;
        if line.is_empty() {
            anyhow::bail!("it ended without an answer; its reason may be printed above");
        }
        serde_json::from_str(&line).with_context(|| format!("`{}` is no answer", line.trim_end()))
    }
}

impl Drop for CpSat {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
