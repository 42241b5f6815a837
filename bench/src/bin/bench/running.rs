//! A client in the background.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use blk_bench::lab::{daemon, within};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// Longer than `timeout` waits until it kills what it runs (`--kill-after` in [`Near::command`](super::scene::Near::command)).
const PATIENCE: Duration = Duration::from_secs(8);

/// Ended when dropped, with what it runs.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it, without input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|end| end.is_none())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("cannot wait for a client")
    }

    /// Waits for its end, and gives its standard output where that is a pipe.
    ///
    /// # Panics
    /// When it fails.
    pub fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut output) = self.0.stdout.take() {
            let read = output.read_to_string(&mut text);
            read.expect("cannot read what a client says");
        }
        let status = self.wait();
        assert!(status.success(), "a client failed: {status}");
        text
    }

    /// Asks it to end by a signal, and waits for it.
    pub fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        if self.is_running() {
            let _ = kill_process(Pid::from_child(&self.0), signal);
        }
        daemon::wait(&mut self.0, PATIENCE)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The number of one that has ended may be somebody else's.
        if !self.is_running() {
            return;
        }
        // Not a kill at first, which would leave behind what `timeout` runs. All of its group; one that has none of its own
        // has nobody in this one.
        let group = Pid::from_child(&self.0);
        let _ = kill_process_group(group, Signal::TERM);
        if self.end(Signal::TERM).is_none() {
            daemon::end(&mut self.0, "a client");
        }
        // `timeout` that is told to end before it knows what it has just started leaves that behind.
        if !within(PATIENCE, || test_kill_process_group(group).is_err()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::attempt;
    use super::super::scene::tests::near;
    use super::*;

    /// Whether a process is there that is not a zombie.
    fn lives(process: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn nothing_is_left_of_a_work_that_fails_half_way() {
        let mut command = near().command("sh");
        command.args(["-c", "echo $$; exec sleep 60"]);
        let (sender, receiver) = std::sync::mpsc::channel();
        let outcome = attempt(|| {
            let mut client = Running::start(command.stdout(Stdio::piped()));
            let mut line = [0; 16];
            let count = client.0.stdout.as_mut().map(|out| out.read(&mut line));
            let count = count.and_then(Result::ok).unwrap_or_default();
            let inner = String::from_utf8_lossy(&line[..count]).trim().parse();
            let inner: u32 = inner.expect("the shell says its process id");
            assert!(client.is_running() && lives(inner));
            sender.send([client.0.id(), inner]).expect("a receiver");
            panic!("half way");
        });
        assert_eq!(outcome, Err::<(), _>("half way".to_owned()));
        for process in receiver.recv().expect("it was started") {
            assert!(!lives(process));
        }
    }

    #[test]
    fn what_it_says_is_told_when_it_succeeds() {
        let mut command = Command::new("echo");
        command.arg("word").stdout(Stdio::piped());
        assert_eq!(Running::start(&mut command).said(), "word\n");
        let mut command = Command::new("false");
        assert!(attempt(|| Running::start(&mut command).said()).is_err());
    }
}
