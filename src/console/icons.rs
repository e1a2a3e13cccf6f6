//! The picture of each state: a disk or a stack of them, with a sign that says how it is. The words stand beside it always.
//!
//! A sign has a shape of its own, so that nobody has to tell colours apart; the colour follows how bad the state is.

use maud::{Markup, PreEscaped, html};

use crate::controller::{ArrayState, DiskState, Level};

/// How bad something is, as style sheets have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Nothing to worry about goes on, or nothing at all.
    Calm,
    /// Something is being done about it, or should be.
    Warning,
    /// Redundancy or data are lost.
    Bad,
}

impl Tone {
    /// Its class.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Calm => "calm",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

const TICK: &str = "M13.5 18l2 2 4-4";
const CROSS: &str = "M14 15l5 5m0-5l-5 5";
const BANG: &str = "M16.5 13.6v4m0 2.6v.4";
const GLASS: &str = "M15.8 13.6a2.6 2.6 0 1 0 .1 0zM18 18.5l2 2";
const TURN: &str = "M20 16.8a3.6 3.6 0 1 0-.6 2.6M20 13.6v3.2h-3.2";
const GROW: &str = "M13 17h7m-2.6-2.8L20 17l-2.6 2.8";
const HALT: &str = "M15 14.4v5.4m3-5.4v5.4";
const EMPTY: &str = "M14 17h5";
const FOLDER: &str = "M13 15h2.4l1 1.2H20v4h-7z";
const PLUS: &str = "M16.5 14v6m-3-3h6";
const BITS: &str = "M13.6 15h1m2 0h1m2 0h.4M13.6 18h1m2 0h1m2 0h.4";
const UNEQUAL: &str = "M13.6 16h6m-6 2.4h6m-1-4.6l-4 6.8";
const GAP: &str = "M13.4 14.4h1.4m1.6 0h1.4m1.6 0h.4v1.4m0 1.6v1.4m0 1.6h-1.6m-1.6 0h-1.4m-1.6 0h-.2v-1.6m0-1.6v-1.4";
const GROW_BANG: &str = "M12.6 17h4m-1.6-1.8l1.8 1.8-1.8 1.8M19.8 13.8v3.6m0 2.4v.4";
const GROW_TURN: &str = "M12.6 15h6m-1.6-1.6l1.8 1.6-1.8 1.6M19.6 19.6h-6m1.6-1.6l-1.8 1.6 1.8 1.6";

/// Sign and tone of an icon, by its name.
fn sign(icon: &str) -> (&'static str, Tone) {
    match icon {
        "array-normal" | "disk-normal" => (TICK, Tone::Good),
        "disk-spare" => (PLUS, Tone::Calm),
        "disk-legacy" => (FOLDER, Tone::Calm),
        "disk-not-initialized" => (EMPTY, Tone::Calm),
        "array-verifying" | "disk-verifying" => (GLASS, Tone::Calm),
        "array-initializing" | "disk-initializing" => (BITS, Tone::Calm),
        "array-oce-orlm" | "disk-oce-orlm" => (GROW, Tone::Calm),
        "array-oce-orlm-stopped" | "disk-oce-orlm-stopped" => (HALT, Tone::Warning),
        "array-initialization-stopped" | "disk-uninitialized" => (EMPTY, Tone::Warning),
        "array-rebuilding" | "disk-rebuilding" => (TURN, Tone::Warning),
        "disk-critical-rebuild-required" => (BANG, Tone::Warning),
        "array-critical-inconsistency" => (UNEQUAL, Tone::Bad),
        "array-critical-missing-disk" | "disk-critical-missing-disk" => (GAP, Tone::Bad),
        "array-critical-oce-orlm" => (GROW_BANG, Tone::Bad),
        "array-critical-oce-orlm-rebuild" => (GROW_TURN, Tone::Bad),
        _ => (CROSS, Tone::Bad),
    }
}

/// The tone of an array's state.
pub fn tone_of(state: ArrayState) -> Tone {
    sign(state.icon()).1
}

fn picture(icon: &'static str, words: &str) -> Markup {
    let (sign, tone) = sign(icon);
    let base = if icon.starts_with("array") {
        "M3 5.5C3 3.6 15 3.6 15 5.5S3 7.4 3 5.5zv4c0 1.2 4 1.7 7.6 1.3M3 9.5v4c0 1 2.8 1.6 6 1.5M15 5.5v4M3 13.5v3.6c0 .9 2.6 1.4 5.6 1.4"
    } else {
        "M9.5 19H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2h10a2 2 0 0 1 2 2v4.6M6 6.4h8M6 15.6h1.2"
    };
    html! {
        svg class={ "icon " (tone.class()) } data-icon=(icon) viewBox="0 0 24 24" role="img" aria-label=(words) {
            path class="base" d=(base) {}
            circle class="plate" cx="16.6" cy="17.2" r="5.6" {}
            path class="sign" d=(sign) {}
        }
    }
}

/// Icon and words of an array's state; the guide's word for the column of statuses stands first.
pub fn array(state: ArrayState) -> Markup {
    html! {
        span class={ "state " (tone_of(state).class()) } title=(state.explanation()) {
            (picture(state.icon(), state.name())) span { (state.name()) }
        }
    }
}

/// Icon and words of a disk's state.
pub fn disk(state: DiskState) -> Markup {
    html! {
        span class={ "state " (sign(state.icon()).1.class()) } title=(state.explanation()) {
            (picture(state.icon(), state.name())) span { (state.name()) }
        }
    }
}

/// An array's state by its name in the controller's facts.
pub fn array_state(name: &str) -> ArrayState {
    ArrayState::ALL
        .into_iter()
        .find(|state| state.name() == name)
        .unwrap_or(ArrayState::Disabled)
}

/// A disk's state by its name in the controller's facts.
pub fn disk_state(name: &str) -> DiskState {
    DiskState::ALL
        .into_iter()
        .find(|state| state.name() == name)
        .unwrap_or(DiskState::Disabled)
}

/// Icon and word of a level.
pub fn level(level: Level) -> Markup {
    let (class, path) = match level {
        Level::Information => ("calm", "M12 3a9 9 0 1 0 .1 0zM12 10.6v6M12 7.4v.4"),
        Level::Warning => ("warning", "M12 4l9 16H3zM12 10v5m0 2.4v.4"),
        Level::Error => ("bad", "M8 3h8l5 5v8l-5 5H8l-5-5V8zM9 9l6 6m0-6l-6 6"),
    };
    html! {
        span class={ "state " (class) } {
            svg class={ "icon " (class) } viewBox="0 0 24 24" aria-hidden="true" { path class="sign" d=(path) {} }
            span { (level.name()) }
        }
    }
}

/// The mark of the house: heads over a platter.
pub fn mark() -> Markup {
    PreEscaped(
        "<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"11\" cy=\"13\" r=\"8\"/>\
         <circle cx=\"11\" cy=\"13\" r=\"2\"/><path d=\"M20.5 3.5l-6.3 7.2\"/><circle cx=\"20.5\" cy=\"3.5\" r=\"1.6\"/></svg>"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// R57, R58: every state has a picture that no other state of its kind has, and its words.
    #[test]
    fn every_state_has_its_own_icon_and_words() {
        let arrays =
            ArrayState::ALL.map(|state| (sign(state.icon()).0, tone_of(state).class(), array(state), state.name()));
        let disks = DiskState::ALL.map(|state| {
            let (shape, tone) = sign(state.icon());
            (shape, tone.class(), disk(state), state.name())
        });
        for states in [&arrays[..], &disks[..]] {
            let drawn: BTreeSet<(&str, &str)> = states.iter().map(|(shape, tone, ..)| (*shape, *tone)).collect();
            assert_eq!(drawn.len(), states.len());
            for (_, _, markup, words) in states {
                let shown = format!("<span>{words}</span>");
                assert!(markup.0.contains(&shown) && markup.0.contains("<svg"), "{words}");
            }
        }
        assert_eq!(tone_of(ArrayState::Normal), Tone::Good);
        let bad = ArrayState::ALL.into_iter().filter(|state| tone_of(*state) == Tone::Bad);
        assert!(
            bad.eq(ArrayState::ALL
                .into_iter()
                .filter(|state| state.is_critical() || *state == ArrayState::Disabled))
        );
    }
}
