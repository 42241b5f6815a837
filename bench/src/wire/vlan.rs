//! What a switch does to the VLAN tags of frames: puts them in where a port is a trunk, and takes them out where it is not.

use super::frame::Frame;

/// EtherType of a customer's tag (IEEE 802.1Q).
const CUSTOMER: u16 = 0x8100;
/// EtherType of the outer tag of two (IEEE 802.1ad).
const SERVICE: u16 = 0x88a8;

/// The VLAN that an interface of the wire carries: none, one tag, or two, the outer one first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vlan {
    /// Protocol ids and VLAN ids, outermost first.
    tags: Vec<(u16, u16)>,
}

impl Vlan {
    /// Reads `ID` or `OUTER,INNER`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ids: Vec<u16> = text
            .split(',')
            .map(|id| id.parse().ok().filter(|id| (1..=4094).contains(id)))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("{text}: VLAN ids are numbers from 1 to 4094"))?;
        let protocols: &[u16] = match ids.len() {
            1 => &[CUSTOMER],
            2 => &[SERVICE, CUSTOMER],
            _ => return Err(format!("{text}: one VLAN id, or two")),
        };
        let tags = protocols.iter().copied().zip(ids).collect();
        Ok(Self { tags })
    }

    /// Takes the tags out of a frame that arrived on such an interface; `false`: it is of another VLAN.
    pub fn strip(&self, frame: &mut Frame) -> bool {
        self.tags
            .iter()
            .all(|&(protocol, id)| frame.remove_vlan(protocol, id))
    }

    /// Puts the tags into a frame that leaves by such an interface.
    pub fn tag(&self, frame: &mut Frame) {
        for &(protocol, id) in self.tags.iter().rev() {
            frame.insert_vlan(protocol, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Frame {
        let mut frame = Frame::with_capacity(64);
        frame.room()[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        frame
    }

    #[test]
    fn a_tag_is_put_in_and_taken_out() {
        let untagged: Vec<u8> = (0..20).collect();
        for (text, len) in [("7", 4), ("100,7", 8)] {
            let vlan = Vlan::parse(text).unwrap();
            let mut frame = frame(&untagged);
            vlan.tag(&mut frame);
            assert_eq!(frame.bytes().len(), untagged.len() + len);
            assert_eq!(frame.bytes()[12], if len == 8 { 0x88 } else { 0x81 });
            assert!(vlan.strip(&mut frame));
            assert_eq!(frame.bytes(), untagged);
        }
    }

    #[test]
    fn frames_of_other_vlans_are_told_apart() {
        let mut tagged = frame(&[0; 20]);
        Vlan::parse("100,7").unwrap().tag(&mut tagged);
        for other in ["7", "100", "100,8", "101,7"] {
            let mut frame = tagged.clone();
            assert!(!Vlan::parse(other).unwrap().strip(&mut frame), "{other}");
        }
        assert!(Vlan::default().strip(&mut tagged.clone()), "any frame");
        assert!(!Vlan::parse("7").unwrap().strip(&mut frame(&[0; 20])));
    }

    #[test]
    fn what_is_no_vlan_is_refused() {
        for bad in ["", "0", "4095", "1,2,3", "seven", "7,"] {
            assert!(Vlan::parse(bad).is_err(), "{bad}");
        }
    }
}
