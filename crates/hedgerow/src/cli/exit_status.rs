//! The exit code of a command that ran to its end.

/// How a command ended; its number is the exit code. Code 2 means that the command could not run, as in `diff` and
/// `cmp`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExitStatus {
    Success = 0,
    /// What the command checks is wrong: an answer, a recording, the machine.
    CheckFailed = 1,
}

impl ExitStatus {
    pub(super) fn of(is_success: bool) -> Self {
        if is_success { Self::Success } else { Self::CheckFailed }
    }
}
