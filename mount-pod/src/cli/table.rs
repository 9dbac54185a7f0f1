//! Tables and figures for people.

/// A table with a border, as wide as its cells; the first column stands left, the
/// others right.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heads[column].chars().count())
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width + 2)).collect();
    let rule = format!("+{}", rules.join("+"));
    let line = |cells: &[String]| {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| {
            if column == 0 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            }
        };
        let cells: Vec<String> = cells.iter().zip(&widths).enumerate().map(cell).collect();
        cells.concat() + "|"
    };
    let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
    let mut lines = vec![format!("{rule}+"), line(&heads), format!("{rule}+")];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.push(format!("{rule}+"));
    lines.join("\n")
}

/// Bytes in the largest unit that leaves a number above 1: `4.8 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// How much of a limit is used; nothing without one.
pub(super) fn percent(used: i64, limit: u64) -> String {
    if limit == 0 {
        return String::new();
    }
    format!("{}%", used.max(0) as u128 * 100 / u128::from(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [vec!["/d".to_owned(), "1.0 GiB".to_owned()]];
        let expected = "\
+------+---------+
| Path |    Size |
+------+---------+
| /d   | 1.0 GiB |
+------+---------+";
        assert_eq!(table(&["Path", "Size"], &rows), expected);
    }

    #[test]
    fn figures_are_short() {
        let shown = [0, 1023, 1536, 5 << 20, 3 << 40].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB"]);
        assert_eq!(
            (percent(5, 10), percent(-5, 10)),
            ("50%".into(), "0%".into())
        );
        assert_eq!(percent(5, 0), "");
    }
}
