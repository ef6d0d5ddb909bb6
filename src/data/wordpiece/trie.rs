//! A compiled trie over the bytes of a vocabulary's entries: the longest entry that begins a text. Knows nothing of words.

/// What stands for "no entry ends here".
const NONE: u32 = u32::MAX;

/// One node; its children lie side by side, sorted by byte.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The entry that ends here, or [`NONE`].
    id: u32,
    /// Index of the first child.
    first: u32,
    children: u16,
}

/// A trie in level order, with a direct table for the first byte.
#[derive(Clone, Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to a node from its parent.
    labels: Vec<u8>,
    /// Child of the root by byte; 0, the root itself, where there is none.
    root: [u32; 256],
}

impl Trie {
    /// From entries, none empty and none twice.
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let mut entries: Vec<(&[u8], u32)> = entries.into_iter().collect();
        entries.sort_unstable();
        let root = Node {
            id: NONE,
            first: 0,
            children: 0,
        };
        let mut trie = Self {
            nodes: vec![root],
            labels: vec![0],
            root: [0; 256],
        };
        // A node, the slice of entries below it and its depth, level by level.
        let mut queue = std::collections::VecDeque::from([(0_usize, 0..entries.len(), 0_usize)]);
        while let Some((node, range, depth)) = queue.pop_front() {
            let mut start = range.start;
            if start < range.end && entries[start].0.len() == depth {
                trie.nodes[node].id = entries[start].1;
                start += 1;
            }
            trie.nodes[node].first = index(trie.nodes.len());
            while start < range.end {
                let byte = entries[start].0[depth];
                let same = entries[start..range.end].partition_point(|(e, _)| e[depth] <= byte);
                let child = trie.nodes.len();
                trie.nodes.push(root);
                trie.labels.push(byte);
                trie.nodes[node].children += 1;
                if node == 0 {
                    trie.root[usize::from(byte)] = index(child);
                }
                queue.push_back((child, start..start + same, depth + 1));
                start += same;
            }
        }
        trie
    }

    /// The longest entry that `text` begins with: its id and length in bytes.
    pub(crate) fn longest(&self, text: &[u8]) -> Option<(u32, usize)> {
        let mut found = None;
        let (first, rest) = text.split_first()?;
        let mut at = self.root[usize::from(*first)] as usize;
        if at == 0 {
            return None;
        }
        let mut rest = rest.iter();
        let mut length = 1;
        loop {
            let node = self.nodes[at];
            if node.id != NONE {
                found = Some((node.id, length));
            }
            let Some(byte) = rest.next() else {
                return found;
            };
            let from = node.first as usize;
            let labels = &self.labels[from..from + usize::from(node.children)];
            let Some(child) = labels.iter().position(|label| label == byte) else {
                return found;
            };
            at = from + child;
            length += 1;
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("vocabularies have far fewer than 2^32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_entry_wins() {
        let words = ["a", "ab", "abcd", "β", "βx"];
        let trie = Trie::new(
            words
                .iter()
                .zip(0..)
                .map(|(word, id)| (word.as_bytes(), id)),
        );
        for (text, expected) in [
            ("a", Some((0, 1))),
            ("abc", Some((1, 2))),
            ("abcde", Some((2, 4))),
            ("βy", Some((3, 2))),
            ("βx", Some((4, 3))),
            ("x", None),
            ("γ", None),
            ("", None),
        ] {
            assert_eq!(trie.longest(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(Trie::new([]).longest(b"a"), None);
    }
}
