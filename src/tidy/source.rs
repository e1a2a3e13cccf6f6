//! Reads the tree's Rust files as text for the rules of [`super`].
//!
//! Comments and literals are blanked byte for byte, so every offset and line number of the blanked code is that of the
//! file. This is no parser: it knows words, brace groups and `#[cfg(test)]`, which is all that the rules ask for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One Rust file: its path from the top of the tree, its text, and the same text with literals and comments blanked.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: String,
    /// True where the whole file is compiled for tests only.
    pub(super) test: bool,
}

impl Source {
    /// The folder under `src` that the file belongs to; a layer's one-file form counts as the layer.
    pub(super) fn layer(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let first = inner.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Code without literals, comments and items under `#[cfg(test)]`; line numbers stay.
    pub(super) fn shipped(&self) -> String {
        if self.test {
            String::new()
        } else {
            without_tests(&self.code).0
        }
    }
}

pub(super) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `directory` that `wanted` picks, sorted.
pub(super) fn walk(directory: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, wanted, found);
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

/// The Rust files of the tree.
pub(super) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "mount-tests", "tools"] {
        walk(
            &top().join(folder),
            &|path| path.extension().is_some_and(|e| e == "rs"),
            &mut paths,
        );
    }
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let path = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
            let test = path.starts_with("mount-tests/") || path.split('/').any(|part| part == "tests");
            Source {
                code: blank(&text),
                path,
                text,
                test,
            }
        })
        .collect();
    let named: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.test |= named.iter().any(|file| {
            let folder = file
                .trim_end_matches("mod.rs")
                .trim_end_matches(".rs")
                .trim_end_matches('/');
            source.path == *file
                || source
                    .path
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
        });
    }
    assert!(sources.len() > 10, "the tree was not found");
    sources
}

/// Files that `source` declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source
        .path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .trim_end_matches("/lib");
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("#[cfg(test)]") {
        let item = source.code[at + 12..]
            .trim_start()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        if let Some(rest) = item.strip_prefix("mod ")
            && let Some((name, _)) = rest.split_once(';').filter(|(name, _)| !name.contains('{'))
        {
            found.push(format!("{stem}/{}.rs", name.trim()));
            found.push(format!("{stem}/{}/mod.rs", name.trim()));
        }
    }
    found
}

/// Replaces comments and the contents of literals by spaces; length and line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let end = match bytes[i] {
            b'/' if bytes.get(i + 1) == Some(&b'/') => find(bytes, i, b"\n"),
            b'/' if bytes.get(i + 1) == Some(&b'*') => comment_end(bytes, i),
            b'"' => string_end(bytes, i),
            b'r' if !follows_word(bytes, i) => raw_string_end(bytes, i),
            b'\'' => char_end(bytes, i),
            _ => i,
        };
        for byte in &mut out[i..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        i = end.max(i + 1);
    }
    String::from_utf8(out).unwrap()
}

fn follows_word(bytes: &[u8], i: usize) -> bool {
    i > 0 && bytes[i - 1] != b'b' && is_word(bytes[i - 1])
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(bytes: &[u8], from: usize, pattern: &[u8]) -> usize {
    let hit = bytes[from..]
        .windows(pattern.len())
        .position(|window| window == pattern);
    hit.map_or(bytes.len(), |at| from + at)
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => (depth, i) = (depth + 1, i + 2),
            b"*/" => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// End of `r"..."` or `r#"..."#`; `start` where none begins there.
fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let quote = start + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return start;
    }
    let closing = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
    (find(bytes, quote + 1, &closing) + closing.len()).min(bytes.len())
}

/// End of a character literal; `start` where the quote begins a lifetime.
fn char_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return (find(bytes, start + 3, b"'") + 1).min(bytes.len());
    }
    let length = bytes[start + 1..]
        .iter()
        .skip(1)
        .take_while(|&&byte| byte & 0xc0 == 0x80)
        .count();
    if bytes.get(start + 2 + length) == Some(&b'\'') {
        start + 3 + length
    } else {
        start
    }
}

/// End of the brace group or statement that begins after `from`: after its `}` or `;`.
pub(super) fn item_end(code: &str, from: usize) -> usize {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => braces += 1,
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return at + 1;
                }
            }
            b';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Blanks every item under `#[cfg(test)]`; the second value counts their lines.
pub(super) fn without_tests(code: &str) -> (String, usize) {
    let mut out = code.to_owned();
    let mut lines = 0;
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = item_end(&out, at + 12);
        lines += out[at..end].lines().count();
        let gap: String = out[at..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        out.replace_range(at..end, &gap);
    }
    (out, lines)
}

/// Where `word` stands in `code` with no letter or digit beside it.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).is_some_and(|i| is_word(code.as_bytes()[i]));
        let after = code.as_bytes().get(at + word.len()).is_some_and(|&byte| is_word(byte));
        !before && !after
    })
}

pub(super) fn line(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// First names after each `root::` in `code`: `root::a`, and each of `root::{a, b::c}`.
pub(super) fn children(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for at in words(code, root) {
        let Some(rest) = code[at + root.len()..].strip_prefix("::") else {
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        let mut name = String::new();
        for c in rest.chars() {
            match c {
                '{' => (depth, fresh) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                ':' => fresh = false,
                _ if c.is_alphanumeric() || c == '_' => {
                    if fresh && depth <= 1 {
                        name.push(c);
                        continue;
                    }
                }
                _ if c.is_whitespace() && name.is_empty() => {}
                _ => fresh = false,
            }
            if !name.is_empty() {
                found.insert(std::mem::take(&mut name));
            }
            if depth <= 0 && !(c.is_alphanumeric() || c == '_') {
                break;
            }
        }
    }
    found
}

#[test]
fn blanking_keeps_code_and_drops_the_rest() {
    let text = "a(\"x\\\"{\"); // {\nb('{', b'\\'', r#\"\"{\"#) /* { /* */ { */; fn f<'a>(x: &'a str) {}";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(code.matches('\n').count(), 1);
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert!(code.contains("fn f<'a>(x: &'a str) {}"), "{code}");
}

#[test]
fn rules_find_what_they_look_for() {
    let names = children("use crate::{a, b::{c, d}, e}; crate::f::g(); use crate::h;", "crate");
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "b", "e", "f", "h"]
    );
    assert_eq!(words("unsafe_op unsafe { }", "unsafe").collect::<Vec<_>>(), [10]);
    assert_eq!(
        without_tests("fn a() {}\n#[cfg(test)]\nmod t { fn b() {} }\nfn c() {}")
            .0
            .matches("fn")
            .count(),
        2
    );
}
