//! The ratios as bars.

use std::fmt::Write as _;

use crate::report::Report;

const ROW: usize = 22;
const LEFT: usize = 330;
const WIDTH: usize = 900;

/// An SVG with a bar for each line, on a logarithmic scale from 1/4 to 64.
pub(crate) fn bars(report: &Report) -> String {
    let height = ROW * (report.rows.len() + 2);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    for power in -2..=6 {
        let (at, label) = (x(2f64.powi(power)), 2f64.powi(power));
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "<line x1=\"{at:.0}\" x2=\"{at:.0}\" y1=\"{ROW}\" y2=\"{height}\" stroke=\"#ddd\"/><text x=\"{at:.0}\" y=\"14\" text-anchor=\"middle\">{label} ×</text>"
        );
    }
    for (number, row) in report.rows.iter().enumerate() {
        let Some(ratio) = row.ratio else { continue };
        let (top, one, end) = (ROW * (number + 1), x(1.0), x(ratio));
        let (from, length) = (one.min(end), (one - end).abs());
        let colour = if ratio < 1.0 { "#c0504d" } else { "#4f81bd" };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{from:.0}\" y=\"{}\" width=\"{length:.0}\" height=\"14\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
            LEFT - 10,
            top + 15,
            row.line,
            top + 4,
            one.max(end) + 4.0,
            top + 15
        );
    }
    out.push_str("</svg>\n");
    out
}

fn x(ratio: f64) -> f64 {
    let place = (ratio.clamp(0.25, 64.0).log2() + 2.0) / 8.0;
    LEFT as f64 + place * (WIDTH - LEFT - 60) as f64
}
