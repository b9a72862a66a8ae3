//! How many files and sockets the process may have open.

/// Raises the soft limit of open files to the hard one, and returns the limit that is in force; `None`: there is none.
///
/// The soft limit is low for programs that use `select`, which this one does not.
#[cfg(target_os = "linux")]
pub(super) fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum;
    }
    limit.current
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn raise_limit() -> Option<u64> {
    None
}
