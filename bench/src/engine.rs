//! The metadata engine that both clients are given, each with a volume of its own.

use std::path::Path;

use carafe_testkit::Redis;
use clap::ValueEnum;
use serde::Serialize;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    /// One Redis server for both, a database for each.
    Redis,
    /// A file for each.
    Sqlite,
}

/// A running engine.
pub(crate) enum Engine {
    Redis(Redis),
    Sqlite,
}

impl Engine {
    pub(crate) fn start(kind: EngineKind) -> Self {
        match kind {
            EngineKind::Redis => Self::Redis(Redis::start()),
            EngineKind::Sqlite => Self::Sqlite,
        }
    }

    /// The URL of the `number`th volume; `dir` is its own.
    pub(crate) fn url(&self, number: u32, dir: &Path) -> String {
        match self {
            Self::Redis(redis) => redis.url(number),
            Self::Sqlite => format!("sqlite3://{}", dir.join("meta.db").display()),
        }
    }
}
