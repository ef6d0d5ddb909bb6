//! Where the boxes of a graph stand and how its arrows run: columns from left to right, boxes near what they need, arrows
//! past boxes instead of behind them. Knows no stages and no format.
//!
//! After Sugiyama, Tagawa and Toda (1981): an arrow over several columns has a joint in each of them that takes part in the
//! order of the column.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) const BOX_HEIGHT: usize = 44;
/// Between columns; arrows bend there.
pub(crate) const GAP_X: usize = 48;
const GAP_Y: f64 = 18.0;
/// Between an arrow that passes and its neighbours.
const LANE: f64 = 12.0;
const MARGIN: usize = 16;
/// Times that columns are put in order, and boxes moved, once there and once back.
const SWEEPS: usize = 12;
/// With more joints than this arrows run straight, so that a huge graph is drawn all the same.
const MOST_JOINTS: usize = 20_000;

/// A drawing in pixels.
pub(crate) struct Layout {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// The upper left corner and the width of each box.
    pub(crate) boxes: Vec<(usize, usize, usize)>,
    /// Each arrow: from the right side of a box, through pairs of points at one height, to the left side of a box.
    pub(crate) arrows: Vec<Vec<(usize, usize)>>,
}

/// A box, or a joint of an arrow that passes.
struct Item {
    column: usize,
    is_box: bool,
    left: Vec<usize>,
    right: Vec<usize>,
    /// Its middle.
    y: f64,
}

/// Lays boxes of these widths out. An arrow that follows from others is left out: `a` to `c` beside `a` to `b` to `c`.
pub(crate) fn lay_out(widths: &[usize], edges: &BTreeSet<(usize, usize)>) -> Layout {
    let order = order_of(widths.len(), edges);
    let mut place = vec![0; widths.len()];
    for (at, one) in order.iter().enumerate() {
        place[*one] = at;
    }
    let (forward, back): (Vec<_>, Vec<_>) = (edges.iter().copied())
        .filter(|(from, to)| from != to)
        .partition(|(from, to)| place[*from] < place[*to]);
    let arrows = without_implied(&forward, &order, &place);
    let column = columns_of(&arrows, &order);
    let (mut items, ways) = joined(&arrows, &column);
    let count = column.iter().max().map_or(0, |last| last + 1);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
    for one in &order {
        columns[items[*one].column].push(*one);
    }
    for joint in widths.len()..items.len() {
        columns[items[joint].column].push(joint);
    }
    put_in_order(&items, &mut columns);
    move_near(&mut items, &columns);
    drawn(widths, &items, &columns, &ways, &back)
}

/// Boxes in an order in which each stands after what it needs. Instances of one stage may need each other, so that boxes
/// can form a ring: then the first of those left goes ahead.
fn order_of(count: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let mut waits = vec![0_usize; count];
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in edges.iter().filter(|(from, to)| from != to) {
        waits[*to] += 1;
        next[*from].push(*to);
    }
    let mut left: BTreeSet<usize> = (0..count).collect();
    let mut ready: BTreeSet<usize> = (0..count).filter(|one| waits[*one] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(one) = ready.pop_first().or_else(|| left.first().copied()) {
        left.remove(&one);
        order.push(one);
        for to in &next[one] {
            waits[*to] = waits[*to].saturating_sub(1);
            if waits[*to] == 0 && left.contains(to) {
                ready.insert(*to);
            }
        }
    }
    order
}

/// Arrows without those that a longer way stands for.
fn without_implied(
    forward: &[(usize, usize)],
    order: &[usize],
    place: &[usize],
) -> Vec<(usize, usize)> {
    let words = order.len().div_ceil(64);
    let mut reach = vec![vec![0_u64; words]; order.len()];
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
    for (from, to) in forward {
        next[*from].push(*to);
    }
    let mut kept = Vec::new();
    for from in order.iter().rev() {
        let mut all = vec![0_u64; words];
        next[*from].sort_by_key(|to| place[*to]);
        for to in &next[*from] {
            if all[to / 64] >> (to % 64) & 1 == 1 {
                continue;
            }
            kept.push((*from, *to));
            all[to / 64] |= 1 << (to % 64);
            for (word, more) in all.iter_mut().zip(&reach[*to]) {
                *word |= more;
            }
        }
        reach[*from] = all;
    }
    kept.sort_unstable();
    kept
}

/// The column of each box: after all that it needs; and where that makes no arrow longer, right before what needs it.
fn columns_of(arrows: &[(usize, usize)], order: &[usize]) -> Vec<usize> {
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
    let mut needed: Vec<Vec<usize>> = vec![Vec::new(); order.len()];
    for (from, to) in arrows {
        needs[*to].push(*from);
        needed[*from].push(*to);
    }
    let mut column = vec![0_usize; order.len()];
    for one in order {
        let before = needs[*one].iter().map(|from| column[*from] + 1);
        column[*one] = before.max().unwrap_or(0);
    }
    for one in order.iter().rev() {
        let first = needed[*one].iter().map(|to| column[*to] - 1).min();
        if let Some(first) = first.filter(|_| needs[*one].len() <= needed[*one].len()) {
            column[*one] = first;
        }
    }
    column
}

/// Boxes and joints with their neighbours, and of each arrow all that it passes, ends among them.
fn joined(arrows: &[(usize, usize)], column: &[usize]) -> (Vec<Item>, Vec<Vec<usize>>) {
    let item = |column: usize, is_box: bool| Item {
        column,
        is_box,
        left: Vec::new(),
        right: Vec::new(),
        y: 0.0,
    };
    let mut items: Vec<Item> = column.iter().map(|column| item(*column, true)).collect();
    let joints = arrows
        .iter()
        .map(|(from, to)| column[*to] - column[*from] - 1);
    let is_bent = joints.sum::<usize>() <= MOST_JOINTS;
    let mut ways = Vec::new();
    // Arrows of one box that pass a column share their joint: they part where they must.
    let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (from, to) in arrows {
        let mut way = vec![*from];
        let between = match is_bent {
            true => column[*from] + 1..column[*to],
            false => 0..0,
        };
        for at in between {
            let joint = *shared.entry((*from, at)).or_insert_with(|| {
                items.push(item(at, false));
                items.len() - 1
            });
            way.push(joint);
        }
        way.push(*to);
        for pair in way.windows(2) {
            if !items[pair[0]].right.contains(&pair[1]) {
                items[pair[0]].right.push(pair[1]);
                items[pair[1]].left.push(pair[0]);
            }
        }
        ways.push(way);
    }
    (items, ways)
}

/// Orders each column by the mean place of its neighbours, there and back, and keeps what has the fewest crossings.
fn put_in_order(items: &[Item], columns: &mut [Vec<usize>]) {
    let mut place = vec![0_usize; items.len()];
    let number = |place: &mut Vec<usize>, members: &[usize]| {
        for (at, one) in members.iter().enumerate() {
            place[*one] = at;
        }
    };
    for members in columns.iter() {
        number(&mut place, members);
    }
    let mut best = (crossings(items, columns, &place), columns.to_vec());
    for sweep in 0..SWEEPS {
        let is_back = sweep % 2 == 1;
        for at in 0..columns.len() {
            let at = if is_back { columns.len() - 1 - at } else { at };
            columns[at].sort_by_cached_key(|one| {
                let beside = match is_back {
                    true => &items[*one].right,
                    false => &items[*one].left,
                };
                let sum: usize = beside.iter().map(|one| place[*one]).sum();
                match beside.len() {
                    0 => place[*one] * 1024,
                    count => sum * 1024 / count,
                }
            });
            number(&mut place, &columns[at]);
        }
        let count = crossings(items, columns, &place);
        if count < best.0 {
            best = (count, columns.to_vec());
        }
    }
    columns.clone_from_slice(&best.1);
}

/// How many pairs of lines between neighbouring columns cross.
fn crossings(items: &[Item], columns: &[Vec<usize>], place: &[usize]) -> usize {
    let mut count = 0;
    for members in columns {
        // Lines in the order of their left ends; a line crosses those before it that end further down.
        let mut ends: Vec<usize> = Vec::new();
        for one in members {
            let mut own: Vec<usize> = items[*one].right.iter().map(|to| place[*to]).collect();
            own.sort_unstable();
            ends.extend(own);
        }
        let size = ends.iter().max().map_or(0, |last| last + 1);
        let mut sums = vec![0_usize; size + 1];
        for (before, end) in ends.iter().enumerate() {
            let mut at = end + 1;
            let mut not_below = 0;
            while at > 0 {
                not_below += sums[at];
                at &= at - 1;
            }
            count += before - not_below;
            let mut at = end + 1;
            while at <= size {
                sums[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    count
}

/// Moves items up and down towards their neighbours, in the order of their column and with their distances.
fn move_near(items: &mut [Item], columns: &[Vec<usize>]) {
    let apart = |a: &Item, b: &Item| {
        let half = |one: &Item| {
            if one.is_box {
                BOX_HEIGHT as f64 / 2.0
            } else {
                0.0
            }
        };
        half(a) + half(b) + if a.is_box && b.is_box { GAP_Y } else { LANE }
    };
    let offsets: Vec<Vec<f64>> = (columns.iter())
        .map(|members| {
            let mut at = 0.0;
            let mut offsets = vec![0.0; members.len()];
            for (next, pair) in members.windows(2).enumerate() {
                at += apart(&items[pair[0]], &items[pair[1]]);
                offsets[next + 1] = at;
            }
            offsets
        })
        .collect();
    for (members, offsets) in columns.iter().zip(&offsets) {
        let middle = offsets.last().map_or(0.0, |last| last / 2.0);
        for (one, offset) in members.iter().zip(offsets) {
            items[*one].y = offset - middle;
        }
    }
    for sweep in 0..SWEEPS {
        for at in 0..columns.len() {
            let at = if sweep % 2 == 1 {
                columns.len() - 1 - at
            } else {
                at
            };
            // Each wants the mean of its neighbours; those that would come too near move as one, by the mean wish.
            let mut blocks: Vec<(f64, usize)> = Vec::new();
            for (one, offset) in columns[at].iter().zip(&offsets[at]) {
                let beside = items[*one].left.iter().chain(&items[*one].right);
                let count = items[*one].left.len() + items[*one].right.len();
                let wish = match count {
                    0 => items[*one].y,
                    count => beside.map(|one| items[*one].y).sum::<f64>() / count as f64,
                };
                blocks.push((wish - offset, 1));
                while let [.., above, below] = blocks.as_slice()
                    && above.0 > below.0
                {
                    let count = above.1 + below.1;
                    let mean = (above.0 * above.1 as f64 + below.0 * below.1 as f64) / count as f64;
                    blocks.truncate(blocks.len() - 2);
                    blocks.push((mean, count));
                }
            }
            let moved = blocks
                .iter()
                .flat_map(|(shift, count)| std::iter::repeat_n(*shift, *count));
            for ((one, offset), shift) in columns[at].iter().zip(&offsets[at]).zip(moved) {
                items[*one].y = offset + shift;
            }
        }
    }
}

/// Whole pixels, with the margin.
fn drawn(
    widths: &[usize],
    items: &[Item],
    columns: &[Vec<usize>],
    ways: &[Vec<usize>],
    back: &[(usize, usize)],
) -> Layout {
    let half = BOX_HEIGHT as f64 / 2.0;
    let top = items.iter().map(|one| one.y).fold(f64::MAX, f64::min) - half;
    let middle = |one: usize| MARGIN + (items[one].y - top).round() as usize;
    let mut left = vec![0; columns.len()];
    let mut wide = vec![0; columns.len()];
    let mut x = MARGIN;
    for (at, members) in columns.iter().enumerate() {
        let boxes = members.iter().filter(|one| items[**one].is_box);
        left[at] = x;
        wide[at] = boxes.map(|one| widths[*one]).max().unwrap_or(0);
        x += wide[at] + GAP_X;
    }
    let begin = |one: usize| (left[items[one].column], middle(one));
    let end = |one: usize| {
        let column = items[one].column;
        (left[column] + wide[column], middle(one))
    };
    let arrow = |way: &Vec<usize>| {
        let mut points = Vec::new();
        for (at, one) in way.iter().enumerate() {
            if at > 0 {
                points.push(begin(*one));
            }
            if at + 1 < way.len() {
                points.push(end(*one));
            }
        }
        points
    };
    let back = back.iter().map(|(from, to)| vec![*from, *to]);
    let bottom = (0..items.len()).map(middle).max().unwrap_or(MARGIN);
    Layout {
        width: x.saturating_sub(GAP_X) + MARGIN,
        height: bottom + BOX_HEIGHT / 2 + MARGIN,
        boxes: (0..widths.len())
            .map(|one| {
                let (x, y) = begin(one);
                (x, y.saturating_sub(BOX_HEIGHT / 2), wide[items[one].column])
            })
            .collect(),
        arrows: (ways.iter().map(arrow))
            .chain(back.map(|way| arrow(&way)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: usize, edges: &[(usize, usize)]) -> Layout {
        lay_out(&vec![100; count], &edges.iter().copied().collect())
    }

    #[test]
    fn arrows_that_follow_from_others_are_left_out() {
        let layout = of(4, &[(0, 1), (1, 2), (0, 2), (0, 3), (2, 3)]);
        assert_eq!(layout.arrows.len(), 3);
        let columns: Vec<usize> = layout.boxes.iter().map(|(x, ..)| *x).collect();
        assert!(columns.is_sorted(), "{columns:?}");
    }

    /// A box beside a long arrow: `0 → 1 → 2 → 3`, and `0 → 3` with `4` between, which makes it none that follows.
    #[test]
    fn no_arrow_runs_behind_a_box() {
        let edges = [
            (0, 1),
            (1, 2),
            (2, 3),
            (4, 3),
            (4, 1),
            (5, 3),
            (0, 6),
            (6, 3),
            (7, 2),
        ];
        let layout = of(8, &edges);
        for arrow in &layout.arrows {
            // Between two columns an arrow bends; over a column it runs level.
            for level in arrow.windows(2).skip(1).step_by(2) {
                assert_eq!(level[0].1, level[1].1);
                for (x, y, width) in &layout.boxes {
                    let beside = level[1].0 <= *x || level[0].0 >= x + width;
                    let over = level[0].1 < *y || level[0].1 > y + BOX_HEIGHT;
                    assert!(beside || over, "{level:?} behind {x} {y}");
                }
            }
        }
    }

    #[test]
    fn boxes_stand_apart_and_inside() {
        let mut edges: Vec<(usize, usize)> = (0..20).map(|one| (one, 20)).collect();
        edges.extend((21..30).map(|one| (20, one)));
        let layout = of(30, &edges);
        for (at, (x, y, width)) in layout.boxes.iter().enumerate() {
            assert!(x + width < layout.width && y + BOX_HEIGHT < layout.height);
            for (other_x, other_y, _) in &layout.boxes[at + 1..] {
                assert!(x != other_x || y.abs_diff(*other_y) >= BOX_HEIGHT, "{at}");
            }
        }
    }

    #[test]
    fn a_ring_and_nothing_at_all_can_be_drawn() {
        assert_eq!(of(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]).arrows.len(), 3);
        let none = of(0, &[]);
        assert!(none.boxes.is_empty() && none.height > 0);
    }

    #[test]
    fn crossings_are_undone() {
        let layout = of(6, &[(0, 5), (1, 4), (2, 3)]);
        let heights = |from: usize| {
            let ends = |one: usize| layout.boxes[one].1;
            (ends(from), ends(5 - from))
        };
        for from in 0..3 {
            let (one, other) = heights(from);
            assert_eq!(one, other);
        }
    }
}
