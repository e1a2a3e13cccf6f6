//! `headstack passwd`: passwords and roles of the console's users.
//!
//! The file of users is the store's; a console that runs takes a change over with its next request. A password is read
//! from the terminal without showing it, or from standard input, one line, and never from the command line.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::{Context, Result};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{
    exit::{Code, Failure},
    output::{self, Cell, Column, FormOptions, Output, Table},
    store::StoreOption,
};
use crate::console::users::{Register, Role};

/// Set a password of the console, list its users, or remove one
///
/// The first user is an admin. Roles: view looks; operate also keeps arrays whole; admin does everything. To forget all
/// users delete STORE/state/users.json, and 'headstack console open' sets a new first password.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack passwd anna --store /srv/store
  headstack passwd bert --role operate < password
  headstack passwd --list
  headstack passwd bert --remove")]
pub struct Arguments {
    /// The user
    #[arg(value_name = "USER", required_unless_present = "list")]
    user: Option<String>,
    /// What the user may do
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Remove the user
    #[arg(long, conflicts_with = "role")]
    remove: bool,
    /// List the users
    #[arg(long, conflicts_with_all = ["user", "role", "remove"])]
    list: bool,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

const COLUMNS: &[Column] = &[Column::left("name", "NAME"), Column::left("role", "ROLE")];

impl Arguments {
    /// Sets, lists or removes.
    ///
    /// # Errors
    /// [`Code::Usage`] for a password that cannot be, [`Code::Refused`] where no admin would be left.
    pub fn run(self) -> Result<Code> {
        let register = Register::of(&self.store.open(None)?);
        let output = Output::new("passwd", self.form);
        let Some(user) = self.user else {
            let mut table = Table::new(COLUMNS);
            for user in register.load()?.all() {
                table.push(vec![Cell::text(&user.name), Cell::text(user.role.name())]);
            }
            output.table("users", &table)?;
            return Ok(Code::Success);
        };
        let done = if self.remove {
            register.change(|users| users.remove(&user))?;
            format!("removed {user}")
        } else {
            let password = password(&user)?;
            register.change(|users| users.set(&user, &password, self.role))?;
            format!("{user} has a new password")
        };
        output.done(&done, &[("name", Cell::text(&user))])?;
        Ok(Code::Success)
    }
}

/// The password that is typed twice, or that standard input has in one line.
fn password(user: &str) -> Result<String> {
    if !io::stdin().is_terminal() {
        return line();
    }
    let first = hidden(&format!("New password of {user}: "))?;
    let second = hidden("Confirm: ")?;
    if first == second {
        return Ok(first);
    }
    let refused = Failure::new(Code::Usage, "the two passwords differ; nothing was changed", "again");
    Err(refused.into())
}

fn line() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A line that the terminal does not show.
fn hidden(prompt: &str) -> Result<String> {
    output::prompt(prompt)?;
    let shown = tcgetattr(io::stdin()).context("the terminal")?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).context("the terminal")?;
    let typed = line();
    tcsetattr(io::stdin(), OptionalActions::Flush, &shown).context("the terminal")?;
    output::prompt("\n")?;
    typed
}
