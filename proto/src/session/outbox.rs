//! What a session sends, and what it learns when packets arrive or are lost.

use super::blocks::Blocks;
use super::control::{ControlSender, Piece};
use super::fate::{Content, Fate};
use super::pmtu::Pmtu;

/// Bytes of the control stream in a packet that every path takes: less than the smallest MTU of IPv6.
const MIN_CONTROL_PAYLOAD: u16 = 1024;

/// What a session sends reliably; learns from [`super::recovery::Recovery`] what became of it.
#[derive(Debug)]
pub(super) struct Outbox<B> {
    pub(super) blocks: Blocks<B>,
    pub(super) control: ControlSender,
    /// Not sent reliably, but it learns from the same news.
    pub(super) pmtu: Pmtu,
    /// So many bytes longer is a Data packet than a Control packet with the same payload: its padding.
    pub(super) padding: u16,
    /// Most bytes of payload in a Data packet that is not long: control is never longer than those.
    pub(super) max_control: u16,
    /// Something was acknowledged for the first time; whoever takes note takes it back.
    pub(super) acked: bool,
}

impl<B> Outbox<B> {
    /// Most bytes of the control stream that a packet may have now. Where a probe has shown that the path takes more than
    /// any path does, the packet is as long as one with the longest block that is not long, and says as much about the path.
    pub(super) fn control_payload(&self) -> u16 {
        let proved = self.pmtu.proved().map(|limit| limit.min(self.max_control));
        let most = proved.map_or(0, |limit| limit.saturating_add(self.padding));
        most.max(MIN_CONTROL_PAYLOAD)
    }
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
            Content::Control { offset, len } => {
                self.control.on_acked(Piece { offset, len });
                self.pmtu.on_block_acked(len.saturating_sub(self.padding));
            }
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
            Content::Control { offset, len } => {
                self.control.on_lost(Piece { offset, len });
                self.pmtu.on_block_lost(len.saturating_sub(self.padding));
            }
            Content::Ping => {}
            Content::Probe(probe) => self.pmtu.on_probe_lost(probe),
        }
    }
}
