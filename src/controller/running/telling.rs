//! The controller's part in telling and in the schedule: it logs what they have to say, and lets due tasks begin.
//!
//! A task's thread has the keeper of its array and nothing else of the controller, so it holds nothing up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    thread,
};

use serde_json::{Map, Value};

use super::Inner;
use crate::{
    controller::{
        error::{Error, Kind, Result},
        schedule::{
            Arrays, Job, ScheduleAsk,
            run::{done, planned},
            task::Restore,
            verbs::Verbs,
        },
        served::keeper_of,
    },
    nbd::Keeper,
    raid::health::ArrayState,
};

/// This program; the name holds also once its file was replaced.
const PROGRAM: &str = "/proc/self/exe";

impl Arrays for Inner {
    fn normal(&self) -> Vec<String> {
        self.named(|keeper| !keeper.array().level().is_bare() && keeper.array().state() <= ArrayState::Verifying)
    }

    fn critical(&self) -> Vec<String> {
        self.named(|keeper| keeper.array().state().is_critical())
    }
}

impl Inner {
    fn named(&self, wanted: impl Fn(&Keeper) -> bool) -> Vec<String> {
        let keepers = self.served.all();
        let found = keepers.iter().filter(|keeper| wanted(keeper));
        found.map(|keeper| keeper.array().name().to_owned()).collect()
    }

    /// Answers what is asked of the schedule.
    pub(super) fn asked_of_schedule(&self, ask: ScheduleAsk) -> Result<Map<String, Value>> {
        let answered = self.schedule.answer(ask, self);
        self.ring();
        answered
    }

    /// What a restore would do, which does nothing yet.
    pub(super) fn plan_restore(&self, restore: &Restore) -> Result<Map<String, Value>> {
        restore.check(&self.store)?;
        let refused = |reason| Error::refused(Kind::Refused, reason, "another tape, file or directory");
        match planned(restore, &self.verbs()).map_err(refused)? {
            Value::Object(facts) => Ok(facts),
            _ => Ok(Map::new()),
        }
    }

    fn verbs(&self) -> Verbs {
        Verbs {
            program: PathBuf::from(PROGRAM),
            state: self.store.state().path().to_path_buf(),
        }
    }

    /// Logs what those who tell events and the schedule have to say themselves.
    pub(super) fn tell_own_events(&self) {
        let mut events = self.notifier.own_events();
        events.extend(self.schedule.own_events());
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// Lets tasks begin that are due.
    pub(super) fn keep_schedule(&self) {
        for job in self.schedule.due() {
            if let Err(error) = self.begin(&job) {
                self.schedule.ended(&job.task, Err(format!("it cannot begin: {error}")));
            }
        }
    }

    fn begin(&self, job: &Job) -> std::io::Result<()> {
        let keepers = self.served.all();
        let array = job.task.deed.array();
        let keeper = array.and_then(|array| keeper_of(&keepers, Some(array)).ok()).cloned();
        let verbs = self.verbs();
        let schedule = Arc::clone(&self.schedule);
        let (name, job) = (job.task.name.clone(), job.clone());
        let thread = thread::Builder::new().name("task".to_owned()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| done(&job, keeper.as_deref(), &verbs)));
            schedule.ended(
                &job.task,
                result.unwrap_or_else(|_| Err("it led to a panic".to_owned())),
            );
        })?;
        self.schedule.began(&name, thread);
        Ok(())
    }
}
