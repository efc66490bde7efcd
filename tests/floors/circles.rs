//! Finds import cycles among the child modules of one module (a room).

use crate::modules::{Crate, ModulePath};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The names that one module imports from another, each with its file: "relay/src/http.rs names app::App".
type Ties = BTreeSet<String>;

/// The imports among a room's direct children. A child that imports from the room itself is no edge: a module and its
/// children are read together, and `use super::…` in a child is how Rust shares a parent's types.
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, BTreeMap<String, Ties>>);

impl Imports {
    /// The imports of one room; the crate's root is the room `[]`.
    pub(crate) fn of(read: &Crate, room: &[String]) -> Self {
        let mut imports = Self::default();
        for (path, module) in &read.modules {
            let Some(from) = path.strip_prefix(room).and_then(<[String]>::first) else {
                continue;
            };
            let ties = imports.0.entry(from.clone()).or_default();
            for name in &module.names {
                if let Some(to) = read.child(room, name).filter(|to| to != from) {
                    let tie = format!("{} names {}", module.file.display(), name.join("::"));
                    ties.entry(to).or_default().insert(tie);
                }
            }
        }
        imports
    }

    /// The modules from which this one imports.
    pub(crate) fn named_by(&self, module: &str) -> impl Iterator<Item = (&String, &Ties)> {
        self.0.get(module).into_iter().flatten()
    }

    /// All modules.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Removes an edge. Returns whether it existed.
    pub(crate) fn remove(&mut self, from: &str, to: &str) -> bool {
        self.0
            .get_mut(from)
            .is_some_and(|named| named.remove(to).is_some())
    }

    /// For each module on a cycle the shortest cycle through it; each cycle once.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let mut seen = BTreeSet::new();
        self.modules()
            .filter_map(|module| self.way(module, module))
            .filter(|circle| seen.insert(circle.iter().cloned().collect::<BTreeSet<_>>()))
            .collect()
    }

    /// The shortest path from one module to another along imports, without the last.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut came_from = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            for (named, _) in self.named_by(at) {
                if named == to {
                    let before = |at: &&str| came_from.get(*at).copied();
                    let mut way: Vec<String> = std::iter::successors(Some(at), before)
                        .map(str::to_owned)
                        .collect();
                    way.reverse();
                    return Some(way);
                }
                if named != from && !came_from.contains_key(named.as_str()) {
                    came_from.insert(named.as_str(), at);
                    next.push_back(named);
                }
            }
        }
        None
    }

    /// A cycle in words, with the imported names of each edge.
    pub(crate) fn explain(&self, circle: &[String]) -> String {
        let after = circle.iter().cycle().skip(1);
        let mut text = format!("{} -> {}\n", circle.join(" -> "), circle[0]);
        for (from, to) in circle.iter().zip(after) {
            let ties = self.named_by(from).find(|(named, _)| *named == to);
            for tie in ties.into_iter().flat_map(|(_, ties)| ties) {
                text += &format!("    {from} -> {to}: {tie}\n");
            }
        }
        text
    }
}

/// All rooms of a crate: the modules that have children.
pub(crate) fn rooms(read: &Crate) -> BTreeSet<ModulePath> {
    let below_root = read.modules.keys().filter(|path| !path.is_empty());
    below_root.map(|path| path[..path.len() - 1].to_vec()).collect()
}
