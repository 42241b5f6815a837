use super::sender::tests::{message, outgoing};
use super::*;
use proptest::prelude::*;

#[test]
fn messages_arrive_in_order_whatever_the_network_does() {
    let mut sender = ControlSender::new();
    let messages: Vec<Vec<u8>> = (1..40usize).map(|n| vec![n as u8; n * n * 5]).collect();
    for message in &messages {
        sender.push(message).unwrap();
    }
    let mut pieces = outgoing(&mut sender, 1024);
    pieces.reverse();
    let mut receiver = ControlReceiver::new();
    for (piece, bytes) in pieces.iter().chain(&pieces) {
        assert_eq!(receiver.receive(piece.offset, bytes), Ok(true));
    }
    let received: Vec<_> = std::iter::from_fn(|| receiver.pop()).collect();
    assert_eq!(received, messages);
}

/// What happens to the stream.
#[derive(Clone, Debug)]
enum Act {
    Push(usize),
    /// Sends a packet with room for so many bytes.
    Send(u16),
    Deliver(prop::sample::Index),
    Acknowledge(prop::sample::Index),
    /// Counts as lost; may arrive all the same.
    Lose(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1usize..5000).prop_map(Act::Push),
        (1u16..4000).prop_map(Act::Send),
        (1u16..4000).prop_map(Act::Send),
        any::<prop::sample::Index>().prop_map(Act::Deliver),
        any::<prop::sample::Index>().prop_map(Act::Acknowledge),
        any::<prop::sample::Index>().prop_map(Act::Lose),
    ]
}

/// A sender, a receiver, and packets between them.
struct Stream {
    sender: ControlSender,
    receiver: ControlReceiver,
    pushed: Vec<Vec<u8>>,
    popped: Vec<Vec<u8>>,
    /// On their way, with the count of those that arrived.
    packets: Vec<(Piece, Vec<u8>)>,
    arrived: VecDeque<Piece>,
}

impl Stream {
    fn new() -> Self {
        Self {
            sender: ControlSender::new(),
            receiver: ControlReceiver::new(),
            pushed: Vec::new(),
            popped: Vec::new(),
            packets: Vec::new(),
            arrived: VecDeque::new(),
        }
    }

    fn send(&mut self, most: u16) -> bool {
        let Some(piece) = self.sender.transmit(most) else {
            return false;
        };
        assert!((1..=most).contains(&piece.len));
        let (first, second) = self.sender.bytes(piece);
        let bytes = [first, second].concat();
        assert_eq!(bytes.len(), usize::from(piece.len));
        self.packets.push((piece, bytes));
        true
    }

    fn deliver(&mut self, at: usize) {
        let (piece, bytes) = self.packets.swap_remove(at);
        if self.receiver.receive(piece.offset, &bytes).unwrap() {
            self.arrived.push_back(piece);
        } else {
            self.sender.on_lost(piece);
        }
        while let Some(message) = self.receiver.pop() {
            self.popped.push(message);
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Push(len) => {
                let message = message(self.pushed.len(), *len);
                if self.sender.push(&message).is_ok() {
                    self.pushed.push(message);
                }
            }
            Act::Send(most) => {
                self.send(*most);
            }
            Act::Deliver(at) if !self.packets.is_empty() => {
                self.deliver(at.index(self.packets.len()));
            }
            Act::Lose(at) if !self.packets.is_empty() => {
                let at = at.index(self.packets.len());
                self.sender.on_lost(self.packets[at].0);
                // Every other one was only late, and the Ack of some comes.
                if at % 2 == 0 {
                    self.packets.swap_remove(at);
                }
            }
            Act::Acknowledge(at) if !self.arrived.is_empty() => {
                let at = at.index(self.arrived.len());
                self.arrived.swap(0, at);
                self.arrived
                    .pop_front()
                    .into_iter()
                    .for_each(|piece| self.sender.on_acked(piece));
            }
            _ => {}
        }
    }

    /// Everything gets through from now on, in packets of so many bytes.
    fn finish(&mut self, most: u16) {
        while !self.sender.is_drained() {
            while self.send(most) {}
            while !self.packets.is_empty() {
                self.deliver(0);
            }
            while let Some(piece) = self.arrived.pop_front() {
                self.sender.on_acked(piece);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_byte_comes_once_and_in_order(acts in proptest::collection::vec(act(), 0..400), most in 1u16..4000) {
        let mut stream = Stream::new();
        for act in &acts {
            stream.act(act);
        }
        stream.finish(most.max(100));
        prop_assert_eq!(stream.popped, stream.pushed);
        prop_assert!(!stream.sender.is_ready());
    }
}
