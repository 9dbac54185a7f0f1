//! Compares Carafe's client with the real `juicefs`, and with the machine itself.
//!
//! A **line** is one figure, such as the rate of a big write. A **place** is a directory
//! that a line runs in: a fresh volume of one client, or a directory of this machine's
//! own file system, which is the **baseline**. Each **round** runs every line in every
//! place, in an order that changes from round to round, so that what the machine does
//! besides meets all alike. What counts is the ratio of the medians of one run; figures
//! of different runs are not comparable.

mod arguments;
mod client;
mod engine;
mod lines;
mod place;
mod plot;
mod process;
mod report;
mod run;

use anyhow::Result;
use clap::Parser;

use arguments::Arguments;

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
