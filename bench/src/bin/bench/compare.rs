//! In the lab: two hosts on this machine, at each MTU.

use anyhow::Result;

use super::attempt::attempt;
use super::figures::{Board, Label};
use super::options::Amounts;
use super::scene::Scene;
use super::tools::{Kind, Tool};
use super::work::{Bench, Work};

/// Measures all of it; what there is so far is saved after each work. A lab that cannot be made is told of at the end.
pub fn in_the_lab(
    mtus: &[u32],
    works: &[Work],
    tools: &[Box<dyn Tool>],
    amounts: &Amounts,
    save: &dyn Fn(&Board) -> Result<()>,
) -> Result<Board> {
    let mut board = Board::default();
    for mtu in mtus {
        let works = works.iter().copied();
        let works: Vec<Work> = works.filter(|work| work.mtus(mtus).contains(mtu)).collect();
        if works.is_empty() {
            continue;
        }
        match attempt(|| Scene::lab(*mtu, amounts.size)) {
            Ok(mut scene) => on(&mut scene, &works, tools, amounts, &mut board, save)?,
            Err(reason) => {
                eprintln!("bench: FAILED: the lab with an MTU of {mtu}: {reason}");
                for work in works {
                    let reason = format!("no lab: {reason}");
                    board.fail(of_nobody(work, *mtu), reason);
                }
                save(&board)?;
            }
        }
    }
    Ok(board)
}

/// Measures these works between the hosts of a scene. What fails does not end the others.
pub fn on(
    scene: &mut Scene,
    works: &[Work],
    tools: &[Box<dyn Tool>],
    amounts: &Amounts,
    board: &mut Board,
    save: &dyn Fn(&Board) -> Result<()>,
) -> Result<()> {
    for work in works {
        let can: Vec<&dyn Tool> = tools
            .iter()
            .map(AsRef::as_ref)
            .filter(|tool| tool.works().contains(work))
            .collect();
        let (mtu, got) = (scene.near.mtu, scene.near.got.clone());
        let done = attempt(|| {
            work.run(&mut Bench {
                work: *work,
                scene: &mut *scene,
                tools: &can,
                amounts,
                board: &mut *board,
            });
        });
        scene.near.got = got;
        if let Err(reason) = done {
            board.fail(of_nobody(*work, mtu), reason);
        }
        save(board)?;
    }
    Ok(())
}

/// No tool's failure.
fn of_nobody(work: Work, mtu: u32) -> Label<'static> {
    Label {
        work,
        case: "",
        tool: "",
        kind: Kind::Ours,
        mtu,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use blk_bench::lab::Directory;

    use super::super::far_files::Local;
    use super::super::options::Sizes;
    use super::super::scene::{Far, Near, tests::near};
    use super::super::tools::{Copy, Direction, Service};
    use super::*;

    /// Copies, or does not, without a network.
    struct Fake {
        name: &'static str,
        works: bool,
    }

    impl Tool for Fake {
        fn name(&self) -> String {
            self.name.to_owned()
        }

        fn kind(&self) -> Kind {
            Kind::Peer
        }

        fn programs(&self) -> &'static [&'static str] {
            &[]
        }

        fn works(&self) -> &'static [Work] {
            &[Work::Put, Work::Get]
        }

        fn server(&self, _: &Far) -> Option<Service> {
            None
        }

        fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
            let [put, get] = ["put", "get"].map(|name| near.export.join(name));
            let mut command = near.command(if self.works { "cp" } else { "false" });
            match direction {
                Direction::Put => command.arg(&near.source).arg(put),
                Direction::Get => command.arg(get).arg(&near.got),
            };
            Some(Copy::silent(command))
        }
    }

    fn scene(directory: Directory) -> Scene {
        let export = directory.subdirectory("export");
        let near = Near {
            source: directory.join("source"),
            got: directory.join("got"),
            export: export.clone(),
            // Without a disk to wait for.
            home: "/dev/shm".into(),
            size: 8,
            ..near()
        };
        for file in [&near.source, &export.join("get")] {
            std::fs::write(file, b"12345678").unwrap();
        }
        Scene::elsewhere(near, Box::new(Local { export }), directory)
    }

    #[test]
    fn a_tool_that_fails_ends_neither_other_tools_nor_other_works() {
        let fake = |name, works| Box::new(Fake { name, works }) as Box<dyn Tool>;
        let tools = [fake("a", true), fake("b", false), fake("c", true)];
        let mut amounts = Sizes::default().amounts();
        amounts.runs = 2;
        let mut board = Board::default();
        let saved = Cell::new(0);
        let save = |_: &Board| {
            saved.set(saved.get() + 1);
            Ok(())
        };
        let mut scene = scene(Directory::new());
        let works = [Work::Put, Work::Get];
        on(&mut scene, &works, &tools, &amounts, &mut board, &save).unwrap();
        assert_eq!(saved.get(), 2);
        let gathered = board
            .figures
            .iter()
            .map(|figure| (figure.work, figure.tool.as_str(), figure.samples.len()));
        let gathered: Vec<_> = gathered.collect();
        let expected =
            [Work::Put, Work::Get].map(|work| [(work, "a", 2), (work, "b", 0), (work, "c", 2)]);
        assert_eq!(gathered, expected.concat());
        let failed: Vec<_> = board
            .failures
            .iter()
            .map(|f| (f.work, f.tool.as_str()))
            .collect();
        assert_eq!(failed, [(Work::Put, "b"), (Work::Get, "b")], "each once");
        assert!(board.failures[0].reason.contains("b failed"));
        assert!(Path::new(&scene.near.source).exists());
    }
}
