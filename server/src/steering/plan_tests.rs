use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::super::{Restored, Settings, apply, joined, restore};
use super::*;

/// A card that remembers what is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    values: BTreeMap<Key, Value>,
    /// Keys that it refuses to change.
    stubborn: Vec<Key>,
}

impl Settings for Model {
    fn get(&mut self, key: &Key) -> io::Result<Value> {
        let absent = matches!(key, Key::RuleV4 { .. } | Key::RuleV6 { .. });
        match self.values.get(key) {
            Some(value) => Ok(value.clone()),
            None if absent => Ok(Value::Switch(false)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn set(&mut self, key: &Key, value: &Value) -> io::Result<()> {
        if self.stubborn.contains(key) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let is_rule = matches!(key, Key::RuleV4 { .. } | Key::RuleV6 { .. });
        if is_rule && *value == Value::Switch(false) {
            self.values.remove(key);
        } else {
            self.values.insert(key.clone(), value.clone());
        }
        Ok(())
    }
}

impl Model {
    fn of(facts: &Facts) -> Self {
        let mut values = BTreeMap::new();
        for interrupt in &facts.interrupts {
            let key = Key::Interrupt {
                number: interrupt.number,
                name: interrupt.name.clone(),
            };
            let cpus = interrupt.cpus.numbers().to_vec();
            values.insert(key, Value::Numbers(cpus));
        }
        if let Some(table) = &facts.table {
            values.insert(Key::Table, Value::Numbers(table.clone()));
        }
        for (key, bits) in [Key::HashFieldsV4, Key::HashFieldsV6]
            .into_iter()
            .zip(facts.hash_fields)
        {
            values.extend(bits.map(|bits| (key, Value::Bits(bits))));
        }
        values.extend(facts.ntuple.map(|on| (Key::Ntuple, Value::Switch(on))));
        for rule in facts.rules.iter().flatten() {
            let (port, queue) = (rule.port, rule.queue);
            let key = match rule.family {
                Family::V4 => Key::RuleV4 { port, queue },
                Family::V6 => Key::RuleV6 { port, queue },
            };
            values.insert(key, Value::Switch(true));
        }
        Self {
            values,
            stubborn: Vec::new(),
        }
    }

    fn table(&self) -> Vec<u32> {
        match &self.values[&Key::Table] {
            Value::Numbers(table) => table.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn interrupt(number: u32, queue: u32, cpus: &str) -> Interrupt {
    Interrupt {
        number,
        name: format!("eth1-TxRx-{queue}"),
        queue,
        cpus: cpus.parse().unwrap(),
    }
}

/// A card with four queues, as ixgbe has it.
fn card() -> Facts {
    Facts {
        driver: "ixgbe".to_owned(),
        queues: 4,
        table: Some((0..128).map(|entry| entry % 4).collect()),
        hash_fields: [Some(0x30), Some(0xf0)],
        ntuple: Some(false),
        rules: Some(Vec::new()),
        interrupts: (0..4)
            .map(|queue| interrupt(60 + queue, queue, "0-7"))
            .collect(),
    }
}

fn request(workers: &[(u32, usize)]) -> Request {
    Request {
        port: 7440,
        workers: workers
            .iter()
            .map(|&(queue, cpu)| (queue, Some(cpu)))
            .collect(),
    }
}

#[test]
fn all_queues_need_ports_in_the_hash_and_their_interrupts_moved() {
    let plan = plan(&card(), &request(&[(0, 4), (1, 5), (2, 6), (3, 7)]));
    let told: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    let expected = [
        "interrupt 60 (eth1-TxRx-0) to CPU 4",
        "interrupt 61 (eth1-TxRx-1) to CPU 5",
        "interrupt 62 (eth1-TxRx-2) to CPU 6",
        "interrupt 63 (eth1-TxRx-3) to CPU 7",
        "hash of UDP over IPv4 with ports",
    ];
    assert_eq!(told, expected);
    assert_eq!(plan.notes, [""; 0]);
}

#[test]
fn some_queues_get_the_whole_table() {
    let facts = card();
    let plan = plan(&facts, &request(&[(1, 0), (3, 1)]));
    let mut model = Model::of(&facts);
    assert_eq!(apply(&mut model, &plan.changes).1, [""; 0]);
    let table = model.table();
    for queue in 0..4 {
        let entries = table.iter().filter(|entry| **entry == queue).count();
        assert_eq!(entries, [0, 64, 0, 64][queue as usize]);
    }
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
}

#[test]
fn one_queue_gets_the_port_by_rules_and_nothing_else() {
    let plan = plan(&card(), &request(&[(2, 0)]));
    let keys: Vec<&Key> = plan.changes[1..].iter().map(|change| &change.key).collect();
    let (port, queue) = (7440, 2);
    let expected = [
        &Key::Ntuple,
        &Key::RuleV4 { port, queue },
        &Key::RuleV6 { port, queue },
    ];
    assert_eq!(keys, expected);
}

#[test]
fn rules_that_are_there_stay() {
    let mut facts = card();
    let rule = |family, queue| PortRule {
        family,
        port: 7440,
        queue,
    };
    facts.ntuple = Some(true);
    facts.rules = Some(vec![rule(Family::V4, 2), rule(Family::V6, 1)]);
    let plan = plan(&facts, &request(&[(2, 0)]));
    assert_eq!(plan.changes.len(), 1, "the interrupt alone: {plan:?}");
    assert!(plan.notes[0].contains("port 7440 to queue 1"), "{plan:?}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let veth = Facts {
        driver: "veth".to_owned(),
        queues: 2,
        ..Facts::default()
    };
    let told = plan(&veth, &request(&[(0, 0), (1, 1)]));
    assert_eq!(told.changes, []);
    assert_eq!(told.notes, ["not supported by driver veth: left as it is"]);
    let blind = Facts {
        table: None,
        rules: None,
        ..card()
    };
    let told = plan(&blind, &request(&[(0, 0)])).notes;
    assert!(told[0].contains("ixgbe cannot be told"), "{told:?}");
    let silent = Facts {
        interrupts: Vec::new(),
        ..card()
    };
    let told = plan(&silent, &request(&[(0, 0)])).notes;
    assert!(told[0].contains("interrupt of queue 0"), "{told:?}");
}

#[test]
fn what_somebody_else_has_changed_since_stays() {
    let facts = card();
    let plan = plan(&facts, &request(&[(1, 0), (3, 1)]));
    let mut model = Model::of(&facts);
    let (done, _) = apply(&mut model, &plan.changes);
    let theirs = Value::Numbers(vec![2; 128]);
    model.set(&Key::Table, &theirs).unwrap();
    let Restored { left, notes } = restore(&mut model, &done);
    assert_eq!(left, []);
    assert_eq!(model.values[&Key::Table], theirs);
    assert!(notes[0].contains("changed by somebody else"), "{notes:?}");
    let key = Key::HashFieldsV4;
    assert_eq!(model.values[&key], Model::of(&facts).values[&key]);
}

#[test]
fn what_the_card_refuses_is_said_and_the_rest_done() {
    let facts = card();
    let plan = plan(&facts, &request(&[(1, 0), (3, 1)]));
    let mut model = Model::of(&facts);
    model.stubborn = vec![Key::Table];
    let before = model.clone();
    let (done, notes) = apply(&mut model, &plan.changes);
    assert_eq!(done.len() + 1, plan.changes.len());
    assert!(notes[0].contains("RSS table"), "{notes:?}");
    assert_eq!(restore(&mut model, &done), Restored::default());
    assert_eq!(model, before);
}

#[test]
fn what_cannot_be_put_back_is_left_for_another_time() {
    let facts = card();
    let plan = plan(&facts, &request(&[(1, 0), (3, 1)]));
    let mut model = Model::of(&facts);
    let before = model.clone();
    let (done, _) = apply(&mut model, &plan.changes);
    model.stubborn = vec![Key::Table];
    let Restored { left, notes } = restore(&mut model, &done);
    assert!(notes[0].contains("not taken back: RSS table"), "{notes:?}");
    assert_eq!(left.len(), 1, "{left:?}");
    // Another blockd sets it otherwise in the meantime; what was before the first one comes back.
    model.stubborn.clear();
    let change = Change {
        key: Key::Table,
        from: left[0].to.clone(),
        to: Value::Numbers(vec![7; 128]),
    };
    let (done, _) = apply(&mut model, &[change]);
    let all = joined(left, done);
    assert_eq!(restore(&mut model, &all), Restored::default());
    assert_eq!(model, before);
    // What is not there any more is not waited for.
    model.values.remove(&Key::Table);
    let restored = restore(&mut model, &all);
    assert_eq!((restored.left.len(), restored.notes.len()), (0, 1));
}

prop_compose! {
    fn cards()(
        queues in 1_u32..9,
        entries in proptest::option::of(proptest::collection::vec(0_u32..8, 1..64)),
        hash_fields in [proptest::option::of(0_u64..256), proptest::option::of(0_u64..256)],
        ntuple in proptest::option::of(any::<bool>()),
        rules in proptest::option::of(proptest::collection::btree_set(
            (any::<bool>(), 7438_u16..7442, 0_u32..8), 0..5)),
        vectors in proptest::collection::btree_map(0_u32..20, (0_u32..8, 0_u32..16), 0..12),
    ) -> Facts {
        Facts {
            driver: "ixgbe".to_owned(),
            queues,
            table: entries.map(|list| list.into_iter().map(|entry| entry % queues).collect()),
            hash_fields,
            ntuple,
            rules: rules.map(|rules| rules.into_iter().map(|(v6, port, queue)| PortRule {
                family: if v6 { Family::V6 } else { Family::V4 },
                port,
                queue,
            }).collect()),
            interrupts: vectors.into_iter()
                .map(|(number, (queue, cpu))| interrupt(number, queue, &cpu.to_string()))
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn what_was_done_can_be_taken_back(
        facts in cards(),
        served in proptest::collection::btree_map(0_u32..8, proptest::option::of(0_usize..16), 1..8),
    ) {
        let workers: Vec<_> = served.into_iter().filter(|(queue, _)| *queue < facts.queues).collect();
        prop_assume!(!workers.is_empty());
        let request = Request { port: 7440, workers: workers.clone() };
        let plan = plan(&facts, &request);
        let mut model = Model::of(&facts);
        let before = model.clone();
        let (done, notes) = apply(&mut model, &plan.changes);
        prop_assert_eq!(&done, &plan.changes);
        prop_assert_eq!(notes, [""; 0]);
        // The interrupts of served queues are where they should be.
        for interrupt in &facts.interrupts {
            let key = Key::Interrupt { number: interrupt.number, name: interrupt.name.clone() };
            let cpu = workers.iter().find(|worker| worker.0 == interrupt.queue).and_then(|worker| worker.1);
            let expected = cpu.map_or(interrupt.cpus.numbers().to_vec(), |cpu| vec![cpu as u32]);
            prop_assert_eq!(&model.values[&key], &Value::Numbers(expected));
        }
        // A table that is used leads to all served queues equally, and to no other.
        if facts.queues > 1 && facts.table.is_some() && (workers.len() > 1 || facts.rules.is_none()) {
            let table = model.table();
            let counts: Vec<usize> = workers.iter()
                .map(|(queue, _)| table.iter().filter(|entry| *entry == queue).count())
                .collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), table.len());
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
        prop_assert_eq!(restore(&mut model, &done), Restored::default());
        prop_assert_eq!(&model, &before);
        // Taken back twice, or without having been done, it is the same.
        prop_assert_eq!(restore(&mut model, &done), Restored::default());
        prop_assert_eq!(&model, &before);
    }
}
