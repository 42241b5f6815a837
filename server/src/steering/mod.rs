//! Interrupts, RSS and rules of the card, set for as long as blockd runs and put back afterwards.
//!
//! ```text
//!   facts of the card ──► plan ──► state file ──► changes ──► … ──► taken back, last one first ──► state file removed
//!                                      └── after a kill: by the next start, or by `blockd restore`
//! ```
//!
//! What somebody else has changed in the meantime stays as it is then.

mod interrupts;
mod plan;
mod state;

use std::io;
use std::path::Path;

use blk_datapath::net::card::{Card, Family, PortRule};
use blk_datapath::net::{Interface, device_directory};
use blk_datapath::number_list::NumberList;

pub use interrupts::Interrupt;
pub use plan::{Change, Facts, Key, Plan, Request, Value, plan};
pub use state::StateError;
use state::{Saved, StateFile, interface_of};

/// Where the state files are. Not kept over a reboot, as the settings are not.
pub const STATE_DIRECTORY: &str = "/run/blockd";

/// Settings that can be read and changed: those of a card, or of a model of one.
pub(crate) trait Settings {
    /// How it is set now.
    fn get(&mut self, key: &Key) -> io::Result<Value>;
    /// Sets it.
    fn set(&mut self, key: &Key, value: &Value) -> io::Result<()>;
}

/// Makes the changes; those that were made, with the values that came of them, and why others were not.
pub(crate) fn apply(
    settings: &mut impl Settings,
    changes: &[Change],
) -> (Vec<Change>, Vec<String>) {
    let (mut done, mut notes) = (Vec::new(), Vec::new());
    for change in changes {
        match settings.set(&change.key, &change.to) {
            Ok(()) => {
                let mut change = change.clone();
                // A driver may take less than it was told.
                if let Ok(value) = settings.get(&change.key) {
                    change.to = value;
                }
                done.push(change);
            }
            Err(error) => notes.push(format!("not done: {change}: {error}")),
        }
    }
    (done, notes)
}

/// What came of taking changes back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Changes that are still there, as the system refused to take them back; in their order.
    pub(crate) left: Vec<Change>,
    /// What could not be taken back, or was not to be.
    pub(crate) notes: Vec<String>,
}

/// Takes changes back, the last one first.
pub(crate) fn restore(settings: &mut impl Settings, changes: &[Change]) -> Restored {
    let mut restored = Restored::default();
    for change in changes.iter().rev() {
        let outcome = match settings.get(&change.key) {
            Ok(value) if value == change.to => settings.set(&change.key, &change.from),
            Ok(value) if value == change.from => Ok(()),
            Ok(_) => {
                let note = format!("not taken back: {change}: it was changed by somebody else");
                restored.notes.push(note);
                continue;
            }
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { continue };
        let note = format!("not taken back: {change}: {error}");
        restored.notes.push(note);
        // What is not there any more never comes back.
        if error.kind() != io::ErrorKind::NotFound {
            restored.left.insert(0, change.clone());
        }
    }
    restored
}

/// What has to be taken back once, from what an earlier blockd has left and what this one has done.
fn joined(left: Vec<Change>, done: Vec<Change>) -> Vec<Change> {
    let mut all = left;
    for mut change in done {
        // Both of them changed it: it goes back to how it was before the first.
        if let Some(at) = all.iter().position(|earlier| earlier.key == change.key) {
            let earlier = all.remove(at);
            if earlier.to == change.from {
                change.from = earlier.from;
            }
        }
        all.push(change);
    }
    all
}

/// A card and its interrupts.
struct Host<'a>(&'a Card);

impl Settings for Host<'_> {
    fn get(&mut self, key: &Key) -> io::Result<Value> {
        Ok(match key {
            Key::Interrupt { number, name } => {
                // The number may be another one's by now.
                let is_there = interrupts::name(*number).as_ref() == Some(name);
                let cpus = interrupts::affinity(*number).filter(|_| is_there);
                let cpus = cpus.ok_or(io::ErrorKind::NotFound)?;
                Value::Numbers(cpus.numbers().to_vec())
            }
            Key::Table => Value::Numbers(self.0.table()?),
            Key::HashFieldsV4 => Value::Bits(self.0.hash_fields(Family::V4)?),
            Key::HashFieldsV6 => Value::Bits(self.0.hash_fields(Family::V6)?),
            Key::Ntuple => Value::Switch(self.0.ntuple()?),
            Key::RuleV4 { .. } | Key::RuleV6 { .. } => {
                let rules = self.0.rules()?;
                Value::Switch(rules.iter().any(|(_, there)| Some(*there) == rule(key)))
            }
        })
    }

    fn set(&mut self, key: &Key, value: &Value) -> io::Result<()> {
        match (key, value) {
            (Key::Interrupt { number, .. }, Value::Numbers(cpus)) => {
                let list: NumberList = cpus.iter().copied().collect();
                std::fs::write(interrupts::affinity_path(*number), list.to_string())
            }
            (Key::Table, Value::Numbers(table)) => self.0.set_table(table),
            (Key::HashFieldsV4, Value::Bits(bits)) => self.0.set_hash_fields(Family::V4, *bits),
            (Key::HashFieldsV6, Value::Bits(bits)) => self.0.set_hash_fields(Family::V6, *bits),
            (Key::Ntuple, Value::Switch(on)) => self.0.set_ntuple(*on),
            (Key::RuleV4 { .. } | Key::RuleV6 { .. }, Value::Switch(on)) => match rule(key) {
                Some(rule) if *on => self.0.add_rule(rule),
                Some(rule) => self.0.remove_rule(rule),
                None => Ok(()),
            },
            // A state file that somebody has written by hand.
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// The rule that a key stands for.
fn rule(key: &Key) -> Option<PortRule> {
    let (family, port, queue) = match *key {
        Key::RuleV4 { port, queue } => (Family::V4, port, queue),
        Key::RuleV6 { port, queue } => (Family::V6, port, queue),
        _ => return None,
    };
    Some(PortRule {
        family,
        port,
        queue,
    })
}

/// What an interface's card tells.
fn facts(interface: &Interface) -> Facts {
    let card = Card::of(&interface.name);
    let driver = interface.driver.as_deref().unwrap_or("(unknown)");
    let interrupts = device_directory(&interface.name)
        .map(|directory| interrupts::of_device(&directory, driver))
        .unwrap_or_default();
    let rules = card.rules().ok();
    Facts {
        queues: interface.rx_queues,
        table: card.table().ok().filter(|table| !table.is_empty()),
        hash_fields: [Family::V4, Family::V6].map(|family| card.hash_fields(family).ok()),
        ntuple: card.ntuple().ok(),
        rules: rules.map(|rules| rules.into_iter().map(|(_, rule)| rule).collect()),
        interrupts,
        driver: driver.to_owned(),
    }
}

/// Settings of a card, changed. Put back when dropped.
#[derive(Debug)]
pub struct Steering {
    card: Card,
    saved: Saved,
    state: StateFile,
}

impl Steering {
    /// Sets what `request` takes, as far as the card can, and remembers how it was. What is done and what is not, in words.
    ///
    /// # Errors
    /// [`StateError`]: it cannot be remembered, or another blockd has set it. Nothing is changed then.
    pub fn set(
        interface: &Interface,
        request: &Request,
    ) -> Result<(Option<Self>, Vec<String>), StateError> {
        let Plan { changes, mut notes } = plan(&facts(interface), request);
        let path = StateFile::path(Path::new(STATE_DIRECTORY), &interface.name);
        if changes.is_empty() {
            return Ok((None, notes));
        }
        let Some(mut state) = StateFile::lock(&path, true)? else {
            return Ok((None, notes));
        };
        let (name, index) = (interface.name.clone(), interface.index);
        let earlier = state.read()?.filter(|saved| saved.index == index);
        let left = earlier.map(|saved| saved.changes).unwrap_or_default();
        let to_be = joined(left.clone(), changes.clone());
        state.write(&Saved::new(&name, index, &to_be))?;
        let card = Card::of(&name);
        let (done, refused) = apply(&mut Host(&card), &changes);
        notes.extend(done.iter().map(Change::to_string));
        notes.extend(refused);
        let saved = Saved::new(&name, index, &joined(left, done));
        let mut steering = Self { card, saved, state };
        // Should that fail, all is put back.
        steering.state.write(&steering.saved)?;
        Ok((Some(steering), notes))
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        let restored = restore(&mut Host(&self.card), &self.saved.changes);
        for note in restored.notes {
            tracing::warn!("steering: {note}");
        }
        self.saved.changes = restored.left;
        self.state.keep(&self.saved);
    }
}

/// Puts back what a blockd has left that was killed, on this interface or on all of this network namespace: what was done, or
/// not, for each file that there was. `None` for an interface whose blockd runs.
///
/// # Errors
/// [`StateError::Io`].
pub fn recover(
    interface: Option<&str>,
    directory: &Path,
) -> Result<Vec<(String, Option<Recovered>)>, StateError> {
    let files = match interface {
        Some(interface) => vec![StateFile::path(directory, interface)],
        None => StateFile::all(directory),
    };
    let mut outcomes = Vec::new();
    for path in files {
        match StateFile::lock(&path, false) {
            Ok(Some(mut state)) => match state.read() {
                Ok(Some(mut saved)) => {
                    let (recovered, left) = Recovered::by(&saved);
                    saved.changes = left;
                    state.keep(&saved);
                    outcomes.push((saved.interface, Some(recovered)));
                }
                Ok(None) => state.remove(),
                Err(error) => outcomes.push((interface_of(&path), Some(unreadable(state, &error)))),
            },
            Ok(None) => {}
            Err(StateError::InUse(interface)) => outcomes.push((interface, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// So many settings are as they were before.
    pub settings: usize,
    /// Why others are not.
    pub notes: Vec<String>,
}

/// What is to be said of a state file that cannot be used.
fn unreadable(state: StateFile, error: &StateError) -> Recovered {
    let aside = match state.set_aside() {
        Ok(name) => format!("it is {} now", name.display()),
        Err(error) => format!("it stays there: {error}"),
    };
    let note = format!(
        "{error}; {aside}: what blockd had set on the card is not put back, unless by hand"
    );
    Recovered {
        settings: 0,
        notes: vec![note],
    }
}

impl Recovered {
    /// Also what is still to be put back.
    fn by(saved: &Saved) -> (Self, Vec<Change>) {
        let is_there = Interface::by_name(&saved.interface)
            .is_ok_and(|interface| interface.index == saved.index);
        if !is_there {
            // Its settings went with it.
            let recovered = Self {
                settings: 0,
                notes: vec!["it is another interface now, or none".to_owned()],
            };
            return (recovered, Vec::new());
        }
        let card = Card::of(&saved.interface);
        let Restored { left, mut notes } = restore(&mut Host(&card), &saved.changes);
        let settings = saved.changes.len() - notes.len();
        if !left.is_empty() {
            let number = left.len();
            notes.push(format!(
                "{number} of these can be tried again, by `blockd restore`"
            ));
        }
        (Self { settings, notes }, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_any_more_needs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(directory.path(), "blk-gone");
        let mut state = StateFile::lock(&path, true).unwrap().unwrap();
        let change = Change {
            key: Key::Table,
            from: Value::Numbers(vec![0, 1]),
            to: Value::Numbers(vec![1, 1]),
        };
        state.write(&Saved::new("blk-gone", 7, &[change])).unwrap();
        let recover = |interface| recover(interface, directory.path()).unwrap();
        // Its maker lives.
        assert_eq!(recover(None), [("blk-gone".to_owned(), None)]);
        drop(state);
        let outcomes = recover(Some("blk-gone"));
        let (name, recovered) = &outcomes[0];
        assert_eq!(name, "blk-gone");
        assert_eq!(recovered.as_ref().unwrap().settings, 0);
        assert_eq!(recover(None), []);
    }

    #[test]
    fn a_state_file_of_garbage_is_told_and_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = StateFile::path(directory.path(), "blk-odd");
        std::fs::write(&path, "{\"format\":1,\"interf").unwrap();
        let outcomes = recover(None, directory.path()).unwrap();
        let (name, recovered) = &outcomes[0];
        assert_eq!(name, "blk-odd");
        let notes = &recovered.as_ref().unwrap().notes;
        let told = notes[0].contains("cannot understand") && notes[0].contains(".unreadable");
        assert!(told, "{notes:?}");
        assert_eq!(recover(None, directory.path()).unwrap(), []);
    }

    #[test]
    fn an_interface_without_anything_to_set_says_so() {
        let lo = Interface::by_name("lo").unwrap();
        let request = Request {
            port: 7440,
            workers: vec![(0, Some(0))],
        };
        let (steering, notes) = Steering::set(&lo, &request).unwrap();
        assert!(steering.is_none());
        assert!(notes[0].contains("not supported"), "{notes:?}");
    }
}
