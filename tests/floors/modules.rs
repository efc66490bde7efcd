//! Reads the modules of a crate and the paths through which they import each other.
//!
//! It follows `mod` from the crate's root, like the compiler, and skips test-only items (`#[cfg(test)]`). A path counts
//! in a `use`, in code and in the arguments of a macro.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Limit of re-exports that are followed for a name. The compiler rejects unresolved ones.
const PASSED_ON_MAX: usize = 8;

/// The path of a module below its crate's root, such as `["http", "admin"]`. The root's path is empty.
pub(crate) type ModulePath = Vec<String>;

/// A crate's modules.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    workspace: PathBuf,
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

/// One module.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Its file.
    pub(crate) file: PathBuf,
    /// The items it imports from its crate, as paths from the root: `["spool", "Spool"]`.
    pub(crate) names: BTreeSet<ModulePath>,
    /// Its re-exports (`pub use`), each with the path of the original.
    passed_on: BTreeMap<String, ModulePath>,
}

impl Crate {
    /// Reads a crate from its root, `lib.rs` or `main.rs`, a file below `workspace`.
    pub(crate) fn read(workspace: &Path, root: &Path) -> Self {
        let folder = root.parent().map(Path::to_owned).unwrap_or_default();
        let mut read = Self {
            workspace: workspace.to_owned(),
            ..Self::default()
        };
        read.read_file(&[], root, &folder);
        read
    }

    /// Parses a crate from a single text with inline modules.
    pub(crate) fn parse(text: &str) -> Self {
        let mut read = Self::default();
        read.add(
            &[],
            Path::new("text"),
            Path::new(""),
            tokens(text, Path::new("text")),
        );
        read
    }

    fn read_file(&mut self, module: &[String], file: &Path, children: &Path) {
        let text = std::fs::read_to_string(self.workspace.join(file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(module, file, children, tokens(&text, file));
    }

    /// Adds a module and those below it, whose files are in the folder `children`.
    fn add(&mut self, module: &[String], file: &Path, children: &Path, tokens: TokenStream) {
        let mut reader = Reader::default();
        reader.read(tokens);
        let below: Vec<String> = reader.children.iter().map(|(name, _)| name.clone()).collect();
        let absolute = |named: &[String]| absolute(module, &below, named);
        let found = Module {
            file: file.to_owned(),
            names: reader.named.iter().filter_map(|named| absolute(named)).collect(),
            passed_on: reader
                .passed_on
                .iter()
                .filter_map(|(name, named)| Some((name.clone(), absolute(named)?)))
                .collect(),
        };
        self.modules.insert(module.to_vec(), found);
        for (name, body) in reader.children {
            let child: ModulePath = module.iter().cloned().chain([name.clone()]).collect();
            let folder = children.join(&name);
            match body {
                Some(body) => self.add(&child, file, &folder, body),
                None => {
                    let flat = children.join(format!("{name}.rs"));
                    let path = if self.workspace.join(&flat).is_file() {
                        flat
                    } else {
                        folder.join("mod.rs")
                    };
                    self.read_file(&child, &path, &folder);
                }
            }
        }
    }

    /// The child of `room` that a path leads into; `None` for the room itself and for paths outside.
    pub(crate) fn child(&self, room: &[String], path: &[String]) -> Option<String> {
        let mut path = path;
        // A re-export may refer to another re-export.
        for _ in 0..PASSED_ON_MAX {
            let next = path.strip_prefix(room)?.first()?;
            if self.modules.contains_key(&path[..=room.len()]) {
                return Some(next.clone());
            }
            path = self.modules.get(room)?.passed_on.get(next)?;
        }
        None
    }
}

fn tokens(text: &str, file: &Path) -> TokenStream {
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Converts a path as written in `module` to a path from the crate's root; `None` for another crate's.
fn absolute(module: &[String], below: &[String], named: &[String]) -> Option<ModulePath> {
    let mut from = module.to_vec();
    let mut rest = named;
    match named.first()?.as_str() {
        "crate" => {
            from.clear();
            rest = &named[1..];
        }
        "self" => rest = &named[1..],
        "super" => {}
        child if below.iter().any(|name| name == child) => {}
        _ => return None,
    }
    while let Some(("super", after)) = rest.split_first().map(|(first, after)| (first.as_str(), after)) {
        from.pop();
        rest = after;
    }
    from.extend(rest.iter().cloned());
    Some(from)
}

/// The parsed content of one module.
#[derive(Default)]
struct Reader {
    /// The modules it declares, with their content if inline.
    children: Vec<(String, Option<TokenStream>)>,
    /// The paths it uses, as written.
    named: Vec<Vec<String>>,
    /// The paths of `pub use`, by their new names.
    passed_on: Vec<(String, Vec<String>)>,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        let mut is_public = false;
        while let Some(first) = rest.first() {
            if is_for_tests(rest) {
                rest = after_item(rest);
                continue;
            }
            let was_public = std::mem::take(&mut is_public);
            match word(first).as_deref() {
                Some("pub") => {
                    is_public = true;
                    // The parentheses of `pub(in crate::room)` contain no import.
                    let skip = 1 + usize::from(group(rest.get(1), Delimiter::Parenthesis).is_some());
                    rest = &rest[skip..];
                }
                Some("mod") => rest = self.read_mod(rest),
                Some("use") => rest = self.read_use(rest, was_public),
                Some("crate" | "super" | "self") => rest = self.read_path(rest),
                _ => {
                    if let TokenTree::Group(group) = first {
                        self.read(group.stream());
                    }
                    rest = &rest[1..];
                }
            }
        }
    }

    fn read_mod<'t>(&mut self, rest: &'t [TokenTree]) -> &'t [TokenTree] {
        if let Some(name) = rest.get(1).and_then(word) {
            let body = group(rest.get(2), Delimiter::Brace);
            self.children.push((name, body));
        }
        rest.get(3..).unwrap_or_default()
    }

    fn read_use<'t>(&mut self, rest: &'t [TokenTree], is_public: bool) -> &'t [TokenTree] {
        let end = rest
            .iter()
            .position(|token| is_punct(token, ';'))
            .unwrap_or(rest.len());
        for (path, name) in leaves(&rest[1..end], &[]) {
            if is_public {
                self.passed_on.push((name, path.clone()));
            }
            self.named.push(path);
        }
        &rest[end..]
    }

    /// Reads a path in code, such as `crate::version::COMMIT`.
    fn read_path<'t>(&mut self, mut rest: &'t [TokenTree]) -> &'t [TokenTree] {
        let mut path = Vec::new();
        while let Some(name) = rest.first().and_then(word) {
            path.push(name);
            rest = &rest[1..];
            match rest {
                [one, two, TokenTree::Ident(_), ..] if is_punct(one, ':') && is_punct(two, ':') => {
                    rest = &rest[2..];
                }
                _ => break,
            }
        }
        if path.len() > 1 {
            self.named.push(path);
        }
        rest
    }
}

/// The paths of a `use`, each with the name that it introduces.
fn leaves(tree: &[TokenTree], before: &[String]) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    for branch in tree.split(|token| is_punct(token, ',')) {
        let mut path = before.to_vec();
        let mut alias = None;
        let mut names = branch.iter().peekable();
        let mut is_open = !branch.is_empty();
        while let Some(token) = names.next() {
            match token {
                TokenTree::Ident(name) if name == "as" => alias = names.next().and_then(word),
                // `a::{self, b}` introduces `a`.
                TokenTree::Ident(name) if name == "self" && !path.is_empty() => {}
                TokenTree::Ident(name) => path.push(bare(name)),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    found.extend(leaves(&inner, &path));
                    is_open = false;
                }
                _ => {}
            }
        }
        if is_open {
            let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
            found.push((path, name));
        }
    }
    found
}

/// Whether an attribute starts here that excludes an item from non-test builds.
fn is_for_tests(rest: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = rest else {
        return false;
    };
    let text = attribute.stream().to_string().replace(' ', "");
    is_punct(hash, '#') && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

/// Skips attributes, then the item: up to its braces, or to its terminator.
fn after_item(mut rest: &[TokenTree]) -> &[TokenTree] {
    while let [hash, TokenTree::Group(_), after @ ..] = rest
        && is_punct(hash, '#')
    {
        rest = after;
    }
    let is_field = matches!(rest, [TokenTree::Ident(_), colon, ..] if is_punct(colon, ':'));
    let has_sign = rest
        .iter()
        .take_while(|token| !is_punct(token, ';'))
        .any(|token| matches!(word(token).as_deref(), Some("use" | "static" | "let")));
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => !has_sign && group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';') || is_field && is_punct(token, ','),
    };
    let end = rest.iter().position(ends).map_or(rest.len(), |at| at + 1);
    &rest[end..]
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<TokenStream> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    }
}

fn word(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(name) => Some(bare(name)),
        _ => None,
    }
}

/// An identifier without `r#`.
fn bare(name: &Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").unwrap_or(&name).to_owned()
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}
