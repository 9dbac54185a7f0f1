//! Rounds: every line in every place.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::client::{Carafe, Juicefs, Name};
use crate::engine::Engine;
use crate::lines::{self, Line, Scale};
use crate::place::{Mounted, Native, Place};

/// What was measured: by line, then by place, a figure a round.
pub(crate) type Figures = Vec<(Line, BTreeMap<Name, Vec<f64>>)>;

/// Runs all that is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Figures> {
    let scratch = TempDir::with_prefix("carafe-bench-")?;
    let mut engine = Engine::start(arguments.engine);
    let scale = Scale::new(arguments.short);
    let wanted = |line: &Line| {
        arguments.lines.is_empty() || arguments.lines.iter().any(|word| line.name.contains(word))
    };
    let mut figures: Figures = lines::all()
        .into_iter()
        .filter(wanted)
        .map(|line| (line, BTreeMap::new()))
        .collect();
    for round in 0..arguments.rounds {
        for (line, by_place) in &mut figures {
            for name in order(round) {
                let place = open(name, arguments, &mut engine, scratch.path())?;
                let Some(figure) = measure(line, place, &scale)? else {
                    continue;
                };
                eprintln!(
                    "round {round}: {}, {name:?}: {figure:.2} {}",
                    line.name, line.unit
                );
                by_place.entry(name).or_default().push(figure);
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
    let mut names = [Name::Carafe, Name::Juicefs, Name::Baseline];
    let first = round % names.len();
    names.rotate_left(first);
    names
}

fn open(
    name: Name,
    arguments: &Arguments,
    engine: &mut Engine,
    scratch: &Path,
) -> Result<Box<dyn Place>> {
    Ok(match name {
        Name::Baseline => Box::new(Native::new(scratch)?),
        Name::Carafe => {
            let carafe = Box::new(Carafe(arguments.carafe.clone()));
            Box::new(Mounted::new(carafe, engine, scratch)?)
        }
        Name::Juicefs => {
            let juicefs = Box::new(Juicefs(arguments.peer.program()));
            Box::new(Mounted::new(juicefs, engine, scratch)?)
        }
    })
}
