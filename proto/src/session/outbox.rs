//! What a session sends, and what it learns when packets arrive or are lost.

use super::blocks::Blocks;
use super::control::ControlSender;
use super::pmtu::Pmtu;
use super::recovery::{Content, Fate};

/// What a session sends reliably; learns from [`super::recovery::Recovery`] what became of it.
#[derive(Debug)]
pub(super) struct Outbox<B> {
    pub(super) blocks: Blocks<B>,
    pub(super) control: ControlSender,
    /// Not sent reliably, but it learns from the same news.
    pub(super) pmtu: Pmtu,
    /// Something was acknowledged for the first time; whoever takes note takes it back.
    pub(super) acked: bool,
}

impl<B> Fate for Outbox<B> {
    fn on_acked(&mut self, content: Content) {
        self.acked = true;
        match content {
            Content::Block { slot, number } => {
                if let Some(len) = self.blocks.on_acked(slot, number) {
                    self.pmtu.on_block_acked(len);
                }
            }
            Content::Segment(number) => self.control.on_acked(number),
            Content::Ping => {}
            Content::Probe(probe) => self.pmtu.on_probe_acked(probe),
        }
    }

    fn on_lost(&mut self, content: Content) {
        match content {
            Content::Block { slot, number } => {
                if let Some(len) = self.blocks.on_lost(slot, number) {
                    self.pmtu.on_block_lost(len);
                }
            }
            Content::Segment(number) => self.control.on_lost(number),
            Content::Ping => {}
            Content::Probe(probe) => self.pmtu.on_probe_lost(probe),
        }
    }
}
