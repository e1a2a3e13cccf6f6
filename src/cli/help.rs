//! `headstack help`: texts on subjects that belong to no single verb, and the help of each verb.
//!
//! The table of levels is made of what the engine says of each, so that it cannot differ from what is done.

use anyhow::Result;
use clap::Args;

use super::{
    exit::{Code, Failure},
    output::{Cell, Column, FormOptions, Output, Table},
};
use crate::raid::geometry::ArrayKind;

const COLUMNS: &[Column] = &[
    Column::left("level", "LEVEL"),
    Column::right("fewest_members", "FEWEST"),
    Column::left("usable", "USABLE"),
    Column::left("survives", "SURVIVES"),
    Column::left("good_for", "GOOD FOR"),
];

/// Show help: of a verb, or on levels
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack help levels
      what each RAID level needs, gives and survives
  headstack help array create")]
pub struct Arguments {
    /// `levels`, or a verb
    #[arg(value_name = "SUBJECT")]
    subject: Vec<String>,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints the help.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is no such subject.
    pub fn run(self) -> Result<Code> {
        if self.subject == ["levels"] {
            Output::new("help", self.form).table("levels", &levels())?;
            return Ok(Code::Success);
        }
        let mut command = super::command();
        command.build();
        let mut verb = &mut command;
        for word in &self.subject {
            let Some(next) = verb.find_subcommand_mut(word) else {
                let message = format!("there is no help on {}", self.subject.join(" "));
                return Err(Failure::new(Code::NotFound, message, "'headstack help' for the verbs").into());
            };
            verb = next;
        }
        Output::new("help", self.form).text(&verb.render_long_help().to_string())?;
        Ok(Code::Success)
    }
}

/// What is said of each level.
fn levels() -> Table {
    let mut table = Table::new(COLUMNS);
    for kind in ArrayKind::ALL {
        let fewest = kind.minimum_members();
        table.push(vec![
            Cell::text(kind.name()),
            Cell::Number(fewest as u64),
            Cell::text(usable(kind)),
            Cell::text(survives(kind)),
            Cell::text(good_for(kind)),
        ]);
    }
    table
}

/// Share of the members' space that can be used, with the fewest members and with eight.
fn usable(kind: ArrayKind) -> String {
    let percent = |members: usize| {
        let (numerator, denominator) = kind.usable(members);
        100 * numerator / denominator
    };
    let (fewest, most) = (percent(kind.minimum_members()), percent(8));
    if fewest == most {
        format!("{fewest} %")
    } else {
        format!("{} to {} %", fewest.min(most), fewest.max(most))
    }
}

fn survives(kind: ArrayKind) -> &'static str {
    match kind {
        ArrayKind::Jbod | ArrayKind::Raid0 => "no loss",
        ArrayKind::Raid1 => "the loss of all but one",
        ArrayKind::Raid5 => "the loss of one",
        ArrayKind::Raid10 => "the loss of one of each pair",
        ArrayKind::Raid50 => "the loss of one of each leg",
        ArrayKind::Raid6 => "the loss of any two",
    }
}

fn good_for(kind: ArrayKind) -> &'static str {
    match kind {
        ArrayKind::Jbod => "single disks, backups of what is elsewhere",
        ArrayKind::Raid0 => "speed and space: scratch data that can be made again",
        ArrayKind::Raid1 => "safety of small data: operating systems, databases",
        ArrayKind::Raid10 => "speed and safety of small requests: fast databases",
        ArrayKind::Raid5 => "space with safety: files that are mostly read, archives",
        ArrayKind::Raid50 => "many disks at once: large archives that are written fast",
        ArrayKind::Raid6 => "safety of large arrays: archives, long rebuilds",
    }
}
