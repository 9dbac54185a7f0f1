//! What is asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::engine::EngineKind;

/// Compare the client with the real juicefs
#[derive(Parser)]
pub(crate) struct Arguments {
    /// The metadata engine of both
    #[arg(long, value_enum, default_value_t = EngineKind::Redis)]
    pub(crate) engine: EngineKind,
    /// Which juicefs
    #[arg(long, value_enum, default_value_t = Peer::V1_4)]
    pub(crate) peer: Peer,
    /// How often each line is run in each place; medians are compared
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Only lines whose name contains one of these
    #[arg(long = "line", value_name = "WORD")]
    pub(crate) lines: Vec<String>,
    /// A tenth of the work: for a look
    #[arg(long)]
    pub(crate) short: bool,
    /// Fail if a ratio is below this
    #[arg(long, value_name = "RATIO")]
    pub(crate) at_least: Option<f64>,
    /// Our program
    #[arg(long, value_name = "FILE")]
    pub(crate) carafe: PathBuf,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the ratios
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// The peer's versions that the tools step builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// 1.3.1
    #[value(name = "1.3")]
    V1_3,
    /// 1.4.1, which reads faster
    #[value(name = "1.4")]
    V1_4,
}

impl Peer {
    /// Its program.
    pub(crate) fn program(self) -> PathBuf {
        match self {
            Self::V1_3 => carafe_testkit::juicefs(),
            Self::V1_4 => carafe_testkit::juicefs_version("juicefs-1.4"),
        }
    }
}
