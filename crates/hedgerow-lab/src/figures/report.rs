//! All figures on one self-contained page.

use std::fmt::Write as _;

use super::claims::Claim;
use super::make::Filled;

// A table wider than a phone's screen scrolls by itself, not with the page.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
color:#111;background:#fff}svg{max-width:100%;height:auto}figure{margin:2rem 0;break-inside:avoid}\
figcaption{max-width:60rem}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}td,th{padding:.2rem .8rem;\
border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2)\
{text-align:left}";

/// Returns the report as HTML.
pub(super) fn html(figures: &[Filled<'_>], claims: &[Claim]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>hedgerow: figures</title>\n\
         <style>{STYLE}</style>\n<h1>hedgerow: figures</h1>\n<p>Made by hedgerow {} from the scenarios in it; the same \
         program makes the same bytes. Points are means over seeds, bars their 95&nbsp;% confidence intervals \
         (Student's t). Marks stand a little beside their place where they would hide each other; lines go through it. Each \
         figure has its numbers beside it as CSV.</p>\n",
        env!("CARGO_PKG_VERSION")
    );
    for filled in figures {
        let figure = filled.figure;
        let _ = write!(
            page,
            "<figure id=\"{0}\">\n<h2>{1}</h2>\n{2}\n<figcaption>{3} Numbers: <code>{0}.csv</code>.</figcaption>\n\
             </figure>\n",
            figure.name,
            escaped(figure.title),
            filled.svg,
            escaped(figure.caption),
        );
    }
    if !claims.is_empty() {
        page.push_str(&claims_table(claims));
    }
    page
}

fn claims_table(claims: &[Claim]) -> String {
    let mut table = String::from(
        "<h2>The order of policies</h2>\n<p>At how many places dftsp serves no fewer than static batching (StB), StB \
         no fewer than no batching (NoB), and dftsp no fewer than NoB; and dftsp's throughput in parts of StB's, at the \
         place where that is least and most, and over all places.</p>\n<table>\n<tr><th>figure<th>panel<th>places<th>\
         dftsp ≥ StB<th>StB ≥ NoB<th>dftsp ≥ NoB<th>least<th>most<th>over all\n",
    );
    let times = |gain: Option<f64>| gain.map_or("-".to_owned(), |gain| format!("{gain:.2} ×"));
    for claim in claims {
        let _ = writeln!(
            table,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}",
            claim.figure,
            escaped(&claim.panel),
            claim.points,
            claim.dftsp_at_least_static,
            claim.static_at_least_none,
            claim.dftsp_at_least_none,
            times(claim.gain_least),
            times(claim.gain_most),
            times(claim.gain_mean),
        );
    }
    table + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
