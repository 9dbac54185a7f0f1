//! Medians and ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::client::Name;
use crate::engine::EngineKind;
use crate::run::Figures;

/// All lines of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    engine: EngineKind,
    pub(crate) rows: Vec<Row>,
}

/// One line's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) line: String,
    unit: String,
    /// Every figure, in the order of the rounds.
    rounds: BTreeMap<Name, Vec<f64>>,
    /// The medians.
    median: BTreeMap<Name, f64>,
    /// Ours to the peer's: above 1 is better, whichever way the unit counts.
    pub(crate) ratio: Option<f64>,
}

impl Report {
    pub(crate) fn of(engine: EngineKind, figures: Figures) -> Self {
        let rows = figures.into_iter().map(|(line, rounds)| {
            let median: BTreeMap<_, _> = rounds
                .iter()
                .map(|(name, figures)| (*name, median(figures)))
                .collect();
            let ratio = median
                .get(&Name::Carafe)
                .zip(median.get(&Name::Juicefs))
                .map(|(ours, theirs)| {
                    if line.less_is_better {
                        theirs / ours
                    } else {
                        ours / theirs
                    }
                });
            Row {
                line: line.name.clone(),
                unit: line.unit.to_owned(),
                rounds,
                median,
                ratio,
            }
        });
        Self {
            engine,
            rows: rows.collect(),
        }
    }

    /// A table for people, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "| line | carafe | juicefs | ratio | the machine's own |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let shown = |name| {
                row.median
                    .get(&name)
                    .map_or("–".to_owned(), |figure| number(*figure))
            };
            let ratio = row
                .ratio
                .map_or("–".to_owned(), |ratio| format!("{ratio:.2} ×"));
            // Writing to a text cannot fail.
            let _ = writeln!(
                out,
                "| {} ({}) | {} | {} | {ratio} | {} |",
                row.line,
                row.unit,
                shown(Name::Carafe),
                shown(Name::Juicefs),
                shown(Name::Baseline)
            );
        }
        out
    }

    /// Fails if a ratio is too low.
    pub(crate) fn guard(&self, at_least: Option<f64>) -> Result<()> {
        let Some(least) = at_least else { return Ok(()) };
        let low: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.ratio.is_some_and(|ratio| ratio < least))
            .map(|row| row.line.as_str())
            .collect();
        if low.is_empty() {
            return Ok(());
        }
        bail!("below {least} × the peer: {}", low.join(", "))
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

fn number(figure: f64) -> String {
    let places = match figure.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 100.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 3.0, 100.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_above_one_is_better() {
        let line = |less_is_better| crate::lines::Line {
            name: "x".into(),
            unit: "s",
            less_is_better,
            run: Box::new(|_, _| Ok(None)),
        };
        let figures = || BTreeMap::from([(Name::Carafe, vec![2.0]), (Name::Juicefs, vec![4.0])]);
        let report = Report::of(
            EngineKind::Redis,
            vec![(line(true), figures()), (line(false), figures())],
        );
        assert_eq!(report.rows[0].ratio, Some(2.0));
        assert_eq!(report.rows[1].ratio, Some(0.5));
        assert!(report.guard(Some(1.0)).is_err() && report.guard(Some(0.5)).is_ok());
    }
}
