//! What an option may be at most and at least: a slip of the pen must not take a node
//! down, nor make a mount that can never write anything back.

use std::{fmt::Display, ops::RangeInclusive};

use super::{MountOptions, OptionError};

const MIB: u64 = 1 << 20;

/// Refuses the first option that is out of its range.
pub(super) fn check(options: &MountOptions) -> Result<(), OptionError> {
    let counts = [
        ("io-threads", options.io_threads, 0..=64),
        ("max-uploads", options.max_uploads, 1..=1024),
        ("max-downloads", options.max_downloads, 1..=1024),
        ("max-deletes", options.max_deletes, 0..=1024),
        ("prefetch", options.prefetch, 0..=1024),
    ];
    for (option, value, range) in counts {
        within(option, value, &range, "")?;
    }
    let buffer = options.buffer_size.div_ceil(MIB);
    within("buffer-size", buffer, &(4..=MIB), " (MiB)")?;
    let times = [
        ("get-timeout", options.get_timeout),
        ("put-timeout", options.put_timeout),
        ("heartbeat", options.heartbeat),
    ];
    for (option, time) in times {
        within(option, time.as_secs(), &(1..=3600), " (seconds)")?;
    }
    Ok(())
}

fn within<T: PartialOrd + Display>(
    option: &str,
    value: T,
    range: &RangeInclusive<T>,
    unit: &str,
) -> Result<(), OptionError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(OptionError::Value {
        option: option.to_owned(),
        value: value.to_string(),
        expected: format!("{least} to {most}{unit}").into(),
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
