//! In the lab: two hosts on this machine, at each MTU.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;

use super::figures::{Board, Figure};
use super::options::Amounts;
use super::scene::Scene;
use super::tools::Tool;
use super::work::{Bench, Work};

/// Measures all of it; what there is so far is saved after each work.
pub fn in_the_lab(
    mtus: &[u32],
    works: &[Work],
    tools: &[Box<dyn Tool>],
    amounts: &Amounts,
    save: &dyn Fn(&[Figure]) -> Result<()>,
) -> Result<Board> {
    let mut board = Board::default();
    for mtu in mtus {
        let works = works.iter().copied();
        let works: Vec<Work> = works.filter(|work| work.mtus(mtus).contains(mtu)).collect();
        if works.is_empty() {
            continue;
        }
        let mut scene = Scene::lab(*mtu, amounts.size);
        on(&mut scene, &works, tools, amounts, &mut board, save)?;
    }
    Ok(board)
}

/// Measures these works between the hosts of a scene. One that fails ends them, but not those of the next scene.
pub fn on(
    scene: &mut Scene,
    works: &[Work],
    tools: &[Box<dyn Tool>],
    amounts: &Amounts,
    board: &mut Board,
    save: &dyn Fn(&[Figure]) -> Result<()>,
) -> Result<()> {
    for work in works {
        let can: Vec<&dyn Tool> = tools
            .iter()
            .map(AsRef::as_ref)
            .filter(|tool| tool.works().contains(work))
            .collect();
        let mtu = scene.near.mtu;
        let done = catch_unwind(AssertUnwindSafe(|| {
            work.run(&mut Bench {
                scene: &mut *scene,
                tools: &can,
                amounts,
                board: &mut *board,
            });
        }));
        save(&board.figures)?;
        if done.is_err() {
            // It has said why. What it left is of no use to other work.
            board.failed.push(format!("{} at MTU {mtu}", work.word()));
            break;
        }
    }
    Ok(())
}
