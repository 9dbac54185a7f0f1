//! What a mount costs by being there.

use anyhow::Result;

use super::{Line, Scale, cost, sequential};
use crate::place::Place;

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        cost("mount", "ms", |place, _| {
            Ok(place.mount_time().map(|took| took.as_secs_f64() * 1000.0))
        }),
        cost("resident memory, idle", "MiB", |place, _| {
            Ok(resident(place))
        }),
        cost("resident memory, after a big write and read", "MiB", busy),
    ]
}

fn busy(place: &mut dyn Place, scale: &Scale) -> Result<Option<f64>> {
    let path = place.dir().join("big");
    sequential::write_big(&path, scale.big)?;
    sequential::read_big(&path)?;
    Ok(resident(place))
}

fn resident(place: &dyn Place) -> Option<f64> {
    place.mount_time()?;
    Some(place.usage().resident as f64 / f64::from(1 << 20))
}
