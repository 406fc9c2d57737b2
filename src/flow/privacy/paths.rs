//! The paths that `privacy:` names, as a tree of their words.
//!
//! A place in a record may be several places in the tree at once: an array is passed through, and its elements are numbered,
//! too; a name with dots is read as one and as nested.

use smallvec::SmallVec;

/// What is to be done with a value. The greater one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// Look for patterns in it.
    #[default]
    Keep,
    /// Hash it, and all that is below it.
    Hash,
    /// Leave it out.
    Drop,
}

/// All paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Node);

#[derive(Clone, Debug, Default)]
struct Node {
    mark: Mark,
    children: Vec<(Box<str>, Self)>,
}

/// Where in the tree a value of a record is.
#[derive(Clone, Debug)]
pub(super) struct Place<'t> {
    nodes: SmallVec<[&'t Node; 4]>,
    /// What is to be done with the value.
    pub(super) mark: Mark,
}

impl Tree {
    pub(super) fn new(drop: &[String], hash: &[String]) -> Self {
        let mut root = Node::default();
        for (paths, mark) in [(drop, Mark::Drop), (hash, Mark::Hash)] {
            for path in paths {
                let node = path.split('.').fold(&mut root, Node::child);
                node.mark = node.mark.max(mark);
            }
        }
        Self(root)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.children.is_empty()
    }

    /// The place of a whole record.
    pub(super) fn root(&self) -> Place<'_> {
        Place {
            nodes: SmallVec::from_slice(&[&self.0]),
            mark: Mark::Keep,
        }
    }
}

impl<'t> Place<'t> {
    /// The place of a member.
    pub(super) fn member(&self, name: &str) -> Self {
        let mut member = Self {
            nodes: SmallVec::new(),
            mark: self.mark,
        };
        for node in &self.nodes {
            member.enter(node, name);
        }
        member
    }

    /// The place of an array's element: where the array is, and at its number.
    pub(super) fn element(&self, index: usize) -> Self {
        let mut element = self.clone();
        if !self.nodes.is_empty() {
            let mut digits = itoa::Buffer::new();
            let number = digits.format(index);
            for node in &self.nodes {
                element.enter(node, number);
            }
        }
        element
    }

    fn enter(&mut self, node: &'t Node, name: &str) {
        if let Some(child) = node.find(name) {
            self.mark = self.mark.max(child.mark);
            self.nodes.push(child);
        }
        // A path's words have no dots, so each beginning of the name is looked up once.
        for (at, _) in name.match_indices('.') {
            let (head, tail) = name.split_at(at);
            if let Some(child) = node.find(head) {
                // `drop: [features]` holds for `features.ssn`, too.
                self.mark = self.mark.max(child.mark);
                self.enter(child, tail.get(1..).unwrap_or_default());
            }
        }
    }
}

impl Node {
    fn child(&mut self, name: &str) -> &mut Self {
        let known = self.children.iter().position(|(known, _)| &**known == name);
        let index = known.unwrap_or_else(|| {
            self.children.push((name.into(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[index].1
    }

    fn find(&self, name: &str) -> Option<&Self> {
        let found = self.children.iter().find(|(known, _)| &**known == name);
        found.map(|(_, node)| node)
    }
}
