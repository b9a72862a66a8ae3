//! How lines look in every plot.

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
