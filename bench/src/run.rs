//! Rounds: every line in every place.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::Arguments;
use crate::client::{Carafe, Juicefs, Name};
use crate::engine::Engine;
use crate::lines::{self, Line, Scale};
use crate::place::{Mounted, Native, Place};

/// What was measured: by line, then by place, a figure a round.
pub(crate) type Figures = Vec<(Line, BTreeMap<Name, Vec<f64>>)>;

/// Runs all that is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Figures> {
    let scratch = TempDir::with_prefix("carafe-bench-")?;
    let engine = Engine::start(arguments.engine);
    let scale = Scale::new(arguments.short);
    let wanted = |line: &Line| {
        arguments.lines.is_empty() || arguments.lines.iter().any(|word| line.name.contains(word))
    };
    let mut figures: Figures = lines::all()
        .into_iter()
        .filter(wanted)
        .map(|line| (line, BTreeMap::new()))
        .collect();
    let mut volumes = 0;
    for round in 0..arguments.rounds {
        for (line, by_place) in &mut figures {
            for name in order(round) {
                let place = open(name, arguments, &engine, &mut volumes, scratch.path())?;
                let figure = measure(line, place, &scale)?;
                if let Some(figure) = figure {
                    eprintln!(
                        "round {round}: {}, {name:?}: {figure:.2} {}",
                        line.name, line.unit
                    );
                    by_place.entry(name).or_default().push(figure);
                }
            }
        }
    }
    Ok(figures)
}

fn measure(line: &Line, mut place: Box<dyn Place>, scale: &Scale) -> Result<Option<f64>> {
    (line.run)(place.as_mut(), scale)
        .with_context(|| format!("{} in the place of {:?}", line.name, place.name()))
}

/// Who begins changes from round to round.
fn order(round: usize) -> [Name; 3] {
    let mut names = [Name::Carafe, Name::Juicefs, Name::Limit];
    let first = round % names.len();
    names.rotate_left(first);
    names
}

fn open(
    name: Name,
    arguments: &Arguments,
    engine: &Engine,
    volumes: &mut u32,
    scratch: &Path,
) -> Result<Box<dyn Place>> {
    if name == Name::Limit {
        return Ok(Box::new(Native::new(scratch)?));
    }
    // Redis has 16 databases: a volume takes the one of its predecessor's predecessor.
    *volumes = (*volumes + 1) % 16;
    if let Engine::Redis(redis) = engine {
        flush(&redis.address(), *volumes)?;
    }
    Ok(Box::new(match name {
        Name::Carafe => Mounted::new(
            Box::new(Carafe(arguments.carafe.clone())),
            engine,
            *volumes,
            scratch,
        )?,
        _ => Mounted::new(
            Box::new(Juicefs(carafe_testkit::juicefs())),
            engine,
            *volumes,
            scratch,
        )?,
    }))
}

fn flush(address: &str, database: u32) -> Result<()> {
    let (host, port) = address.split_once(':').context("host:port")?;
    let mut command = std::process::Command::new("redis-cli");
    command.args([
        "-h",
        host,
        "-p",
        port,
        "-n",
        &database.to_string(),
        "FLUSHDB",
    ]);
    crate::client::run(&mut command)
}
