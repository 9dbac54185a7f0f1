//! Sizes as users write them, wherever they write them: in mount options, in a
//! Secret's format options, on the command line.

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It has letters behind the number that are no unit.
    #[error("{0:?} is not a unit: use K, M, G, T or P")]
    Unit(String),
    /// It does not begin with a number.
    #[error("{0:?} is not a size: write it as 64K, 4M or 1.5G")]
    Number(String),
    /// It is negative or too large.
    #[error("{0:?} is out of range")]
    Range(String),
}

/// Bytes from `4M`, `64K`, `1.5GiB`, `10T`, or a bare number of `unit` bytes.
pub fn parse_size(text: &str, unit: u64) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let scale = scale(&text[digits.len()..], unit)?;
    let number: f64 = digits
        .parse()
        .map_err(|_| SizeError::Number(text.to_owned()))?;
    let bytes = number * scale as f64;
    if (0.0..9e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(SizeError::Range(text.to_owned()))
    }
}

fn scale(letters: &str, unit: u64) -> Result<u64, SizeError> {
    Ok(match letters.to_ascii_uppercase().as_str() {
        "" => unit,
        "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        "P" | "PB" | "PIB" => 1 << 50,
        _ => return Err(SizeError::Unit(letters.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_juicefs_users_write_them() {
        for (text, bytes) in [
            ("4096", 4 << 20),
            ("4M", 4 << 20),
            ("64k", 64 << 10),
            ("1.5GiB", 3 << 29),
            ("512B", 512),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text, 1 << 10), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "x", "-1", "4Q", "1e99", "K"] {
            assert!(parse_size(text, 1).is_err(), "{text:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = parse_size(&text, 1 << 20);
        }
    }
}
