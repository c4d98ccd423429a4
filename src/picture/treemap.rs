//! Squarified treemaps (Bruls, Huizing and van Wijk, 2000): rectangles as large as what they stand for, and as near to
//! squares as a simple rule makes them. In whole numbers, so that every machine draws the same.

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u64,
    /// Upper edge.
    pub y: u64,
    /// Width.
    pub width: u64,
    /// Height.
    pub height: u64,
}

/// Longest edge of a rectangle that is divided: sums of areas times bytes must fit into 128 bits.
const MOST_EDGE: u64 = 1 << 20;

/// Divides `room` among `values`, which descend, in their order. The rectangles do not overlap and fill the room,
/// and each is off by rounding of its edges only. None of the values may be 0.
///
/// # Panics
///
/// If an edge of the room is over 2^20.
#[must_use]
pub fn squarify(values: &[u64], room: Rect) -> Vec<Rect> {
    assert!(room.width <= MOST_EDGE && room.height <= MOST_EDGE, "{room:?} is too large");
    let mut rects = Vec::with_capacity(values.len());
    let mut room = room;
    let mut left: u128 = values.iter().map(|value| u128::from(*value)).sum();
    let mut rest = values;
    while !rest.is_empty() {
        let count = row_len(rest, room, left);
        let (row, after) = rest.split_at(count);
        let sum: u128 = row.iter().map(|value| u128::from(*value)).sum();
        let is_upright = room.width >= room.height;
        let (long, short) =
            if is_upright { (room.width, room.height) } else { (room.height, room.width) };
        let thick = share(long, sum, left);
        let mut done = 0_u128;
        let mut at = 0_u64;
        for value in row {
            done = done.strict_add(u128::from(*value));
            let end = share(short, done, sum);
            let len = end.strict_sub(at);
            rects.push(if is_upright {
                Rect { x: room.x, y: room.y.strict_add(at), width: thick, height: len }
            } else {
                Rect { x: room.x.strict_add(at), y: room.y, width: len, height: thick }
            });
            at = end;
        }
        if is_upright {
            room.x = room.x.strict_add(thick);
            room.width = room.width.strict_sub(thick);
        } else {
            room.y = room.y.strict_add(thick);
            room.height = room.height.strict_sub(thick);
        }
        left = left.strict_sub(sum);
        rest = after;
    }
    rects
}

/// Returns how many values the next row takes: as many as make its worst rectangle better.
fn row_len(values: &[u64], room: Rect, left: u128) -> usize {
    let (long, short) = (room.width.max(room.height), room.width.min(room.height));
    let mut sum = 0_u128;
    let mut best = u128::MAX;
    for (count, value) in values.iter().enumerate() {
        sum = sum.strict_add(u128::from(*value));
        // The row is `sum / left` of the long edge thick; of the short edge each value takes `value / sum`. A thousandth is
        // fine enough, and the lowest values and the highest are the worst.
        let ratio = |value: u64| {
            let thick = u128::from(long).strict_mul(sum).strict_mul(1000).strict_div(left.max(1));
            let len = u128::from(short)
                .strict_mul(u128::from(value))
                .strict_mul(1000)
                .strict_div(sum.max(1));
            let (low, high) = (thick.min(len).max(1), thick.max(len));
            high.strict_mul(1000).strict_div(low)
        };
        let worst = ratio(values[0]).max(ratio(*value));
        if worst > best {
            return count;
        }
        best = worst;
    }
    values.len()
}

/// Returns `part / whole` of an edge.
fn share(edge: u64, part: u128, whole: u128) -> u64 {
    let share = u128::from(edge).strict_mul(part).strict_div(whole.max(1));
    u64::try_from(share).expect("not longer than the edge")
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const ROOM: Rect = Rect { x: 3, y: 5, width: 600, height: 400 };

    /// The example of the paper: 6, 6, 4, 3, 2, 2 and 1 in a room of 6 by 4.
    #[test]
    fn the_example_of_the_paper_is_drawn_as_there() {
        let rects = squarify(&[6, 6, 4, 3, 2, 2, 1], Rect { x: 0, y: 0, ..ROOM });
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(rects[..2], [rect(0, 0, 300, 200), rect(0, 200, 300, 200)]);
        assert_eq!((rects[2].x, rects[2].y), (300, 0));
        assert!(rects[2].width.abs_diff(171) < 2 && rects[2].height.abs_diff(233) < 2);
    }

    /// Whatever the values: each rectangle is as large as its value says, they fill the room and do not overlap.
    #[test]
    fn rectangles_fill_the_room_by_their_values() {
        let mut seed = 1_u64;
        for round in 0..200_u64 {
            let mut values: Vec<u64> = (0..=round % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    1 + (seed >> (33 + seed % 28))
                })
                .collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            let rects = squarify(&values, ROOM);
            assert_eq!(rects.len(), values.len());
            let sum: u64 = values.iter().sum();
            let areas: u64 = rects.iter().map(|it| it.width * it.height).sum();
            assert_eq!(areas, 600 * 400, "{values:?}");
            for (rect, value) in rects.iter().zip(&values) {
                let wanted = u64::try_from(u128::from(*value) * 240_000 / u128::from(sum)).unwrap();
                // Edges are rounded, and what is left in the end is the last one's.
                let off = wanted / 10 + 2 * (rect.width + rect.height) + 400;
                assert!((rect.width * rect.height).abs_diff(wanted) <= off, "{values:?}: {rect:?}");
            }
            for (index, a) in rects.iter().enumerate() {
                for b in &rects[index + 1..] {
                    let apart = a.x + a.width <= b.x
                        || b.x + b.width <= a.x
                        || a.y + a.height <= b.y
                        || b.y + b.height <= a.y;
                    assert!(apart, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn the_largest_numbers_fit() {
        let room = Rect { x: 0, y: 0, width: MOST_EDGE, height: MOST_EDGE };
        let rects = squarify(&[u64::MAX; 9], room);
        assert_eq!(rects.iter().map(|it| it.width * it.height).sum::<u64>(), MOST_EDGE * MOST_EDGE);
        assert!(squarify(&[], room).is_empty());
    }
}
