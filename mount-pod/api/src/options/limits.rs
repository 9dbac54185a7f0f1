//! What an option may be at most and at least: a slip of the pen must not take a node
//! down, nor make a mount that can never write anything back.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{MountOptions, OptionError};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Refuses the first option that is out of its range.
pub(super) fn check(options: &MountOptions) -> Result<(), OptionError> {
    let connections = "1 to 1024";
    within(
        "io-threads",
        options.io_threads,
        0..=64,
        "0 (automatic) to 64",
    )?;
    within("max-uploads", options.max_uploads, 1..=1024, connections)?;
    within(
        "max-downloads",
        options.max_downloads,
        1..=1024,
        connections,
    )?;
    within("max-deletes", options.max_deletes, 0..=1024, "0 to 1024")?;
    within("prefetch", options.prefetch, 0..=1024, "0 to 1024")?;
    within(
        "buffer-size",
        options.buffer_size,
        4 << 20..=1 << 40,
        "4 MiB to 1 TiB",
    )?;
    for (name, time) in [
        ("get-timeout", options.get_timeout),
        ("put-timeout", options.put_timeout),
        ("heartbeat", options.heartbeat),
    ] {
        let (least, most) = (SECOND.as_secs(), HOUR.as_secs());
        within(name, time.as_secs(), least..=most, "1 second to 1 hour")?;
    }
    Ok(())
}

fn within<T: PartialOrd + Display>(
    option: &str,
    value: T,
    range: RangeInclusive<T>,
    expected: &'static str,
) -> Result<(), OptionError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(OptionError::Value {
        option: option.to_owned(),
        value: value.to_string(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_a_node_down_is_refused() {
        for option in [
            "io-threads=100000",
            "max-uploads=100000",
            "max-downloads=5000",
            "prefetch=100000",
            "buffer-size=0",
            "get-timeout=0",
            "put-timeout=0",
            "heartbeat=0",
        ] {
            let error = MountOptions::parse([option]).unwrap_err().to_string();
            let name = option.split('=').next().unwrap();
            assert!(error.contains(name) && error.contains(" to "), "{error}");
        }
        MountOptions::parse(["io-threads=64,max-uploads=100,put-timeout=1"]).unwrap();
    }
}
