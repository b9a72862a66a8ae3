//! Demand estimate: which part of the node's time to reserve for expected arrivals with more value per work.
//!
//! Above capacity some requests are rejected, and these should be the ones with the least value per unit of work,
//! even if they arrive first: a long report admitted now costs ten short answers that arrive while it runs. So a
//! new request is planned with the part of the node's time until its deadline that denser requests leave to it,
//! on the assumption that they keep arriving at their recent rate. Denser requests with later deadlines count
//! less, because they can be served after it. Below capacity nothing is reserved, nor on an idle node.
//!
//! Above capacity tenants get weighted fair shares of it, as far as they have demand (max-min fairness): a request of a
//! tenant that has had more than its share leaves to the others what they need of theirs, and demand of a tenant
//! beyond its share reserves nothing against others.
//!
//! Reserved capacity is for what was served: a caller chooses the values and sizes of its requests, so refused
//! requests count with a value of at most 1 and for no more work than the admitted ones, and cancelled requests
//! count for the work that was done.

use std::collections::{BTreeMap, VecDeque};

use crate::model::request::{Request, RequestId, Tenant};
use crate::model::time::{Instant, Span};

/// Length of the window of past arrivals.
const WINDOW: Span = Span(60_000_000_000);
/// The shortest window that rates are computed over.
const LEAST_WINDOW: Span = Span(8_000_000_000);
/// The most arrivals remembered.
const MAX_ARRIVALS: usize = 512;
/// Utilization up to which all demand can be served, so that nothing is reserved.
const FULL: f64 = 0.9;
/// The part of its slack after which a request is assumed to be served.
const SERVED_AT: f64 = 0.5;
/// The largest part of the node's time that is reserved.
const MAX_RESERVE: f64 = 0.95;

/// Estimates demand from the arrivals of the latest minute: their times, work, values and slacks, by tenant.
#[derive(Clone, Debug, Default)]
pub struct DemandEstimator {
    /// Apart, so that a flood of one tenant's requests does not push out those of the others.
    recent: BTreeMap<Option<u32>, VecDeque<Arrival>>,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    id: RequestId,
    at: Instant,
    work: Span,
    value: u32,
    slack: Span,
    is_refused: bool,
    tenant: Option<Tenant>,
}

impl Arrival {
    /// `None` for a best-effort request, which has no claim to capacity.
    fn new(now: Instant, request: &Request, work: Span) -> Option<Self> {
        let due = request.urgency().due()?;
        let (id, value, slack) = (request.id, request.value, due.since(now));
        Some(Self { id, at: now, work, value, slack, is_refused: false, tenant: request.tenant })
    }

    /// Value per second of the node's time.
    fn density(&self) -> f64 {
        f64::from(self.value) / self.work.as_seconds().max(1e-9)
    }
}

impl DemandEstimator {
    /// Notes an arrival; `work` is the node time it takes in a full batch.
    pub fn note(&mut self, now: Instant, request: &Request, work: Span) {
        let Some(arrival) = Arrival::new(now, request, work) else { return };
        let recent = self.recent.entry(arrival.tenant.map(|tenant| tenant.id)).or_default();
        if recent.len() == MAX_ARRIVALS {
            recent.pop_front();
        }
        recent.push_back(arrival);
    }

    /// Notes that a request was refused.
    pub fn note_refused(&mut self, id: RequestId) {
        for recent in self.recent.values_mut() {
            if let Some(arrival) = recent.iter_mut().rev().find(|arrival| arrival.id == id) {
                arrival.is_refused = true;
                arrival.value = arrival.value.min(1);
            }
        }
    }

    /// Notes that a request was cancelled after this part of its work, from 0 to 1.
    pub fn note_cancelled(&mut self, id: RequestId, part: f64) {
        for recent in self.recent.values_mut() {
            if let Some(index) = recent.iter().rposition(|arrival| arrival.id == id) {
                let work = recent[index].work.scaled(part);
                recent[index].work = work;
                if work == Span::ZERO {
                    recent.remove(index);
                }
            }
        }
    }

    /// Whether a request with a deadline or target has arrived within the latest minute.
    pub fn is_recent(&self, now: Instant) -> bool {
        let latest = self.recent.values().filter_map(VecDeque::back);
        latest.map(|arrival| arrival.at).max().is_some_and(|at| now.since(at) <= WINDOW)
    }

    /// The part of the node's time until a request's deadline, from 0 to below 1, that is reserved for expected
    /// arrivals: those with more value per work than the request has for `work`, and, if its tenant has had more than
    /// its share, those of other tenants within theirs. 0 while all demand can be served. An expected arrival counts
    /// only as far as it would be served before that deadline.
    pub(super) fn reserve(&self, now: Instant, request: &Request, work: Span) -> f64 {
        let Some(own) = Arrival::new(now, request, work) else { return 0.0 };
        let tenants: Vec<TenantDemand<'_>> =
            self.recent.values().filter_map(|recent| TenantDemand::of(recent, now)).collect();
        if tenants.iter().map(|tenant| tenant.demand).sum::<f64>() <= FULL {
            return 0.0;
        }
        let shares = fair_shares(&tenants, FULL);
        let own_tenant = request.tenant.map(|tenant| tenant.id);
        let is_over = tenants.len() > 1
            && std::iter::zip(&tenants, &shares)
                .any(|(tenant, &fair)| tenant.id == own_tenant && tenant.admitted > fair);
        let (own_density, own_s) = (own.density(), own.slack.as_seconds().max(1e-9));
        let (mut denser, mut refused, mut others) = (0.0, 0.0, 0.0);
        for (tenant, fair) in std::iter::zip(&tenants, shares) {
            let is_other = tenant.id != own_tenant;
            // Of another tenant's demand, what is within its share.
            let part = if is_other { (fair / tenant.demand.max(1e-9)).min(1.0) } else { 1.0 };
            for arrival in tenant.arrivals() {
                let served_after = SERVED_AT * arrival.slack.as_seconds() / own_s;
                let before_s = arrival.work.as_seconds() * (1.0 - served_after).max(0.0);
                let rate = part * before_s / tenant.window_s;
                if arrival.density() > own_density {
                    let sum = if arrival.is_refused { &mut refused } else { &mut denser };
                    *sum += rate;
                }
                if is_other && is_over {
                    others += rate;
                }
            }
        }
        let denser = denser + f64::min(refused, denser);
        denser.max(others).min(MAX_RESERVE)
    }
}

/// The arrivals of one tenant within the window. Rates are parts of the node's time.
struct TenantDemand<'a> {
    id: Option<u32>,
    weight: f64,
    recent: &'a VecDeque<Arrival>,
    /// Index of the first arrival within the window.
    first: usize,
    /// From the first arrival within the window, so that a pause does not lower the estimated rate.
    window_s: f64,
    /// All of its demand, refused requests included.
    demand: f64,
    /// What it was given.
    admitted: f64,
}

impl<'a> TenantDemand<'a> {
    /// `None` without an arrival within the window.
    fn of(recent: &'a VecDeque<Arrival>, now: Instant) -> Option<Self> {
        let earliest = Instant(now.0.saturating_sub(WINDOW.0));
        let first = recent.partition_point(|arrival| arrival.at < earliest);
        let begin = recent.get(first)?.at;
        let tenant = recent.back()?.tenant;
        let window_s = now.since(begin).max(LEAST_WINDOW).as_seconds();
        let (mut demand_s, mut admitted_s) = (0.0, 0.0);
        for arrival in recent.range(first..) {
            let work_s = arrival.work.as_seconds();
            demand_s += work_s;
            admitted_s += if arrival.is_refused { 0.0 } else { work_s };
        }
        Some(Self {
            id: tenant.map(|tenant| tenant.id),
            weight: tenant.map_or(1.0, |tenant| f64::from(tenant.weight.max(1))),
            recent,
            first,
            window_s,
            demand: demand_s / window_s,
            admitted: admitted_s / window_s,
        })
    }

    fn arrivals(&self) -> impl Iterator<Item = &Arrival> {
        self.recent.range(self.first..)
    }
}

/// The weighted max-min fair share of each tenant in a capacity: a tenant that needs no more than its part by weight gets
/// what it needs, and the others share what is left (progressive filling).
fn fair_shares(tenants: &[TenantDemand<'_>], capacity: f64) -> Vec<f64> {
    let by_weight = |index: usize| tenants[index].demand / tenants[index].weight;
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by(|&one, &other| by_weight(one).total_cmp(&by_weight(other)));
    let (mut left, mut weights) = (capacity, tenants.iter().map(|tenant| tenant.weight).sum::<f64>());
    let mut shares = vec![0.0; tenants.len()];
    for index in order {
        shares[index] = tenants[index].demand.min(left * tenants[index].weight / weights);
        left -= shares[index];
        weights -= tenants[index].weight;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::request::RequestId;
    use crate::model::units::Tokens;

    const SHORT: Span = Span::from_millis(200);
    const LONG: Span = Span::from_millis(2_000);
    /// The slacks of short and of long requests.
    const SOON: Span = Span::from_millis(1_000);
    const LATER: Span = Span::from_millis(30_000);

    fn request(at: Instant, slack: Span) -> Request {
        Request { deadline: Some(at + slack), ..Request::new(RequestId(0), at, Tokens(1), Tokens(1)) }
    }

    fn note(demand: &mut DemandEstimator, at: Instant, work: Span) {
        demand.note(at, &request(at, if work == SHORT { SOON } else { LATER }), work);
    }

    fn reserve(demand: &DemandEstimator, now: Instant, work: Span) -> f64 {
        demand.reserve(now, &request(now, if work == SHORT { SOON } else { LATER }), work)
    }

    /// Ten seconds in which a short request comes every `short_ms` and a long one every second.
    fn demand(short_ms: u64) -> (DemandEstimator, Instant) {
        let mut demand = DemandEstimator::default();
        for ms in 0..10_000 {
            let now = Instant::START + Span::from_millis(ms);
            if ms % short_ms == 0 {
                note(&mut demand, now, SHORT);
            }
            if ms % 1_000 == 0 {
                note(&mut demand, now, LONG);
            }
        }
        (demand, Instant::START + Span::from_millis(10_000))
    }

    #[test]
    fn reserves_the_recent_share_of_denser_requests() {
        let (demand, now) = demand(400);
        // 25 short requests took 5 of 10 seconds; those that arrive in the last half second of the 30 can wait.
        let reserved = 0.5 * 29.5 / 30.0;
        assert!((reserve(&demand, now, LONG) - reserved).abs() < 1e-9, "{}", reserve(&demand, now, LONG));
        assert_eq!(reserve(&demand, now, SHORT), 0.0, "no arrivals cost less");
        let denser = Request { value: 11, ..request(now, LATER) };
        assert_eq!(demand.reserve(now, &denser, LONG), 0.0, "eleven times the value, ten times the work");
    }

    #[test]
    fn refused_requests_count_without_their_value_and_no_more_than_admitted_ones() {
        let denser = |id, now| Request { id: RequestId(id), value: 1_000, ..request(now, SOON) };
        let now = Instant::START;
        let mut refused = DemandEstimator::default();
        for id in 0..300 {
            refused.note(now, &denser(id, now), LONG);
            refused.note_refused(RequestId(id));
        }
        assert_eq!(reserve(&refused, now, LONG), 0.0, "of the same value for their work");
        let mut short = DemandEstimator::default();
        for id in 0..100 {
            short.note(now, &denser(id, now), SHORT);
            short.note_refused(RequestId(id));
        }
        assert_eq!(reserve(&short, now, LONG), 0.0, "none was admitted");
        (100..110).for_each(|id| short.note(now, &denser(id, now), SHORT));
        let admitted = 10.0 * 0.2 / 8.0 * 29.5 / 30.0;
        assert!((reserve(&short, now, LONG) - 2.0 * admitted).abs() < 1e-9, "{}", reserve(&short, now, LONG));
    }

    #[test]
    fn cancelled_requests_count_for_the_work_that_was_done() {
        let now = Instant::START;
        let mut demand = DemandEstimator::default();
        for id in 0..40 {
            let request = Request { id: RequestId(id), value: 1_000, ..request(now, SOON) };
            demand.note(now, &request, LONG);
            demand.note_cancelled(RequestId(id), if id < 20 { 0.0 } else { 0.25 });
        }
        assert_eq!(demand.recent[&None].len(), 20, "those cancelled before their start are forgotten");
        let (cancelled_s, window_s) = (20.0 * 0.5, 8.0);
        let reserved = cancelled_s / window_s * 29.5 / 30.0;
        assert!((reserve(&demand, now, LONG) - f64::min(reserved, MAX_RESERVE)).abs() < 1e-9);
    }

    #[test]
    fn reserves_less_for_requests_that_can_be_served_later() {
        let (demand, now) = demand(400);
        let reserved = |slack| demand.reserve(now, &request(now, slack), LONG);
        assert!((reserved(SOON) - 0.5 * 0.5).abs() < 1e-9, "the same slack as theirs: {}", reserved(SOON));
        assert_eq!(reserved(Span::from_millis(500)), 0.0, "all of them can wait until it is done");
    }

    #[test]
    fn reserves_nothing_while_all_demand_can_be_served() {
        let mut demand = DemandEstimator::default();
        (0..20).for_each(|half_s| note(&mut demand, Instant(half_s * 500_000_000), SHORT));
        assert_eq!(reserve(&demand, Instant(10_000_000_000), LONG), 0.0);
    }

    #[test]
    fn a_pause_does_not_lower_the_estimated_rate() {
        let (before, now) = demand(400);
        let mut after = before.clone();
        let resumed = now + Span::from_millis(55_000);
        (0..40).for_each(|count| note(&mut after, resumed + SHORT * count, SHORT));
        (0..10).for_each(|count| note(&mut after, resumed + SHORT * (4 * count), LONG));
        let mut fresh = DemandEstimator::default();
        (0..40).for_each(|count| note(&mut fresh, resumed + SHORT * count, SHORT));
        (0..10).for_each(|count| note(&mut fresh, resumed + SHORT * (4 * count), LONG));
        let later = resumed + Span::from_millis(8_000);
        assert!(reserve(&after, later, LONG) > 0.9, "{}", reserve(&after, later, LONG));
        assert_eq!(reserve(&after, later, LONG), reserve(&fresh, later, LONG));
    }

    #[test]
    fn forgets_arrivals_of_more_than_a_minute_ago() {
        let (demand, now) = demand(400);
        assert_eq!(reserve(&demand, now + WINDOW + Span(1), LONG), 0.0);
    }

    fn of_tenant(id: u64, tenant: u32, weight: u32, at: Instant) -> Request {
        Request { id: RequestId(id), tenant: Some(Tenant { id: tenant, weight }), ..request(at, LATER) }
    }

    /// Ten seconds in which tenant 1 asks for half of the node's time and tenant 2 for twice all of it.
    fn flooded(weight: u32) -> (DemandEstimator, Instant) {
        let mut demand = DemandEstimator::default();
        for number in 0..10 {
            let now = Instant::START + Span::from_millis(number * 1_000);
            demand.note(now, &of_tenant(100 + number, 1, weight, now), Span::from_millis(500));
            demand.note(now, &of_tenant(200 + number, 2, 1, now), LONG);
            if number % 2 == 0 {
                demand.note_refused(RequestId(200 + number));
            }
        }
        (demand, Instant::START + Span::from_millis(10_000))
    }

    #[test]
    fn a_tenant_beyond_its_share_leaves_the_others_theirs() {
        let (demand, now) = flooded(1);
        // Of 9 seconds tenant 1 may have 4.5, and needs 5; slacks are equal, so half of an arrival is served before.
        let reserved = demand.reserve(now, &of_tenant(1, 2, 1, now), LONG);
        assert!((reserved - 4.5 / 10.0 * 0.5).abs() < 1e-9, "{reserved}");
        let (weighty, now) = flooded(3);
        let reserved = weighty.reserve(now, &of_tenant(1, 2, 1, now), LONG);
        assert!((reserved - 5.0 / 10.0 * 0.5).abs() < 1e-9, "all that it needs: {reserved}");
    }

    #[test]
    fn a_tenant_within_its_share_leaves_nothing_to_one_beyond() {
        let (demand, now) = flooded(3);
        assert_eq!(demand.reserve(now, &of_tenant(1, 1, 3, now), Span::from_millis(500)), 0.0);
        let (mut dense, now) = flooded(1);
        for id in 0..100 {
            dense.note(now, &of_tenant(300 + id, 2, 1, now), SHORT);
        }
        // What is denser counts for at most the share of its tenant.
        let reserved = dense.reserve(now, &of_tenant(1, 1, 1, now), Span::from_millis(500));
        assert!(reserved < 0.5 * 0.5, "{reserved}");
    }

    #[test]
    fn a_tenant_alone_has_everything() {
        let mut demand = DemandEstimator::default();
        for number in 0..20 {
            let now = Instant::START + Span::from_millis(number * 500);
            demand.note(now, &of_tenant(number, 2, 1, now), LONG);
        }
        let now = Instant::START + Span::from_millis(10_000);
        assert_eq!(demand.reserve(now, &of_tenant(100, 2, 1, now), LONG), 0.0);
    }
}
