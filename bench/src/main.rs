//! Compares Carafe's client with the real `juicefs`, and with the machine's own limit.
//!
//! A **line** is one figure, such as the rate of a big write. A **place** is a directory
//! that a line runs in: a fresh volume of one client, or a directory of this machine's
//! own file system, which is the **limit**. Each **round** runs every line in every place,
//! in an order that changes from round to round, so that what the machine does besides
//! meets all alike. What counts is the ratio of the medians of one run; figures of
//! different runs are not comparable.

mod client;
mod engine;
mod lines;
mod place;
mod plot;
mod report;
mod run;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use engine::EngineKind;

/// Compare the client with the real juicefs
#[derive(Parser)]
struct Arguments {
    /// The metadata engine of both
    #[arg(long, value_enum, default_value_t = EngineKind::Redis)]
    engine: EngineKind,
    /// How often each line is run in each place; medians are compared
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only lines whose name contains one of these
    #[arg(long = "line", value_name = "WORD")]
    lines: Vec<String>,
    /// A tenth of the work: for a look, and to guard ratios in CI
    #[arg(long)]
    short: bool,
    /// Fail if a ratio is below this
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,
    /// Our program
    #[arg(long, value_name = "FILE")]
    carafe: PathBuf,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the ratios
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let figures = run::run(&arguments)?;
    let report = report::Report::of(arguments.engine, figures);
    println!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, plot::bars(&report))?;
    }
    report.guard(arguments.at_least)
}
