//! The line that a person types: edited, remembered, and completed with commands and with names of the dump.
//!
//! What the line means is none of its business. The first word is a command; each further one is a path whose last name is
//! completed from the directory before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustyline::{
    Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::MemHistory,
    validate::Validator,
};

use crate::dump::restore::Target;

const PROMPT: &str = "restore > ";
const COMMANDS: [&str; 10] = [
    "add", "cd", "delete", "extract", "help", "ls", "pwd", "quit", "verbose", "what",
];

/// The line on a terminal.
pub(super) struct Line {
    editor: Editor<Names, MemHistory>,
}

/// What a line is completed with.
struct Names {
    /// Names by directory; those of directories end in a slash.
    children: BTreeMap<PathBuf, BTreeSet<String>>,
    here: PathBuf,
}

impl Line {
    /// A line over the names of a dump.
    pub(super) fn new(names: &BTreeMap<PathBuf, Target>) -> Result<Self> {
        let mut children: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        for (path, target) in names {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let slash = if target.is_directory { "/" } else { "" };
                let name = format!("{}{slash}", name.to_string_lossy());
                children.entry(parent.to_path_buf()).or_default().insert(name);
            }
        }
        let config = rustyline::Config::builder()
            .completion_type(rustyline::CompletionType::List)
            .build();
        let mut editor = Editor::with_history(config, MemHistory::new()).context("the terminal")?;
        editor.set_helper(Some(Names {
            children,
            here: PathBuf::new(),
        }));
        Ok(Self { editor })
    }

    /// The next line; none where the person ends it.
    pub(super) fn edited(&mut self, here: &Path) -> Result<Option<String>> {
        if let Some(names) = self.editor.helper_mut() {
            names.here = here.to_path_buf();
        }
        match self.editor.readline(PROMPT) {
            Ok(line) => {
                // A line that is not remembered is no reason to stop.
                let _ = self.editor.add_history_entry(&line);
                Ok(Some(line))
            }
            Err(ReadlineError::Eof) => Ok(None),
            Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
            Err(error) => Err(error).context("the terminal"),
        }
    }
}

impl Names {
    /// Where the word before the cursor begins, and what it may become.
    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &before[start..];
        if before[..start].trim().is_empty() {
            let commands = COMMANDS.iter().filter(|command| command.starts_with(word));
            return (start, commands.map(|command| format!("{command} ")).collect());
        }
        let (directory, prefix) = word
            .rsplit_once('/')
            .map_or(("", word), |(directory, prefix)| (directory, prefix));
        let root = word.starts_with('/');
        let base = if root { Path::new("") } else { &self.here };
        let place = base.join(directory.trim_start_matches('/'));
        let names = self.children.get(&place).into_iter().flatten();
        let names = names.filter(|name| name.starts_with(prefix));
        let names = names.map(|name| name.replace(' ', "\\ ")).collect();
        (start + word.len() - prefix.len(), names)
    }
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(line.get(..at).unwrap_or_default());
        let pair = |name: String| Pair {
            display: name.clone(),
            replacement: name,
        };
        Ok((start, names.into_iter().map(pair).collect()))
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_names_are_completed() {
        let target = |is_directory| Target {
            number: 3,
            is_directory,
        };
        let names = BTreeMap::from([
            (PathBuf::new(), target(true)),
            ("many".into(), target(true)),
            ("many/f1".into(), target(false)),
            ("many/f10".into(), target(false)),
            ("map".into(), target(false)),
        ]);
        let mut line = Line::new(&names).unwrap();
        let helper = line.editor.helper_mut().unwrap();
        assert_eq!(helper.candidates("e"), (0, vec!["extract ".to_owned()]));
        assert_eq!(
            helper.candidates("add ma"),
            (4, vec!["many/".to_owned(), "map".to_owned()])
        );
        assert_eq!(
            helper.candidates("add many/f1"),
            (9, vec!["f1".to_owned(), "f10".to_owned()])
        );
        helper.here = "many".into();
        assert_eq!(helper.candidates("ls f10"), (3, vec!["f10".to_owned()]));
        assert_eq!(helper.candidates("ls /map"), (4, vec!["map".to_owned()]));
    }
}
