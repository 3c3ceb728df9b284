//! One Python process: started in a group of its own, spoken to in lines under a time limit, and killed as a group.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Where the lines go that a plug-in prints.
pub(crate) type Log = Arc<Mutex<dyn FnMut(&str) + Send>>;

const RUNNER: &str = include_str!("runner.py");

/// A reply is some tens of bytes an episode; this is where one that never ends is cut off.
const LONGEST_REPLY: u64 = 64 << 20;

/// Longer printed lines are cut into several.
const LONGEST_LINE: u64 = 8 << 10;

/// Printed lines that are kept to say what a process did last. A dumped traceback has at most a hundred.
const KEPT_LINES: usize = 128;

/// How long a process whose pipe has closed may take to end by itself.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// How long a process that hangs may take to print where it is.
const TIME_TO_PRINT: Duration = Duration::from_millis(200);

/// How long the last printed lines may take to arrive. Children that have left the group can hold the pipe open.
const TIME_TO_FALL_SILENT: Duration = Duration::from_millis(250);

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    TimedOut,
    /// The process has ended, or closed its pipe.
    Ended,
}

/// What is known of a process that was killed or ended by itself.
pub(crate) struct Ending {
    pub(crate) status: Option<ExitStatus>,
    /// The last lines it printed.
    pub(crate) lines: Vec<String>,
}

/// A running interpreter with the runner script. Dropping it kills its process group.
///
/// On Linux the process dies with the thread that spawned it, so that thread must live as long.
pub(crate) struct Process {
    child: Child,
    requests: Sender<Vec<u8>>,
    replies: Receiver<Option<Vec<u8>>>,
    printed: Receiver<Vec<String>>,
    waited_for: bool,
}

impl Process {
    /// Starts `python` on the runner; `label` opens each line that is handed to `log`.
    pub(crate) fn spawn(python: &Path, label: String, log: Log) -> io::Result<Self> {
        let mut command = Command::new(python);
        command
            .args(["-u", "-c", RUNNER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (requests, to_write) = channel();
        let (read, replies) = channel();
        let (last_lines, printed) = channel();
        // Both threads end when the process group is dead: their pipes then break or end.
        if let (Some(stdin), Some(stdout)) = (stdin, stdout) {
            thread::spawn(move || converse(stdin, stdout, &to_write, &read));
        }
        if let Some(stderr) = stderr {
            thread::spawn(move || last_lines.send(pass_on(stderr, &label, &log)));
        }
        Ok(Self {
            child,
            requests,
            replies,
            printed,
            waited_for: false,
        })
    }

    /// Sends one line and waits for the line that answers it, without its end.
    pub(crate) fn exchange(&self, request: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Silence> {
        self.requests.send(request).map_err(|_| Silence::Ended)?;
        match self.replies.recv_timeout(limit) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => Err(Silence::Ended),
            Err(RecvTimeoutError::Timeout) => Err(Silence::TimedOut),
        }
    }

    /// Whether the process has ended by itself. It is not waited for yet: its id must stay taken until [`Self::kill`].
    pub(crate) fn has_ended(&mut self) -> bool {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            !matches!(
                waitid(WaitId::Pid(Pid::from_child(&self.child)), options),
                Ok(None)
            )
        }
        #[cfg(not(unix))]
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process group and reports. After a time-out the process is asked first where it is.
    pub(crate) fn end(mut self, silence: Silence) -> Ending {
        match silence {
            Silence::TimedOut => self.ask_for_traceback(),
            Silence::Ended => self.wait_briefly(),
        }
        let status = self.kill();
        let lines = self.printed.recv_timeout(TIME_TO_FALL_SILENT);
        Ending {
            status,
            lines: lines.unwrap_or_default(),
        }
    }

    /// The runner's signal handler prints the stack, even when the interpreter itself is stuck.
    fn ask_for_traceback(&self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            if kill_process(Pid::from_child(&self.child), Signal::USR1).is_ok() {
                thread::sleep(TIME_TO_PRINT);
            }
        }
    }

    fn wait_briefly(&mut self) {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < TIME_TO_END {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the group and waits for its leader, once.
    fn kill(&mut self) -> Option<ExitStatus> {
        if self.waited_for {
            return None;
        }
        // The group's id is the leader's, which nobody else can get before the leader has been waited for.
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let _ = self.child.kill();
        self.waited_for = true;
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes each request and reads the line that answers it; sends `None` and stops when either fails.
fn converse(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    requests: &Receiver<Vec<u8>>,
    replies: &Sender<Option<Vec<u8>>>,
) {
    let mut stdout = BufReader::new(stdout);
    while let Ok(request) = requests.recv() {
        let reply = stdin
            .write_all(&request)
            .and_then(|()| stdin.write_all(b"\n"))
            .ok()
            .and_then(|()| read_line(&mut stdout, LONGEST_REPLY));
        let failed = reply.is_none();
        if replies.send(reply).is_err() || failed {
            return;
        }
    }
}

/// Hands every line on as it comes and returns the last ones at the end of the stream.
fn pass_on(stderr: impl Read, label: &str, log: &Log) -> Vec<String> {
    let mut stderr = BufReader::new(stderr);
    let mut kept = VecDeque::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut stderr)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut bytes)
        {
            Ok(0) | Err(_) => return kept.into(),
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let mut log = log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        log(&format!("{label}: {line}"));
        drop(log);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// A whole line without its end; `None` at the end of the stream and for a line that is too long.
fn read_line(stream: &mut impl BufRead, longest: u64) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(longest).read_until(b'\n', &mut line).ok()?;
    (line.pop() == Some(b'\n')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_or_none() {
        let mut stream = &b"one\n\ntwo"[..];
        assert_eq!(read_line(&mut stream, 100), Some(b"one".to_vec()));
        assert_eq!(read_line(&mut stream, 100), Some(Vec::new()));
        assert_eq!(read_line(&mut stream, 100), None);
        assert_eq!(read_line(&mut &b"four\n"[..], 4), None);
        assert_eq!(read_line(&mut &b"four\n"[..], 5), Some(b"four".to_vec()));
    }

    #[test]
    fn printed_lines_are_labelled_cut_and_kept_to_a_number() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let log: Log = Arc::new(Mutex::new(move |line: &str| {
            sink.lock().unwrap().push(line.to_owned());
        }));
        let mut text = vec![b'x'; 2 * LONGEST_LINE as usize];
        text.extend(b"\nbad \xff byte\n");
        text.extend(b"more\n".repeat(KEPT_LINES));
        let kept = pass_on(&text[..], "a.py:f", &log);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 4 + KEPT_LINES);
        assert_eq!(seen[0].len(), "a.py:f: ".len() + LONGEST_LINE as usize);
        assert_eq!(seen[3], "a.py:f: bad \u{fffd} byte");
        assert_eq!(kept, vec!["more"; KEPT_LINES]);
    }
}
