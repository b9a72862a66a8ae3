//! The vocabulary that all stages share: quantities, the node, a request, a step, and the equations that hold
//! between them. It uses nothing but itself.

pub(crate) mod as_text;
pub mod cost;
pub mod grant;
pub mod modem;
pub mod node;
pub mod precision;
pub mod radio;
pub mod request;
pub mod running;
pub mod settings;
pub mod step;
pub mod time;
pub mod units;
pub mod wire;
