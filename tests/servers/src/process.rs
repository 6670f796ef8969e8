//! A program that runs beside the tests, and what one does to it. It does not outlive the process that started it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::{env, mem, thread};

/// Names the program to run.
const PROGRAM: &str = "SLOTYARD_REDIS_SERVER";

/// A server's process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a server with these arguments, which works in `folder` and writes what it has to say to `log`.
    ///
    /// # Panics
    /// When there is no such program.
    pub(crate) fn start(arguments: &[String], folder: &Path, log: &Path) -> Self {
        let program = env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned());
        let output = File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = output.unwrap_or_else(|error| panic!("{} could not be made: {error}", log.display()));
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(errors);
        match Self::spawn(command) {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound && env::var_os(PROGRAM).is_none() => {
                panic!("redis-server was not found: apt-get install redis-server")
            }
            Err(error) => panic!("{program} could not be started: {error}; {PROGRAM} names the program"),
        }
    }

    /// Starts any program.
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        spawn(command).map(|child| Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is a child of ours")
    }

    /// Stops it where it is. It does nothing more when this returns.
    pub(crate) fn stop(&mut self) {
        self.signal(libc::SIGSTOP);
        self.wait_until_stopped().expect("the process is a child of ours");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&mut self, signal: libc::c_int) {
        if let Some(status) = self.ended() {
            panic!("the process has ended by itself: {status}");
        }
        self.send(signal);
    }

    /// Stops it, if it has not ended, and says whether it is stopped.
    pub(crate) fn try_stop(&mut self) -> bool {
        if self.ended().is_some() {
            return false;
        }
        self.send(libc::SIGSTOP);
        self.wait_until_stopped().expect("the process is a child of ours");
        self.has_stopped()
    }

    /// To a process that had not ended when we last looked.
    fn send(&mut self, signal: libc::c_int) {
        // SAFETY: The call touches no memory. The number is that of our child and of no other process: it was not waited
        // for with success, or we would not be here, and nobody else can as long as `self` is borrowed.
        let result = unsafe { libc::kill(self.number(), signal) };
        assert_eq!(result, 0, "a signal could not be sent: {}", io::Error::last_os_error());
    }

    /// A signal takes effect after it was sent, and other threads of the process may run until then.
    fn wait_until_stopped(&self) -> io::Result<()> {
        self.look(libc::WSTOPPED | libc::WEXITED).map(drop)
    }

    /// Whether it has stopped, by whatever signal, and not ended.
    pub(crate) fn has_stopped(&self) -> bool {
        let code = self.look(libc::WSTOPPED | libc::WEXITED | libc::WNOHANG).expect("the process is a child of ours");
        code == libc::CLD_STOPPED
    }

    /// What has become of it, as `si_code` says; 0, if there is no news.
    fn look(&self, which: libc::c_int) -> io::Result<libc::c_int> {
        let id = libc::id_t::from(self.child.id());
        // SAFETY: All zeros is a value of this type, which has numbers and pointers only.
        let mut info = unsafe { mem::zeroed::<libc::siginfo_t>() };
        // That of a process that has ended is left for `Child` to see.
        // SAFETY: `info` is valid for writes during the call.
        match unsafe { libc::waitid(libc::P_PID, id, &raw mut info, which | libc::WNOWAIT) } {
            0 => Ok(info.si_code),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn number(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.child.id()).expect("the number of a process is one")
    }
}

impl Drop for Process {
    /// By SIGKILL, so it has no time to save anything, and it need not go on before. Its sockets are closed afterwards.
    fn drop(&mut self) {
        // Neither can fail in a way that leaves something to do: it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program to start, and where to send what came of it.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts a program, so that it is killed when this process ends, however that happens: values in a `static` are never
/// dropped, and nothing is in a process that is killed.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    // The signal comes when the thread ends that started the program, not the process: so one that never ends has to.
    let starter = STARTER.get_or_init(|| {
        let (starter, orders) = mpsc::channel::<Order>();
        let start = move || {
            for (mut command, started) in orders {
                die_with_us(&mut command);
                // Whoever has ordered it waits for it.
                let _ = started.send(command.spawn());
            }
        };
        thread::Builder::new().name("servers".to_owned()).spawn(start).expect("a thread can be started");
        starter
    });
    let (started, child) = mpsc::channel();
    starter.send((command, started)).expect("the thread never ends");
    child.recv().expect("the thread answers")
}

#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    const SIGNAL: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
    let ask = || {
        // SAFETY: The call takes two numbers and touches no memory.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, SIGNAL) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: Between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// Elsewhere what is not dropped stays, for someone to end it.
#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}
