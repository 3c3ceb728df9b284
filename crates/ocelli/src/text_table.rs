//! Tables for the terminal: aligned columns, no colour.

/// Pads cells to the width of their column and ends each line with a line feed. Columns in `left` hold names and are flush left, the
/// others hold numbers and are flush right.
pub(crate) fn align(lines: &[Vec<String>], left: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if left.contains(&column) {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_flush_left_and_numbers_flush_right() {
        let lines = [["task", "rows"], ["a", "5"], ["count", "12345"]];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(
            align(&lines, &[0]),
            "task    rows\na          5\ncount  12345\n"
        );
        assert_eq!(align(&[], &[0]), "");
    }
}
