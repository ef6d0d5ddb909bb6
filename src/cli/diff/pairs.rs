//! Instances of one run beside those of another: by name, and where an axis changed, by all their other axes. Knows
//! nothing of what they hold.

use std::collections::{BTreeMap, BTreeSet};

use flow::select::axes_of_name;

/// What stands beside what.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pairs<'a> {
    /// The name to show, and the names on both sides.
    pub(super) both: Vec<(String, &'a str, &'a str)>,
    /// Names of the left side only.
    pub(super) left: Vec<&'a str>,
    /// Names of the right side only.
    pub(super) right: Vec<&'a str>,
}

/// Pairs names. Equal names are a pair; so are two of one stage that differ in one axis, its value or whether it is
/// there, if nothing else of that stage could be meant.
pub(super) fn pair<'a>(left: &[&'a str], right: &[&'a str]) -> Pairs<'a> {
    let (lefts, rights): (BTreeSet<&str>, BTreeSet<&str>) = (
        left.iter().copied().collect(),
        right.iter().copied().collect(),
    );
    let mut pairs = Pairs::default();
    let mut open: BTreeMap<&str, [Vec<Name<'a>>; 2]> = BTreeMap::new();
    for name in left {
        if rights.contains(name) {
            pairs.both.push(((*name).to_owned(), name, name));
        } else {
            let name = Name::new(name);
            open.entry(name.stage).or_default()[0].push(name);
        }
    }
    for name in right.iter().filter(|name| !lefts.contains(*name)) {
        let name = Name::new(name);
        open.entry(name.stage).or_default()[1].push(name);
    }
    for [left, right] in open.into_values() {
        let found = by_one_axis(&left, &right);
        let (mut in_left, mut in_right) = (BTreeSet::new(), BTreeSet::new());
        for (a, b) in found {
            in_left.insert(a);
            in_right.insert(b);
            pairs
                .both
                .push((both_names(&left[a], &right[b]), left[a].name, right[b].name));
        }
        let rest = |names: &[Name<'a>], taken: &BTreeSet<usize>| {
            let names = names.iter().enumerate();
            names
                .filter(|(at, _)| !taken.contains(at))
                .map(|(_, name)| name.name)
                .collect::<Vec<_>>()
        };
        pairs.left.extend(rest(&left, &in_left));
        pairs.right.extend(rest(&right, &in_right));
    }
    pairs.both.sort();
    pairs
}

struct Name<'a> {
    name: &'a str,
    stage: &'a str,
    axes: Vec<(String, String)>,
}

impl<'a> Name<'a> {
    fn new(name: &'a str) -> Self {
        let (stage, axes) = axes_of_name(name);
        Self { name, stage, axes }
    }

    fn value(&self, axis: &str) -> Option<&str> {
        let mut axes = self.axes.iter();
        axes.find(|(name, _)| name == axis)
            .map(|(_, value)| value.as_str())
    }
}

/// Pairs of indices whose names are equal without one axis, where each side has one such name only.
fn by_one_axis(left: &[Name<'_>], right: &[Name<'_>]) -> Vec<(usize, usize)> {
    let axes = left.iter().chain(right).flat_map(|name| &name.axes);
    let axes: BTreeSet<&str> = axes.map(|(axis, _)| axis.as_str()).collect();
    let mut partners: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut back: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for axis in axes {
        let rest = |name: &Name<'_>| {
            let axes = name.axes.iter().filter(|(name, _)| name != axis);
            axes.cloned().collect::<BTreeSet<_>>()
        };
        let mut alike: BTreeMap<BTreeSet<(String, String)>, [Vec<usize>; 2]> = BTreeMap::new();
        for (side, names) in [left, right].into_iter().enumerate() {
            for (at, name) in names.iter().enumerate() {
                alike.entry(rest(name)).or_default()[side].push(at);
            }
        }
        for [left, right] in alike.into_values() {
            // Many on a side leave open who belongs to whom: none of them is paired by this axis.
            if let ([a], [b]) = (left.as_slice(), right.as_slice()) {
                partners.entry(*a).or_default().insert(*b);
                back.entry(*b).or_default().insert(*a);
            }
        }
    }
    let one = |set: &BTreeSet<usize>| set.first().copied().filter(|_| set.len() == 1);
    partners
        .iter()
        .filter_map(|(a, partners)| Some((*a, one(partners)?)))
        .filter(|(_, b)| back.get(b).and_then(one).is_some())
        .collect()
}

/// `tune[task=ddi,rate=0.1->0.3]`.
fn both_names(left: &Name<'_>, right: &Name<'_>) -> String {
    let new = right
        .axes
        .iter()
        .filter(|(axis, _)| left.value(axis).is_none());
    let axes: Vec<String> = left
        .axes
        .iter()
        .chain(new)
        .map(|(axis, _)| match (left.value(axis), right.value(axis)) {
            (Some(old), Some(new)) if old == new => format!("{axis}={old}"),
            (old, new) => format!(
                "{axis}={}->{}",
                old.unwrap_or("none"),
                new.unwrap_or("none")
            ),
        })
        .collect();
    format!("{}[{}]", left.stage, axes.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(left: &[&str], right: &[&str]) -> (Vec<String>, usize, usize) {
        let pairs = pair(left, right);
        let both = pairs.both.iter().map(|(shown, ..)| shown.clone()).collect();
        (both, pairs.left.len(), pairs.right.len())
    }

    #[test]
    fn what_differs_in_one_axis_stands_side_by_side() {
        let found = shown(
            &["a", "t[r=1,s=1]", "t[r=1,s=2]", "t[r=3,s=1]"],
            &["a", "t[r=2,s=1]", "t[r=2,s=2]", "t[r=3,s=1]"],
        );
        let both = ["a", "t[r=1->2,s=1]", "t[r=1->2,s=2]", "t[r=3,s=1]"];
        assert_eq!(found, (both.map(str::to_owned).into(), 0, 0));
        assert_eq!(shown(&["t[s=1]"], &["t[s=1,r=2]"]).0, ["t[s=1,r=none->2]"]);
        assert_eq!(shown(&["t"], &["t[r=2]"]).0, ["t[r=none->2]"]);
    }

    #[test]
    fn what_could_be_paired_in_two_ways_is_not() {
        assert_eq!(
            shown(&["t[r=1]", "t[r=2]"], &["t[r=3]", "t[r=4]"]),
            (vec![], 2, 2)
        );
        assert_eq!(shown(&["t[r=1,s=1]"], &["t[r=2,s=2]"]), (vec![], 1, 1));
        assert_eq!(
            shown(&["t[r=1,s=1]"], &["t[r=2,s=1]", "t[r=1,s=2]"]),
            (vec![], 1, 2)
        );
        assert_eq!(shown(&["a"], &["b"]), (vec![], 1, 1));
    }
}
