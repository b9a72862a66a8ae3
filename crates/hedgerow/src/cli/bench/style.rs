//! How lines and ticks look in every plot.

use kuva::plot::{LineStyle, MarkerShape};

/// A line's look.
pub(crate) struct Style {
    pub(crate) color: &'static str,
    pub(crate) line: LineStyle,
    pub(crate) marker: MarkerShape,
}

/// Colours that the colour-blind can tell apart (Okabe and Ito), each with its own marker and dashes, so that
/// they can also be told apart in grey.
pub(crate) const STYLES: [Style; 7] = [
    Style { color: "#0072B2", line: LineStyle::Solid, marker: MarkerShape::Circle },
    Style { color: "#D55E00", line: LineStyle::Dashed, marker: MarkerShape::Square },
    Style { color: "#009E73", line: LineStyle::Dotted, marker: MarkerShape::Triangle },
    Style { color: "#000000", line: LineStyle::DashDot, marker: MarkerShape::Cross },
    Style { color: "#CC79A7", line: LineStyle::Dashed, marker: MarkerShape::Diamond },
    Style { color: "#E69F00", line: LineStyle::Dotted, marker: MarkerShape::TriangleDown },
    Style { color: "#56B4E9", line: LineStyle::DashDot, marker: MarkerShape::Plus },
];

/// A tick of a time axis in milliseconds.
pub(in crate::cli) fn time_tick(ms: f64) -> String {
    if ms < 999.9 { format!("{} ms", (ms * 1e3).round() / 1e3) } else { format!("{} s", ms.round() / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_has_the_unit_that_people_use() {
        assert_eq!([0.5, 20.0, 1000.0, 2500.0].map(time_tick), ["0.5 ms", "20 ms", "1 s", "2.5 s"]);
    }
}
