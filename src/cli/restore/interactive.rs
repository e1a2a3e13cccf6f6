//! `headstack restore -i`: look around in a dump, mark what is wanted, extract it.
//!
//! The commands are those of stock restore. On a terminal lines are edited and names completed; from a pipe they are just
//! read. `complete.rs` knows the line, this file what the words do.

mod complete;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, IsTerminal as _},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result};
use glob::Pattern;

use self::complete::Line;
use crate::{
    cli::{
        exit::Code,
        output::{FormOptions, Output, complain, printable, time_text},
        reels::tell,
    },
    dump::{
        reader::Reader,
        restore::{Catalogue, Choice, Restored, Target},
    },
};

/// Commands, and what they do.
const COMMANDS: &[(&str, &str)] = &[
    ("ls [NAME..]", "list a directory; what is marked has a star before it"),
    ("cd NAME", "go to another directory"),
    ("pwd", "tell where that is"),
    ("add [NAME..]", "mark what is to be extracted, with all that is in it"),
    ("delete [NAME..]", "take marks away"),
    ("extract", "extract what is marked"),
    ("what", "tell which dump this is"),
    ("verbose", "name what is marked and extracted, or stop that"),
    ("help, ?", "this list"),
    ("quit, xit", "end"),
];

/// Extracts what is chosen.
pub(super) type Extract<'a> = &'a mut dyn FnMut(&mut Reader, &Choice) -> Result<Restored>;

/// A session over one dump.
struct Session {
    names: BTreeMap<PathBuf, Target>,
    here: PathBuf,
    choice: Choice,
    verbose: bool,
    output: Output,
}

/// Runs commands until there are no more.
///
/// # Errors
/// The engine's, and standard input that cannot be read. A command that makes no sense is told.
pub(super) fn run(
    reader: &mut Reader,
    mut catalogue: Catalogue,
    form: FormOptions,
    extract: Extract<'_>,
) -> Result<Code> {
    let mut session = Session {
        names: catalogue.list().into_iter().collect(),
        here: PathBuf::new(),
        choice: Choice::nothing(),
        verbose: false,
        output: Output::new("restore", form),
    };
    let mut code = tell(&catalogue.troubles);
    let mut line = Line::new(&session.names)?;
    let terminal = std::io::stdin().is_terminal();
    loop {
        let text = if terminal {
            line.edited(&session.here)?
        } else {
            read_line()?
        };
        let Some(text) = text else { return Ok(code) };
        let words = match split(&text) {
            Ok(words) => words,
            Err(what) => {
                complain(what);
                continue;
            }
        };
        let Some((command, names)) = words.split_first() else {
            continue;
        };
        match command.as_str() {
            "quit" | "q" | "xit" | "x" => return Ok(code),
            "extract" | "e" => {
                let extracted = session.extract(reader, extract)?;
                if extracted != Code::Success {
                    code = extracted;
                }
            }
            "what" | "w" => session.what(reader)?,
            command => session.simple(command, names)?,
        }
    }
}

/// The next line of a pipe; none at its end.
fn read_line() -> Result<Option<String>> {
    let mut line = Vec::new();
    let length = std::io::stdin()
        .lock()
        .read_until(b'\n', &mut line)
        .context("standard input")?;
    Ok((length > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}

impl Session {
    fn simple(&mut self, command: &str, names: &[String]) -> Result<()> {
        match command {
            "ls" | "l" => self.on_each(names, Self::list),
            "add" | "a" => self.on_each(names, |session, path| session.mark(path, true)),
            "delete" | "d" => self.on_each(names, |session, path| session.mark(path, false)),
            "cd" | "c" => {
                let path = names.first().map_or_else(PathBuf::new, |name| self.path_of(name));
                match self.names.get(&path) {
                    Some(target) if target.is_directory => self.here = path,
                    Some(_) => complain(&format!("{}: not a directory", shown(&path))),
                    None => absent(&path),
                }
                Ok(())
            }
            "pwd" | "p" => self.output.text(&format!("{}\n", shown(&self.here))),
            "verbose" | "v" => {
                self.verbose = !self.verbose;
                let state = if self.verbose { "on" } else { "off" };
                self.output.text(&format!("verbose mode is {state}\n"))
            }
            "help" | "h" | "?" => {
                let lines = COMMANDS
                    .iter()
                    .map(|(command, what)| format!("  {command:<16} {what}\n"));
                self.output.text(&lines.collect::<String>())
            }
            other => {
                complain(&format!("{other}: no such command; 'help' lists them"));
                Ok(())
            }
        }
    }

    /// Does something with each object that is named, or with the directory itself.
    fn on_each(&mut self, names: &[String], mut act: impl FnMut(&mut Self, &Path) -> Result<()>) -> Result<()> {
        if names.is_empty() {
            let here = self.here.clone();
            return act(self, &here);
        }
        for name in names {
            let found = self.matching(name);
            if found.is_empty() {
                absent(&self.path_of(name));
            }
            for path in found {
                act(self, &path)?;
            }
        }
        Ok(())
    }

    /// Objects that a name stands for, which may be a pattern.
    fn matching(&self, name: &str) -> Vec<PathBuf> {
        let path = self.path_of(name);
        if self.names.contains_key(&path) {
            return vec![path];
        }
        let Ok(pattern) = Pattern::new(&path.to_string_lossy()) else {
            return Vec::new();
        };
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let paths = self.names.keys();
        paths
            .filter(|path| pattern.matches_path_with(path, options))
            .cloned()
            .collect()
    }

    /// The path from the root of the tree that a name stands for.
    fn path_of(&self, name: &str) -> PathBuf {
        let mut path = self.here.clone();
        for component in Path::new(name).components() {
            match component {
                Component::RootDir | Component::Prefix(_) => path = PathBuf::new(),
                Component::CurDir => {}
                Component::ParentDir => {
                    path.pop();
                }
                Component::Normal(name) => path.push(name),
            }
        }
        path
    }

    fn list(&mut self, path: &Path) -> Result<()> {
        let entry = |path: &Path, target: &Target| {
            let mark = if self.choice.takes(path) { '*' } else { ' ' };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let slash = if target.is_directory { "/" } else { "" };
            format!("{mark}{}{slash}\n", printable(&name))
        };
        let Some(target) = self.names.get(path) else {
            return Ok(());
        };
        if !target.is_directory {
            return self.output.text(&entry(path, target));
        }
        let inside = self.names.iter().filter(|(name, _)| name.parent() == Some(path));
        let lines: String = inside.map(|(path, target)| entry(path, target)).collect();
        self.output.text(&format!("{}:\n{lines}", shown(path)))
    }

    fn mark(&mut self, path: &Path, wanted: bool) -> Result<()> {
        self.choice.put(path, wanted);
        if !self.verbose {
            return Ok(());
        }
        let what = if wanted { "marked" } else { "no longer marked" };
        self.output.text(&format!("{what}: {}\n", shown(path)))
    }

    fn extract(&mut self, reader: &mut Reader, extract: Extract<'_>) -> Result<Code> {
        if self.choice.is_nothing() {
            complain("nothing is marked; 'add' marks what is to be extracted");
            return Ok(Code::Success);
        }
        reader.rewind()?;
        let restored = extract(reader, &self.choice)?;
        self.choice = Choice::nothing();
        let code = tell(&restored.troubles);
        self.output.text(&format!("extracted {} objects\n", restored.objects))?;
        Ok(code)
    }

    fn what(&self, reader: &Reader) -> Result<()> {
        let label = reader.label();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let date = time_text(crate::cli::dump::time_of(label.date_s));
        self.output.text(&format!(
            "level {} dump of {} on {}, {date}\nlabel: {}\n",
            label.label.level,
            text(&label.label.filesystem),
            text(&label.label.host),
            text(&label.label.label),
        ))
    }
}

fn absent(path: &Path) {
    complain(&format!("{}: is not on the tape", shown(path)));
}

fn shown(path: &Path) -> String {
    format!("/{}", printable(&path.to_string_lossy()))
}

/// Words of a line; quotes hold them together, a backslash takes a character as it is.
fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.trim_end_matches('\n').chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_held_together_by_quotes() {
        let words = |line: &str| split(line).unwrap();
        assert_eq!(words("  add a\\ b  'c d'\"e\"\n"), ["add", "a b", "c de"]);
        assert_eq!(words("ls ''"), ["ls", ""]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(split("cd 'x"), Err("a quote is not closed"));
    }
}
