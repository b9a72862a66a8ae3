//! The number of connections, in all and of each peer; the one that has been idle longest makes way for a new one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places for connections.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections_max: usize,
    per_peer_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Open>,
    per_peer: HashMap<IpAddr, usize>,
    /// Counts connections and the ends of their requests: the smaller, the longer ago.
    clock: u64,
}

#[derive(Debug)]
struct Open {
    peer: IpAddr,
    requests: usize,
    /// When it became idle, by [`State::clock`].
    idle_since: u64,
    evicted: Arc<Notify>,
}

/// There is no place for a connection, and none is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    All,
    /// The peer has as many as one may have.
    Peer,
}

impl Full {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::Peer => "connections_per_peer",
        }
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    id: u64,
    evicted: Arc<Notify>,
}

/// A request of a connection, which is not idle until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    slots: Slots,
    id: u64,
}

impl Slots {
    /// So many places, of which one peer may take so many.
    pub(super) fn new(connections_max: usize, per_peer_max: usize) -> Self {
        Self(Arc::new(Inner { connections_max, per_peer_max, state: Mutex::default() }))
    }

    /// Takes a place, if need be that of the longest idle connection: of the same peer where the peer has too many.
    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Full> {
        let peer = peer_of(address);
        let mut state = self.lock();
        if state.per_peer.get(&peer).is_some_and(|&count| count >= self.0.per_peer_max) {
            state.evict(|open| open.peer == peer).ok_or(Full::Peer)?;
        }
        if state.open.len() >= self.0.connections_max {
            state.evict(|_| true).ok_or(Full::All)?;
        }
        state.clock += 1;
        let (id, evicted) = (state.clock, Arc::new(Notify::new()));
        state.open.insert(id, Open { peer, requests: 0, idle_since: id, evicted: Arc::clone(&evicted) });
        *state.per_peer.entry(peer).or_default() += 1;
        drop(state);
        Ok(Slot { slots: self.clone(), id, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the place of the longest idle connection of those chosen, and notifies it.
    fn evict(&mut self, chosen: impl Fn(&Open) -> bool) -> Option<()> {
        let idle = self.open.iter().filter(|(_, open)| open.requests == 0 && chosen(open));
        let id = *idle.min_by_key(|(_, open)| open.idle_since)?.0;
        self.remove(id)?.evicted.notify_one();
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(count) = self.per_peer.get_mut(&open.peer) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&open.peer);
            }
        }
        Some(open)
    }
}

impl Slot {
    /// Waits until another connection has taken the place.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Marks the connection as busy with a request.
    pub(super) fn busy(&self) -> Busy {
        if let Some(open) = self.slots.lock().open.get_mut(&self.id) {
            open.requests += 1;
        }
        Busy { slots: self.slots.clone(), id: self.id }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // If it was evicted, its place is gone already.
        self.slots.lock().remove(self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some(open) = state.open.get_mut(&self.id) {
            open.requests -= 1;
            open.idle_since = now;
        }
    }
}

/// The address that counts as one peer: of IPv6 the network, because a host has all of its addresses.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn peer(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn is_evicted(slot: &Slot) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_longest_idle_connection_makes_way_and_a_busy_one_does_not() {
        let slots = Slots::new(3, 3);
        let [first, second, third] = [1, 2, 3].map(|number| slots.take(peer(number)).unwrap());
        let busy = first.busy();
        let fourth = slots.take(peer(4)).unwrap();
        assert_eq!([&first, &second, &third].map(is_evicted), [false, true, false]);
        drop(busy);
        let _fifth = slots.take(peer(5)).unwrap();
        assert_eq!(
            [&first, &third, &fourth].map(is_evicted),
            [false, true, false],
            "the third is idle longest"
        );
        drop((first, second, third, fourth));
        assert_eq!(slots.lock().open.len(), 1, "an evicted connection gives its place back once");
    }

    #[test]
    fn nothing_makes_way_where_all_are_busy() {
        let slots = Slots::new(2, 2);
        let [one, other] = [1, 2].map(|number| slots.take(peer(number)).unwrap());
        let busy = [one.busy(), other.busy()];
        assert_eq!(slots.take(peer(3)).unwrap_err(), Full::All);
        drop(busy);
        assert!(slots.take(peer(3)).is_ok());
    }

    #[test]
    fn a_peer_with_too_many_connections_loses_its_own() {
        let slots = Slots::new(10, 2);
        let other = slots.take(peer(1)).unwrap();
        let mine = [0, 1].map(|_| slots.take(peer(2)).unwrap());
        let third = slots.take(peer(2)).unwrap();
        assert!(is_evicted(&mine[0]) && !is_evicted(&mine[1]) && !is_evicted(&other));
        let _busy = [mine[1].busy(), third.busy()];
        assert_eq!(slots.take(peer(2)).unwrap_err(), Full::Peer);
        assert!(slots.take(peer(1)).is_ok());
    }

    #[test]
    fn the_addresses_of_one_network_are_one_peer_in_ipv6() {
        let of = |text: &str| peer_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
