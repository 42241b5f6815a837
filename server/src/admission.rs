//! Whom the XDP program, or the gate of the UDP sockets, lets through to the port, and how often anybody may begin.

use std::collections::HashSet;

use blk_datapath::explain::explain;
use blk_datapath::udp::Gate;
use blk_xdp::{HandshakeLimit, HandshakeLimitError, Network, TableError, Tables};

/// A source may send at least so many handshake packets at once, however few a second: a copy over 8 flows begins with one
/// for each, and with another when blockd asks for a proof of the address.
const BURST_LEAST: u32 = 32;

/// Whose packets are taken. What is not let in is dropped, unanswered and counted: by the XDP program, or over UDP in front of
/// the frames.
///
/// The default lets everybody in, as often as they like.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Networks that may send to the port; none: all may.
    pub allow: Vec<Network>,
    /// How many handshake packets each source may send; `None`: any number.
    pub handshakes: Option<HandshakeLimit>,
}

impl Admission {
    /// A limit of `rate` handshake packets per second and source, and as many at once, but at least 32; `None` for 0.
    ///
    /// # Errors
    /// [`HandshakeLimitError`] beyond [`HandshakeLimit::MOST`].
    pub fn limit(rate: u32) -> Result<Option<HandshakeLimit>, HandshakeLimitError> {
        match rate {
            0 => Ok(None),
            _ => HandshakeLimit::new(rate, rate.max(BURST_LEAST)).map(Some),
        }
    }

    /// The same for UDP sockets.
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(&self.allow, self.handshakes)
    }

    /// Networks that are in only one of the two lists: those in `other`, and those in this one; each once, however often a list
    /// has it. Equal networks have the same key in the tables, since a [`Network`] has no bits beyond its prefix.
    #[must_use]
    pub fn difference(&self, other: &Self) -> (Vec<Network>, Vec<Network>) {
        let not_in = |list: &[Network], those: &[Network]| {
            let mut seen: HashSet<Network> = those.iter().copied().collect();
            let rest = list.iter().copied();
            rest.filter(|network| seen.insert(*network)).collect()
        };
        let (own, others) = (&self.allow, &other.allow);
        (not_in(others, own), not_in(own, others))
    }

    /// Has the program keep to `new` instead. First more are let in, then some no more: who is in both lists is not refused in
    /// between.
    ///
    /// # Errors
    /// [`TableError`], and the program keeps to this one. Both lists together have to find room.
    pub(crate) fn replace(&self, new: &Self, tables: &mut Tables) -> Result<(), TableError> {
        run(&self.steps(new), |step| step.take(tables))
    }

    /// How the tables get from this one to `new`: each step, and what undoes it.
    fn steps(&self, new: &Self) -> Vec<(Step, Step)> {
        let (added, removed) = self.difference(new);
        let add = |network: &Network| (Step::Allow(*network), Step::Forget(*network));
        let remove = |network: &Network| (Step::Forget(*network), Step::Allow(*network));
        let enforce = |list: &Self| Step::Enforce(!list.allow.is_empty());
        let limit = |list: &Self| Step::Limit(list.handshakes);
        let mut steps: Vec<(Step, Step)> = added.iter().map(add).collect();
        steps.push((enforce(new), enforce(self)));
        steps.push((limit(new), limit(self)));
        steps.extend(removed.iter().map(remove));
        steps
    }

    /// Has the program keep to it.
    pub(crate) fn enter(&self, tables: &mut Tables) -> Result<(), TableError> {
        // Each once: in a full table, one that is there already may be refused.
        let (networks, _) = Self::default().difference(self);
        for network in networks {
            tables.allow(network)?;
        }
        tables.enforce_allow_list(!self.allow.is_empty())?;
        tables.set_handshake_limit(self.handshakes)
    }
}

/// One change of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Allow(Network),
    Forget(Network),
    Enforce(bool),
    Limit(Option<HandshakeLimit>),
}

impl Step {
    fn take(self, tables: &mut Tables) -> Result<(), TableError> {
        match self {
            Self::Allow(network) => tables.allow(network),
            // Also when it was gone already.
            Self::Forget(network) => tables.forget(network).map(|_| ()),
            Self::Enforce(enforce) => tables.enforce_allow_list(enforce),
            Self::Limit(limit) => tables.set_handshake_limit(limit),
        }
    }
}

/// Takes the steps. When one fails, those before it are undone, the last one first, and no others: in a full table, a kernel may
/// refuse an entry that is there already (`trie_update_elem` in kernel/bpf/lpm_trie.c). What cannot be undone is said, and does
/// not keep the rest from it.
fn run(
    steps: &[(Step, Step)],
    mut take: impl FnMut(Step) -> Result<(), TableError>,
) -> Result<(), TableError> {
    for (done, (step, _)) in steps.iter().enumerate() {
        let Err(error) = take(*step) else { continue };
        let undo = steps[..done].iter().rev().map(|(_, undo)| *undo);
        let failed: Vec<TableError> = undo.filter_map(|undo| take(undo).err()).collect();
        if let Some(error) = failed.first() {
            let (error, failed) = (explain(error), failed.len());
            tracing::error!(
                error,
                failed,
                "the allow-list is partly the new one: start blockd again"
            );
        }
        return Err(error);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the tables.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Fake {
        networks: HashSet<Network>,
        enforced: bool,
        limit: Option<HandshakeLimit>,
    }

    impl Fake {
        fn of(admission: &Admission) -> Self {
            Self {
                networks: admission.allow.iter().copied().collect(),
                enforced: !admission.allow.is_empty(),
                limit: admission.handshakes,
            }
        }

        /// As an older kernel: in a full table an entry that is there already finds no room, either.
        fn take(&mut self, step: Step, room: usize) -> Result<(), TableError> {
            match step {
                Step::Allow(_) if self.networks.len() >= room => return Err(FULL),
                Step::Allow(network) => {
                    assert!(self.networks.insert(network), "{network} was there")
                }
                Step::Forget(network) => {
                    assert!(self.networks.remove(&network), "{network} was not")
                }
                Step::Enforce(enforce) => self.enforced = enforce,
                Step::Limit(limit) => self.limit = limit,
            }
            Ok(())
        }
    }

    const FULL: TableError = TableError::ListFull { most: 1 };

    fn admission(networks: &[&str], rate: u32) -> Admission {
        Admission {
            allow: networks.iter().map(|text| text.parse().unwrap()).collect(),
            handshakes: Admission::limit(rate).unwrap(),
        }
    }

    /// Three networks, each in more than one place and spelling.
    const TWICE: [&str; 7] = [
        "10.0.0.0/8",
        "192.0.2.9",
        "fd00:1::/64",
        "::ffff:10.0.0.0/104",
        "192.0.2.9/32",
        "192.0.2.9",
        "fd00:1:0::/64",
    ];

    /// Old and new rules.
    fn changes() -> [(Admission, Admission); 7] {
        let none = admission(&[], 0);
        let old = admission(&["10.0.0.0/8", "192.0.2.7", "fd00::/64"], 100);
        let new = admission(&["10.0.0.0/9", "fd00::/64", "192.0.2.8", "::1"], 200);
        let repeated = admission(&TWICE, 0);
        [
            (old.clone(), new.clone()),
            (new.clone(), old.clone()),
            (none.clone(), old.clone()),
            (old.clone(), none.clone()),
            (old, repeated.clone()),
            (repeated.clone(), new),
            (none, repeated),
        ]
    }

    #[test]
    fn a_change_that_is_refused_anywhere_leaves_the_old_rules() {
        for (old, new) in changes() {
            let steps = old.steps(&new);
            for refused in 0..=steps.len() {
                let mut table = Fake::of(&old);
                let mut number = 0;
                let outcome = run(&steps, |step| {
                    number += 1;
                    match number == refused + 1 {
                        true => Err(FULL),
                        false => table.take(step, usize::MAX),
                    }
                });
                assert_eq!(outcome.is_ok(), refused == steps.len());
                let kept = if outcome.is_ok() { &new } else { &old };
                assert_eq!(table, Fake::of(kept), "{refused}");
            }
        }
    }

    #[test]
    fn a_list_that_finds_no_room_leaves_the_old_one() {
        for (old, new) in changes() {
            let held = Fake::of(&old).networks.len();
            let both = held + old.difference(&new).0.len();
            for room in held..=both {
                let mut table = Fake::of(&old);
                let outcome = run(&old.steps(&new), |step| table.take(step, room));
                assert_eq!(outcome.is_ok(), room == both);
                let kept = if outcome.is_ok() { &new } else { &old };
                assert_eq!(table, Fake::of(kept), "{room}");
            }
        }
    }

    #[test]
    fn what_cannot_be_undone_does_not_keep_the_rest_from_it() {
        let (old, new) = &changes()[0];
        let stuck = Step::Forget("192.0.2.8".parse().unwrap());
        let last = old.steps(new).len();
        let mut table = Fake::of(old);
        let mut number = 0;
        let outcome = run(&old.steps(new), |step| {
            number += 1;
            match number == last || step == stuck {
                true => Err(FULL),
                false => table.take(step, usize::MAX),
            }
        });
        assert!(outcome.is_err());
        let mut expected = Fake::of(old);
        expected.networks.insert("192.0.2.8".parse().unwrap());
        assert_eq!(table, expected);
    }

    #[test]
    fn lists_differ_by_what_only_one_has() {
        let list = |networks: &[&str]| admission(networks, 0);
        let old = list(&["10.0.0.0/8", "192.0.2.7", "fd00::/64"]);
        let new = list(&["fd00::/64", "10.0.0.0/9", "10.0.0.0/8"]);
        let (added, removed) = old.difference(&new);
        assert_eq!(added, list(&["10.0.0.0/9"]).allow);
        assert_eq!(removed, list(&["192.0.2.7"]).allow);
        assert_eq!(old.difference(&old), (vec![], vec![]));
    }

    #[test]
    fn what_a_list_repeats_is_one_step() {
        let none = Admission::default();
        let list = admission(&TWICE, 0);
        let once = admission(&TWICE[..3], 0).allow;
        assert_eq!(none.difference(&list), (once.clone(), vec![]));
        assert_eq!(list.difference(&none), (vec![], once));
        // It fits exactly, and what is there already would be refused.
        let mut table = Fake::of(&none);
        run(&none.steps(&list), |step| table.take(step, 3)).unwrap();
        assert_eq!(table, Fake::of(&list));
    }

    #[test]
    fn a_rate_is_a_limit_with_room_for_the_beginning_of_a_copy() {
        let limit = |rate| {
            let limit = Admission::limit(rate).unwrap();
            limit.map(|limit| (limit.rate(), limit.burst()))
        };
        assert_eq!(limit(0), None);
        assert_eq!(limit(1), Some((1, 32)));
        assert_eq!(limit(1000), Some((1000, 1000)));
        assert!(Admission::limit(HandshakeLimit::MOST + 1).is_err());
    }
}
