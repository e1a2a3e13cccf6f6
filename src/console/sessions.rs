//! Who is logged in, who is invited, and how long one must wait after wrong passwords; all of it in memory.
//!
//! A session is known by a random key in a cookie, and every change it asks for has to show its token, which no other
//! site can read. It ends after a time without a request, after a day, and when its user gets another password or is
//! forgotten. All tables are bounded: where one is full the oldest entry goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{locked, users::User};

/// Longest time between two requests of a session.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Longest session.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Sessions at a time.
const SESSIONS_MAX: usize = 256;
/// How long an invitation holds.
const INVITATION: Duration = Duration::from_secs(15 * 60);
/// Invitations at a time.
const INVITATIONS_MAX: usize = 16;
/// Names whose wrong passwords are remembered.
const WAITS_MAX: usize = 1024;
/// Wrong passwords that cost nothing.
const FREE_TRIES: u32 = 3;
/// Longest wait after a wrong password.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One login of one browser.
pub struct Session {
    /// The user's name.
    pub user: String,
    /// Hash of the password when the session began.
    stamp: String,
    /// What a change has to show.
    pub token: String,
    began: Instant,
    used: Mutex<Instant>,
    /// What the next page says first.
    notice: Mutex<Option<String>>,
}

impl Session {
    /// True where the session is that of a user as the user is now.
    pub fn is_of(&self, user: &User) -> bool {
        self.user == user.name && self.stamp == user.password
    }

    /// Says something on the next page.
    pub fn note(&self, text: impl Into<String>) {
        *locked(&self.notice) = Some(text.into());
    }

    /// What was to be said, once.
    pub fn notice(&self) -> Option<String> {
        locked(&self.notice).take()
    }

    fn last_used(&self) -> Instant {
        *locked(&self.used)
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last_used()) > IDLE || now.duration_since(self.began) > LONGEST
    }
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    invitations: Mutex<HashMap<String, Instant>>,
    waits: Mutex<HashMap<String, Wait>>,
}

#[derive(Clone, Copy)]
struct Wait {
    tries: u32,
    until: Instant,
}

/// 32 random bytes in hexadecimal; none where the host has no randomness.
fn random() -> Option<String> {
    let mut bytes = [0; 32];
    openssl::rand::rand_bytes(&mut bytes).ok()?;
    Some(data_encoding::HEXLOWER.encode(&bytes))
}

/// Drops the entry with the earliest time where a table is full.
fn make_room<V>(table: &mut HashMap<String, V>, most: usize, time: impl Fn(&V) -> Instant) {
    if table.len() >= most
        && let Some(oldest) = table
            .iter()
            .min_by_key(|(_, value)| time(value))
            .map(|(key, _)| key.clone())
    {
        table.remove(&oldest);
    }
}

impl Sessions {
    /// Begins a session of a user; gives its key. None where the host has no randomness.
    pub fn begin(&self, user: &User, now: Instant) -> Option<(String, Arc<Session>)> {
        let key = random()?;
        let session = Arc::new(Session {
            user: user.name.clone(),
            stamp: user.password.clone(),
            token: random()?,
            began: now,
            used: Mutex::new(now),
            notice: Mutex::default(),
        });
        let mut sessions = locked(&self.sessions);
        sessions.retain(|_, session| !session.is_over(now));
        make_room(&mut sessions, SESSIONS_MAX, |session| session.last_used());
        sessions.insert(key.clone(), Arc::clone(&session));
        Some((key, session))
    }

    /// The session of a key. `active` is false for what a page asks by itself, which keeps no session alive.
    pub fn find(&self, key: &str, now: Instant, active: bool) -> Option<Arc<Session>> {
        let mut sessions = locked(&self.sessions);
        let session = Arc::clone(sessions.get(key)?);
        if session.is_over(now) {
            sessions.remove(key);
            return None;
        }
        if active {
            *locked(&session.used) = now;
        }
        Some(session)
    }

    /// Ends a session.
    pub fn end(&self, key: &str) {
        locked(&self.sessions).remove(key);
    }

    /// A new invitation; none where the host has no randomness.
    pub fn invite(&self, now: Instant) -> Option<String> {
        let key = random()?;
        let mut invitations = locked(&self.invitations);
        invitations.retain(|_, made| now.duration_since(*made) <= INVITATION);
        make_room(&mut invitations, INVITATIONS_MAX, |made| *made);
        invitations.insert(key.clone(), now);
        Some(key)
    }

    /// True where an invitation holds.
    pub fn is_invited(&self, key: &str, now: Instant) -> bool {
        let made = locked(&self.invitations).get(key).copied();
        made.is_some_and(|made| now.duration_since(made) <= INVITATION)
    }

    /// Uses an invitation up; false where it does not hold.
    pub fn accept(&self, key: &str, now: Instant) -> bool {
        let made = locked(&self.invitations).remove(key);
        made.is_some_and(|made| now.duration_since(made) <= INVITATION)
    }

    /// How long a name has to wait for its next try from an address; none where it need not.
    pub fn wait(&self, who: &str, now: Instant) -> Option<Duration> {
        let until = locked(&self.waits).get(who)?.until;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Takes note of a try before its password is looked at, so that tries at the same time count too.
    pub fn tried(&self, who: &str, now: Instant) {
        let mut waits = locked(&self.waits);
        if !waits.contains_key(who) {
            make_room(&mut waits, WAITS_MAX, |wait| wait.until);
        }
        let wait = waits.entry(who.to_owned()).or_insert(Wait { tries: 0, until: now });
        wait.tries = wait.tries.saturating_add(1);
        if let Some(over) = wait.tries.checked_sub(FREE_TRIES) {
            let seconds = 1_u64.checked_shl(over).unwrap_or(u64::MAX);
            wait.until = now + Duration::from_secs(seconds).min(WAIT_MAX);
        }
    }

    /// Forgets the wrong tries of a name, which had the right password.
    pub fn succeeded(&self, who: &str) {
        locked(&self.waits).remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::users::Role;

    fn anna() -> User {
        User {
            name: "anna".to_owned(),
            role: Role::Admin,
            password: "hash".to_owned(),
        }
    }

    #[test]
    fn a_session_ends_without_use_after_a_day_and_with_another_password() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let (key, session) = sessions.begin(&anna(), start).unwrap();
        assert!(session.is_of(&anna()));
        let changed = User {
            password: "other".to_owned(),
            ..anna()
        };
        assert!(!session.is_of(&changed));
        assert!(sessions.find(&key, start + IDLE, false).is_some());
        assert!(sessions.find(&key, start + IDLE, true).is_some());
        assert!(sessions.find(&key, start + IDLE * 2, true).is_some());
        assert!(sessions.find(&key, start + IDLE * 4, true).is_none());
        let (key, _) = sessions.begin(&anna(), start).unwrap();
        let mut now = start;
        while now < start + LONGEST {
            assert!(sessions.find(&key, now, true).is_some());
            now += IDLE / 2;
        }
        assert!(sessions.find(&key, now + IDLE / 2, true).is_none());
    }

    #[test]
    fn an_invitation_holds_once_and_not_for_long() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let key = sessions.invite(start).unwrap();
        assert!(sessions.is_invited(&key, start));
        assert!(sessions.accept(&key, start) && !sessions.accept(&key, start));
        let late = sessions.invite(start).unwrap();
        assert!(!sessions.is_invited(&late, start + INVITATION * 2));
        assert!(!sessions.accept(&late, start + INVITATION * 2));
    }

    #[test]
    fn the_wait_after_wrong_passwords_doubles_and_ends() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            sessions.tried("anna", now);
            waits.push(sessions.wait("anna", now).map_or(0, |wait| wait.as_secs()));
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert!(sessions.wait("bert", now).is_none());
        assert!(sessions.wait("anna", now + WAIT_MAX).is_none());
        sessions.succeeded("anna");
        assert!(sessions.wait("anna", now).is_none());
    }

    #[test]
    fn tables_stay_small() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for number in 0..3000_u32 {
            sessions.begin(&anna(), now).unwrap();
            sessions.invite(now).unwrap();
            sessions.tried(&number.to_string(), now);
        }
        assert_eq!(locked(&sessions.sessions).len(), SESSIONS_MAX);
        assert_eq!(locked(&sessions.invitations).len(), INVITATIONS_MAX);
        assert_eq!(locked(&sessions.waits).len(), WAITS_MAX);
    }
}
