//! Boxes written as text, `[x1, y1, x2, y2]`: the form of gold answers and demonstrations.

use ocelli_core::BoundingBox;

/// Reads exactly four comma-separated finite numbers in square brackets; `None` for any other text. Corners are taken
/// in the order written, so the result may be invalid.
pub fn parse_box(text: &str) -> Option<BoundingBox> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut numbers = inner.split(',').map(|number| {
        let number: f64 = number.trim().parse().ok()?;
        number.is_finite().then_some(number)
    });
    let corners = [
        numbers.next()??,
        numbers.next()??,
        numbers.next()??,
        numbers.next()??,
    ];
    numbers.next().is_none().then(|| corners.into())
}

/// Writes a box as `[12, 30, 55, 80]`: whole numbers without a decimal point, others as short as they can be.
pub fn write_box(bounding_box: &BoundingBox) -> String {
    // Adding zero turns −0, which would be written as such, into 0.
    let [x1, y1, x2, y2] = <[f64; 4]>::from(*bounding_box).map(|corner| corner + 0.0);
    format!("[{x1}, {y1}, {x2}, {y2}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_four_numbers_and_nothing_else() {
        for text in [
            "[12, 30, 55, 80]",
            " [12,30,55,80]\n",
            "[12.0, 3e1, 55, 80]",
        ] {
            let found = parse_box(text).unwrap();
            assert_eq!(found, BoundingBox::from([12.0, 30.0, 55.0, 80.0]), "{text}");
            assert_eq!(write_box(&found), "[12, 30, 55, 80]");
        }
        for text in [
            "",
            "[]",
            "12, 30, 55, 80",
            "[12, 30, 55]",
            "[12, 30, 55, 80, 1]",
            "[12, 30, 55, eighty]",
            "[12, 30, 55, NaN]",
            "[12, 30, 55, inf]",
            "[12, 30, 55, 80] and more",
        ] {
            assert_eq!(parse_box(text), None, "{text}");
        }
        assert_eq!(
            write_box(&[0.5, -0.0, 1.25, 2.0].into()),
            "[0.5, 0, 1.25, 2]"
        );
        assert_eq!(write_box(&[-0.0, -0.0, 1.0, 2.0].into()), "[0, 0, 1, 2]");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = parse_box(&text);
        }

        #[test]
        fn what_is_written_reads_back(corners in prop::array::uniform4(-1e6f64..1e6)) {
            let bounding_box = BoundingBox::from(corners);
            prop_assert_eq!(parse_box(&write_box(&bounding_box)), Some(bounding_box));
        }
    }
}
