//! Socket pacing by the kernel: `SO_MAX_PACING_RATE`, which needs no privilege and no queueing discipline.

use std::sync::Once;

use tokio::net::TcpStream;

/// No rate limit.
pub(super) const UNLIMITED: u32 = u32::MAX;

/// Sets a socket's pacing rate in bytes per second. If the kernel refuses, logs once and leaves the socket unpaced.
pub(super) fn set(socket: &TcpStream, bytes_per_s: u32) {
    static REFUSED: Once = Once::new();
    if let Err(error) = option::set(socket, bytes_per_s) {
        REFUSED.call_once(|| {
            tracing::warn!(%error, "answers are not paced: this system refuses SO_MAX_PACING_RATE");
        });
    }
}

#[cfg(target_os = "linux")]
mod option {
    use nix::libc;
    use nix::sys::socket::SetSockOpt as _;
    use nix::sys::socket::sockopt::SetStruct;
    use tokio::net::TcpStream;

    #[derive(Clone, Copy)]
    struct MaxPacingRate;

    // 32 bits, which every kernel accepts: before 4.20 and on 32-bit machines it is the only size.
    nix::setsockopt_impl!(MaxPacingRate, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, u32, SetStruct<'_, u32>);

    pub(super) fn set(socket: &TcpStream, bytes_per_s: u32) -> std::io::Result<()> {
        Ok(MaxPacingRate.set(socket, &bytes_per_s)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod option {
    pub(super) fn set(_: &tokio::net::TcpStream, _: u32) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
