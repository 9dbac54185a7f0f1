//! Sizes as users write them.

/// Bytes from `4M`, `64K`, `1.5G`, `10T`, or a bare number of `unit` bytes.
pub(crate) fn parse(text: &str, unit: u64) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => unit,
        "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        "P" | "PB" | "PIB" => 1 << 50,
        other => return Err(format!("{other:?} is not a unit: use K, M, G, T or P")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a size: write it as 64K, 4M or 1.5G"))?;
    if !(0.0..1e19).contains(&(number * scale as f64)) {
        return Err(format!("{text:?} is out of range"));
    }
    Ok((number * scale as f64) as u64)
}

/// A clap parser for sizes whose bare number counts GiB.
pub(crate) fn gibibytes(text: &str) -> Result<u64, String> {
    parse(text, 1 << 30)
}

/// A clap parser for sizes whose bare number counts KiB.
pub(crate) fn kibibytes(text: &str) -> Result<u64, String> {
    parse(text, 1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_juicefs_users_write_them() {
        for (text, bytes) in [
            ("4096", 4 << 20),
            ("4M", 4 << 20),
            ("64K", 64 << 10),
            ("1.5G", 3 << 29),
            ("0", 0),
        ] {
            assert_eq!(parse(text, 1 << 10), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "x", "-1", "4Q", "1e99"] {
            assert!(parse(text, 1).is_err(), "{text:?} must be refused");
        }
    }
}
