use std::{path::PathBuf, sync::PoisonError};

use jiff::tz::TimeZone;

use super::*;
use crate::controller::{clock::SetClock, order::Mending};

#[derive(Default)]
struct Known {
    normal: Vec<String>,
    critical: Vec<String>,
}

impl Arrays for Known {
    fn normal(&self) -> Vec<String> {
        self.normal.clone()
    }

    fn critical(&self) -> Vec<String> {
        self.critical.clone()
    }
}

/// A schedule of a store whose clock is set by hand.
struct Bench {
    place: tempfile::TempDir,
    store: Store,
    clock: Arc<SetClock>,
    arrays: Known,
    schedule: Schedule,
}

impl Bench {
    fn new(now: &str, zone: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Store::create(&place.path().join("s")).unwrap();
        let clock = Arc::new(SetClock::new(now.parse().unwrap(), TimeZone::get(zone).unwrap()));
        let schedule = Schedule::open(&store, clock.clone());
        let arrays = Known {
            normal: vec!["r5".to_owned()],
            critical: vec!["r6".to_owned()],
        };
        Self {
            place,
            store,
            clock,
            arrays,
            schedule,
        }
    }

    fn restarted(&mut self) {
        self.schedule = Schedule::open(&self.store, self.clock.clone());
    }

    fn ask(&self, ask: ScheduleAsk) -> Result<Map<String, Value>> {
        self.schedule.answer(ask, &self.arrays)
    }

    fn add(&self, deed: Deed, when: &str, missed: Missed) -> Result<String> {
        let when = when.to_owned();
        let name = None;
        let added = self.ask(ScheduleAsk::Add {
            name,
            deed,
            when,
            missed,
        })?;
        Ok(added["name"].as_str().unwrap().to_owned())
    }

    fn at(&self, now: &str) -> Vec<Job> {
        self.clock.set(now.parse().unwrap());
        self.schedule.due()
    }

    /// What begins at a time and ends at once.
    fn runs_at(&self, now: &str) -> usize {
        let jobs = self.at(now);
        for job in &jobs {
            self.schedule.ended(&job.task, Ok("done".to_owned()));
        }
        jobs.len()
    }

    fn events(&self) -> Vec<Name> {
        self.schedule
            .own_events()
            .into_iter()
            .map(|event| event.event)
            .collect()
    }

    fn runs(&self) -> Vec<Outcome> {
        let runs = self.ask(ScheduleAsk::History { name: None }).unwrap()["runs"].clone();
        let runs: Vec<Value> = serde_json::from_value(runs).unwrap();
        let outcome = |run: &Value| serde_json::from_value(run["outcome"].clone()).unwrap();
        runs.iter().map(outcome).collect()
    }
}

fn verify() -> Deed {
    Deed::Verify {
        array: "r5".to_owned(),
        repair: Mending::None,
    }
}

/// R48: a task fires once at its time, daily, over both changes of the clocks, and not in between.
#[test]
fn a_task_fires_at_its_time() {
    let bench = Bench::new("2026-03-28T12:00:00Z", "Europe/Berlin");
    assert_eq!(bench.add(verify(), "daily 02:30:00", Missed::Run).unwrap(), "verify_1");
    assert_eq!(
        bench.add(verify(), "once 2026-10-25 02:30:00", Missed::Run).unwrap(),
        "verify_2"
    );
    // The hour does not exist: it is due when the clocks have changed, at 01:00 UTC.
    assert_eq!(bench.runs_at("2026-03-29T00:59:59Z"), 0);
    assert_eq!(bench.runs_at("2026-03-29T01:00:00Z"), 1);
    for later in ["2026-03-29T01:00:01Z", "2026-03-29T01:30:00Z", "2026-03-30T00:29:59Z"] {
        assert_eq!(bench.runs_at(later), 0, "{later}");
    }
    assert_eq!(bench.runs_at("2026-03-30T00:30:01Z"), 1);
    // The hour comes twice: both tasks are due in the first of them only.
    bench.runs_at("2026-10-25T00:29:00Z");
    assert_eq!(bench.runs_at("2026-10-25T00:30:00Z"), 2);
    assert_eq!(bench.runs_at("2026-10-25T01:30:00Z"), 0);
    let shown = bench.ask(ScheduleAsk::Show).unwrap();
    assert_eq!(shown["tasks"][0]["next_local"], "2026-10-26 02:30:00 +01:00");
    assert_eq!(shown["tasks"][1]["next"], Value::Null);
    assert_eq!(shown["zone"], "Europe/Berlin");
}

/// R48: what was missed while the controller was off is made up for once, or left out, and both are told.
#[test]
fn a_missed_run_is_made_up_for_once_or_left_out() {
    let mut bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    bench.add(verify(), "daily 02:00:00", Missed::Run).unwrap();
    bench.add(verify(), "daily 02:00:00", Missed::Skip).unwrap();
    bench.restarted();
    let jobs = bench.at("2026-01-11T00:00:00Z");
    let names: Vec<&str> = jobs.iter().map(|job| job.task.name.as_str()).collect();
    assert_eq!(names, ["verify_1"]);
    assert_eq!(bench.events(), [Name::TaskMissed, Name::TaskStarted, Name::TaskMissed]);
    bench.schedule.ended(&jobs[0].task, Ok("done".to_owned()));
    assert_eq!(bench.runs(), [Outcome::Done, Outcome::Missed]);
    assert_eq!(bench.runs_at("2026-01-11T01:59:59Z"), 0);
    assert_eq!(bench.runs_at("2026-01-11T02:00:05Z"), 2);
}

/// R48: no two runs of a task at a time; a run that the end of the controller cut off is told as such.
#[test]
fn a_task_runs_once_at_a_time() {
    let mut bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    bench.add(verify(), "cron * * * * *", Missed::Run).unwrap();
    let jobs = bench.at("2026-01-01T00:01:00Z");
    assert_eq!(jobs.len(), 1);
    assert!(bench.at("2026-01-01T00:02:00Z").is_empty());
    let name = "verify_1".to_owned();
    let busy = bench.ask(ScheduleAsk::Run { name: name.clone() }).unwrap_err();
    assert_eq!(busy.judge().0, Kind::Busy);
    bench.schedule.ended(&jobs[0].task, Err("it went wrong".to_owned()));
    let told = [
        Name::SettingChanged,
        Name::TaskStarted,
        Name::TaskMissed,
        Name::TaskFailed,
    ];
    assert_eq!(bench.events(), told);
    assert_eq!(bench.runs(), [Outcome::Missed, Outcome::Failed]);
    bench.ask(ScheduleAsk::Run { name }).unwrap();
    assert_eq!(bench.at("2026-01-01T00:02:30Z").len(), 1, "at once, where it is wished");
    bench.restarted();
    assert_eq!(bench.runs()[0], Outcome::Interrupted);
    assert_eq!(bench.runs_at("2026-01-01T00:03:00Z"), 1);
}

/// R49: a verify is for arrays that are Normal; with a critical one, a rebuild takes its place.
#[test]
fn tasks_are_offered_for_arrays_in_their_state() {
    let bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    let shown = bench.ask(ScheduleAsk::Show).unwrap();
    assert_eq!(shown["verify"], json!(["r5"]));
    assert_eq!(shown["rebuild"], json!(["r6"]));
    let rebuild = |array: &str| Deed::Rebuild {
        array: array.to_owned(),
    };
    assert_eq!(
        bench.add(rebuild("r6"), "daily 01:00", Missed::Run).unwrap(),
        "rebuild_1"
    );
    let refused = bench.add(rebuild("r5"), "daily 01:00", Missed::Run).unwrap_err();
    assert_eq!(refused.judge().0, Kind::Refused);
    let array = "r6".to_owned();
    let repair = Mending::None;
    let refused = bench.add(Deed::Verify { array, repair }, "daily 01:00", Missed::Run);
    assert_eq!(refused.unwrap_err().judge().0, Kind::Refused);
}

#[test]
fn what_cannot_be_a_task_is_refused_and_a_damaged_schedule_is_told() {
    let mut bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    let dump = |source: &str, levels: &[u8]| Deed::Dump {
        source: source.into(),
        tape: "/t.tap".into(),
        levels: levels.to_vec(),
    };
    for (deed, when) in [
        (dump("/srv", &[]), "daily 01:00"),
        (dump("/srv", &[32]), "daily 01:00"),
        (dump("srv", &[0]), "daily 01:00"),
        (dump("/srv", &[0]), "daily 25:00"),
        (dump("/srv", &[0]), "when it suits"),
    ] {
        let refused = bench.add(deed, when, Missed::Run).unwrap_err();
        assert_eq!(refused.judge().0, Kind::Usage, "{refused}");
    }
    bench.add(dump("/srv", &[0, 1, 1]), "daily 01:00", Missed::Run).unwrap();
    let taken = ScheduleAsk::Add {
        name: Some("dump_1".to_owned()),
        deed: dump("/srv", &[0]),
        when: "daily 01:00".to_owned(),
        missed: Missed::Run,
    };
    assert_eq!(bench.ask(taken).unwrap_err().judge().0, Kind::Exists);
    let nobody = || ScheduleAsk::Remove {
        name: "nobody".to_owned(),
    };
    assert_eq!(bench.ask(nobody()).unwrap_err().judge().0, Kind::NotFound);
    let path = bench.place.path().join("s/state/schedule.json");
    std::fs::write(&path, "{\"version\":1,\"tasks\":[{}]}").unwrap();
    bench.restarted();
    assert!(bench.at("2026-01-02T00:00:00Z").is_empty());
    assert_eq!(bench.events(), [Name::StateTrouble]);
    let told = answer_alone(&bench.store, &*bench.clock, ScheduleAsk::Show).unwrap_err();
    assert!(told.judge().0 == Kind::Corrupt && told.to_string().contains("schedule.json"));
    bench.add(dump("/srv", &[0]), "daily 01:00", Missed::Run).unwrap();
    assert!(Book::load(&bench.store).is_ok());
}

/// A dump that failed is done again at the same level.
#[test]
fn a_cycle_goes_on_with_each_run_that_ends_well() {
    let bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    bench.add(verify(), "cron * * * * *", Missed::Run).unwrap();
    let mut done = Vec::new();
    for (minute, result) in [(1, Ok(())), (2, Err(())), (3, Ok(())), (4, Ok(()))] {
        let jobs = bench.at(&format!("2026-01-01T00:0{minute}:00Z"));
        done.push(jobs[0].done);
        let text = |()| "x".to_owned();
        bench.schedule.ended(&jobs[0].task, result.map(text).map_err(text));
    }
    assert_eq!(done, [0, 1, 1, 2]);
    let state = bench.schedule.state.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(state.running.is_empty());
}

/// R48: what is to be done at once is, once; a controller that ended before does not do it later, and of those that have
/// ended the oldest are forgotten.
#[test]
fn what_is_done_at_once_is_done_once() {
    let mut bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    let name = bench.add(verify(), "now", Missed::Skip).unwrap();
    let jobs = bench.at("2026-01-01T00:00:00Z");
    assert_eq!(jobs.len(), 1);
    jobs[0].course.reach(crate::raid::rebuild::Progress {
        done_bytes: 1,
        whole_bytes: 4,
    });
    let under_way = bench.schedule.under_way();
    assert_eq!(
        (under_way[0]["task"].as_str(), under_way[0]["done_bytes"].as_u64()),
        (Some("verify_1"), Some(1))
    );
    bench.ask(ScheduleAsk::Stop { name: name.clone() }).unwrap();
    assert!(jobs[0].course.is_asked());
    bench.schedule.ended(&jobs[0].task, Err("half of it".to_owned()));
    assert_eq!(bench.runs(), [Outcome::Interrupted]);
    assert!(bench.events().contains(&Name::TaskStopped));
    let stopped = bench.ask(ScheduleAsk::Stop { name });
    assert_eq!(stopped.unwrap_err().judge().0, Kind::NotFound);
    assert_eq!(bench.runs_at("2027-01-01T00:00:00Z"), 0);
    bench.add(verify(), "now", Missed::Skip).unwrap();
    bench.restarted();
    assert_eq!(bench.runs_at("2027-01-02T00:00:00Z"), 0);
    assert_eq!(bench.runs(), [Outcome::Missed, Outcome::Interrupted]);
    for _ in 0..50 {
        bench.add(verify(), "now", Missed::Skip).unwrap();
        assert_eq!(bench.runs_at("2027-01-02T00:00:00Z"), 1);
    }
    assert_eq!(bench.runs().len(), 20);
    let alone = |ask| answer_alone(&bench.store, &*bench.clock, ask).unwrap_err().judge().0;
    let add = ScheduleAsk::Add {
        name: None,
        deed: verify(),
        when: "now".to_owned(),
        missed: Missed::Skip,
    };
    assert_eq!(alone(add), Kind::Unavailable);
}

/// What a restore cannot be is refused before it is a task.
#[test]
fn a_restore_stays_out_of_the_controllers_own_directory() {
    let bench = Bench::new("2026-01-01T00:00:00Z", "UTC");
    let restore = |tape: &str, into: PathBuf, paths: usize| {
        let restore = task::Restore {
            tapes: vec![tape.into()],
            file: 1,
            into,
            paths: vec!["a".into(); paths],
        };
        let added = bench.add(Deed::Restore(restore), "now", Missed::Skip);
        added.map_err(|error| error.judge().0)
    };
    let place = bench.place.path();
    assert_eq!(restore("t.tap", place.join("x"), 1), Err(Kind::Usage));
    assert_eq!(restore("/t.tap", "x".into(), 1), Err(Kind::Usage));
    assert_eq!(restore("/t.tap", place.join("x"), 1001), Err(Kind::Usage));
    assert_eq!(restore("/t.tap", place.join("s/state"), 1), Err(Kind::Refused));
    std::os::unix::fs::symlink(place.join("s/state"), place.join("link")).unwrap();
    assert_eq!(restore("/t.tap", place.join("link"), 1), Err(Kind::Refused));
    assert_eq!(restore("/t.tap", place.join("x"), 1000), Ok("restore_1".to_owned()));
}
