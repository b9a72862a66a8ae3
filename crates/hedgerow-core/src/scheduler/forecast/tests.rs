use hedgerow_solver::Policy;
use proptest::prelude::*;

use super::super::calibration::StepTimeCalibration;
use super::super::demand::DemandEstimator;
use super::super::view::NodeState;
use super::*;
use crate::allocator::Ledger;
use crate::model::cost::{CostModel, MeasuredCost, Surface};
use crate::model::grant::Grant;
use crate::model::node::Node;
use crate::model::request::RequestId;
use crate::model::running::Running;
use crate::model::settings::{Protocol, Settings};
use crate::pipeline::scripted;
use crate::scheduler::compose;

/// A node whose steps take longer the more sequences decode and the longer the chunks are.
fn node(precisions: usize, prefill_chunk: u32) -> Node {
    let times = |most| Surface::level(&[(1, Span::from_millis(4)), (most, Span::from_millis(40))]);
    let node = scripted::node();
    Node {
        precisions: vec![node.precisions[0].clone(); precisions],
        cost: CostModel::Measured(MeasuredCost { prefill: times(1_000), decode: times(8), mixed_ns: 0 }),
        prefill_chunk: Tokens(prefill_chunk),
        max_parallel: 8,
        ..node
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let none = Policy::None { accelerators: 2 };
    prop_oneof![
        Just(Policy::Dftsp),
        Just(Policy::Edf),
        Just(Policy::Fifo),
        Just(Policy::Static { size: 4 }),
        Just(none)
    ]
}

fn protocols() -> impl Strategy<Value = Protocol> {
    let epoch = Protocol::Epoch { length: Span::from_millis(2_000), compute_slot: Span::from_millis(1_000) };
    prop_oneof![Just(Protocol::Continuous), Just(epoch)]
}

/// A running request by its prompt's length and how much of it is prefilled, the output produced once all of it is,
/// its deadline, its precision, and when its next step may begin. Times are in milliseconds.
type Drawn = ((u32, u32), u32, Option<u64>, usize, u64);

fn drawn() -> impl Strategy<Value = Drawn> {
    let prompt = (1_u32..300).prop_flat_map(|prompt| (Just(prompt), prop_oneof![Just(prompt), 0..=prompt]));
    (prompt, 1_u32..20, proptest::option::weighted(0.8, 0_u64..3_000), 0_usize..3, 0_u64..10)
}

fn running(id: usize, drawn: &Drawn, precisions: usize) -> Running {
    let &((prompt, prefilled), produced, deadline_ms, precision, ready_ms) = drawn;
    let at = |millis| Instant::START + Span::from_millis(millis);
    let mut request = Request::new(RequestId(id as u64), Instant::START, Tokens(prompt), Tokens(20));
    request.deadline = deadline_ms.map(at);
    Running {
        precision: PrecisionIndex(precision % precisions),
        grant: Grant::default(),
        padded_len: request.prompt_len,
        started: Instant::START,
        ready: at(ready_ms),
        cached: Tokens::ZERO,
        prefilled: Tokens(prefilled),
        produced: Tokens(if prefilled == prompt { produced } else { 0 }),
        first_token: None,
        last_token: None,
        request,
    }
}

proptest! {
    #[test]
    fn the_first_step_of_a_forecast_is_the_one_that_is_ordered(
        requests in proptest::collection::vec(drawn(), 1..8),
        (policy, protocol) in (policies(), protocols()),
        (precisions, prefill_chunk, batch) in (1_usize..=3, 8_u32..200, 1_u32..=8),
        best_effort_has_credit in any::<bool>(),
    ) {
        let node = node(precisions, prefill_chunk);
        let settings = Settings { protocol, margin: 0.1, ..scripted::settings(policy) };
        let running: Vec<Running> =
            requests.iter().enumerate().map(|(id, drawn)| running(id, drawn, precisions)).collect();
        let state = NodeState {
            // The engine waits until a request is ready.
            now: running.iter().map(|running| running.ready).min().unwrap(),
            running: &running,
            in_flight: None,
            ledger: &Ledger::new(&node),
            node: &node,
            settings: &settings,
            calibration: &StepTimeCalibration::default(),
            demand: &DemandEstimator::default(),
            best_effort_has_credit,
            batch,
        };
        let ordered = compose(&state);
        let view = View { state, waiting: &[], admitted: &[], held: &[], load: None };
        let mut forecaster = StepForecaster::new(&view, batch, &[]);
        forecaster.best_effort_has_credit = best_effort_has_credit;
        let forecast = forecaster.next_step();
        let id = |place: usize| running[place].request.id;
        prop_assert!(!ordered.is_empty());
        prop_assert_eq!(forecast.precision, ordered.precision);
        let chunks: Vec<_> = ordered.prefill.iter().map(|chunk| (chunk.request, chunk.tokens)).collect();
        prop_assert_eq!(forecast.prefill.iter().map(|&(at, tokens)| (id(at), tokens)).collect::<Vec<_>>(), chunks);
        prop_assert_eq!(forecast.decode.into_iter().map(id).collect::<Vec<_>>(), ordered.decode);
        prop_assert_eq!(forecaster.now, Span::ZERO);
    }
}
