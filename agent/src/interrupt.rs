//! SIGINT, SIGTERM and SIGHUP. Running commands are stopped at once. The run then undoes its unfinished work, or the next run
//! finishes it. The exit code is that of the signal.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use dkms_engine::command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signals that ask a program to end, with their names.
const SIGNALS: [(u8, &str); 3] = [(1, "SIGHUP"), (2, "SIGINT"), (15, "SIGTERM")];

/// How long a run may take to end after a signal. It may be waiting for another dkms.
const GRACE: Duration = Duration::from_secs(10);
/// How long it waits for a program that must not be ended in the middle of its work, such as dpkg or the generator of an initramfs. The
/// units give it as much time (`TimeoutStopSec=`).
const LONG_GRACE: Duration = Duration::from_secs(900);

/// What a shell adds to the number of a signal that ended a program.
const SHELL_BASE: u8 = 128;

/// The exit code for a run that was ended by a signal, as a shell has it.
pub fn exit_code(signal: u8) -> u8 {
    SHELL_BASE.saturating_add(signal)
}

/// The name of a signal.
pub fn name(number: u8) -> &'static str {
    SIGNALS
        .iter()
        .find(|(signal, _)| *signal == number)
        .map_or("a signal", |(_, name)| name)
}

/// Receives signals.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// Installs the handlers: from now on a signal does not end the program. It stops the commands that run, and
    /// [`Interrupt::received`] returns. A second signal ends the program at once.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        static RECEIVER: OnceLock<watch::Receiver<Option<u8>>> = OnceLock::new();
        if let Some(receiver) = RECEIVER.get() {
            return Ok(Self(receiver.clone()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let streams = runtime.block_on(async { open_streams() })?;
        let (sender, receiver) = watch::channel(None);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(end_on_signal(streams, &sender)))?;
        Ok(Self(RECEIVER.get_or_init(|| receiver).clone()))
    }

    /// Waits for a signal, for ever if there is none.
    pub async fn received(&mut self) -> u8 {
        match self.0.wait_for(Option::is_some).await {
            Ok(signal) => signal.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Stops the commands that run and then ends the program, when a signal arrives. For work that has a journal to resume from.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn end_with_commands() -> io::Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new().name("end".to_owned()).spawn(move || {
        let signal = runtime.block_on(interrupt.received());
        std::process::exit(exit_code(signal).into());
    })?;
    Ok(())
}

fn open_streams() -> io::Result<Vec<(u8, Signal)>> {
    let stream = |&(number, _): &(u8, &str)| -> io::Result<(u8, Signal)> {
        Ok((number, signal(SignalKind::from_raw(number.into()))?))
    };
    SIGNALS.iter().map(stream).collect()
}

async fn end_on_signal(mut streams: Vec<(u8, Signal)>, sender: &watch::Sender<Option<u8>>) {
    let number = next(&mut streams).await;
    // Before the commands are stopped: a build that fails now must be known to have been interrupted.
    sender.send_replace(Some(number));
    command::stop_all();
    let begun = Instant::now();
    let again = loop {
        match tokio::time::timeout(GRACE, next(&mut streams)).await {
            Ok(again) => break again,
            Err(_) if command::has_uninterruptible() && begun.elapsed() < LONG_GRACE => {}
            Err(_) => break number,
        }
    };
    std::process::exit(exit_code(again).into());
}

/// Waits for the first of the signals.
async fn next(streams: &mut [(u8, Signal)]) -> u8 {
    std::future::poll_fn(|context| {
        let received = streams
            .iter_mut()
            .find_map(|(number, stream)| stream.poll_recv(context).is_ready().then_some(*number));
        received.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let check = |signal: u8, code: u8, text: &str| assert_eq!((exit_code(signal), name(signal)), (code, text));
        check(2, 130, "SIGINT");
        check(15, 143, "SIGTERM");
        check(1, 129, "SIGHUP");
    }
}
