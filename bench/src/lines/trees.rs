//! A tree of small files, as of source code, under the usual programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Line, Scale, cost, noise, timed};
use crate::client::run;
use crate::place::Place;

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        cost("cp -a of a tree", "s", copy),
        cost("tar of a tree, cold", "s", |place, scale| {
            after_copy(place, scale, |tree| {
                let mut tar = Command::new("tar");
                tar.args(["-cf", "/dev/null", "-C"]).arg(tree).arg(".");
                tar
            })
        }),
        cost("rm -rf of a tree", "s", |place, scale| {
            after_copy(place, scale, |tree| {
                let mut rm = Command::new("rm");
                rm.arg("-rf").arg(tree);
                rm
            })
        }),
    ]
}

/// A tree on the machine's own file system: directories of 20 files, 15 KiB in the mean.
fn make_tree(at: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let dir = at.join(format!("d{}/d{}", number / 400, number / 20));
        fs::create_dir_all(&dir)?;
        let content = noise(1000 + number % 29 * 1000, number as u64);
        fs::write(dir.join(format!("f{number}")), content)?;
    }
    Ok(())
}

fn copy(place: &mut dyn Place, scale: &Scale) -> Result<Option<f64>> {
    let source = tempfile::tempdir()?;
    make_tree(source.path(), scale.files)?;
    let mut cp = Command::new("cp");
    cp.arg("-a")
        .arg(source.path())
        .arg(place.dir().join("tree"));
    Ok(Some(timed(|| run(&mut cp))?.as_secs_f64()))
}

fn after_copy(
    place: &mut dyn Place,
    scale: &Scale,
    command: fn(&Path) -> Command,
) -> Result<Option<f64>> {
    copy(place, scale)?;
    place.cool()?;
    let mut command = command(&place.dir().join("tree"));
    Ok(Some(timed(|| run(&mut command))?.as_secs_f64()))
}
