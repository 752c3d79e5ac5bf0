//! Ctrl-C, `kill` and a closed terminal. What runs is ended at once; what was begun is given up by the run itself, in order, or
//! finished by the next one; and the exit code says so.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use dkms_engine::command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signals that ask a program to end, with their names.
const SIGNALS: [(u8, &str); 3] = [(1, "SIGHUP"), (2, "SIGINT"), (15, "SIGTERM")];

/// How long a run may take to give up what it is at. What it waits for then is somebody else, such as another dkms.
const GRACE: Duration = Duration::from_secs(10);

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

/// The ear of a run for signals.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// Begins to listen: from now on a signal does not end the program but ends the commands it runs, and is told to whoever
    /// waits for it. A second signal ends the program at once.
    ///
    /// # Errors
    /// When the operating system does not let us.
    pub fn listen() -> io::Result<Self> {
        static EAR: OnceLock<watch::Receiver<Option<u8>>> = OnceLock::new();
        if let Some(ear) = EAR.get() {
            return Ok(Self(ear.clone()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ears = runtime.block_on(async { ears() })?;
        let (tell, ear) = watch::channel(None);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(obey(ears, &tell)))?;
        Ok(Self(EAR.get_or_init(|| ear).clone()))
    }

    /// Waits for a signal, for ever if there is none.
    pub async fn received(&mut self) -> u8 {
        match self.0.wait_for(Option::is_some).await {
            Ok(signal) => signal.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Ends the commands that run and then the program, when a signal asks for it. For work that has a journal to go on from.
///
/// # Errors
/// When the operating system does not let us listen.
pub fn end_with_commands() -> io::Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new().name("end".to_owned()).spawn(move || {
        let signal = runtime.block_on(interrupt.received());
        std::process::exit(exit_code(signal).into());
    })?;
    Ok(())
}

fn ears() -> io::Result<Vec<(u8, Signal)>> {
    let ear = |&(number, _): &(u8, &str)| -> io::Result<(u8, Signal)> {
        Ok((number, signal(SignalKind::from_raw(number.into()))?))
    };
    SIGNALS.iter().map(ear).collect()
}

async fn obey(mut ears: Vec<(u8, Signal)>, tell: &watch::Sender<Option<u8>>) {
    let number = next(&mut ears).await;
    // First the word, then the deed: a build that is seen to fail must be known to have been ended.
    tell.send_replace(Some(number));
    command::stop_all();
    let again = tokio::time::timeout(GRACE, next(&mut ears)).await.unwrap_or(number);
    std::process::exit(exit_code(again).into());
}

/// The first of the signals to come.
async fn next(ears: &mut [(u8, Signal)]) -> u8 {
    std::future::poll_fn(|context| {
        let heard = ears
            .iter_mut()
            .find_map(|(number, ear)| ear.poll_recv(context).is_ready().then_some(*number));
        heard.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_shells() {
        let check = |signal: u8, code: u8, text: &str| assert_eq!((exit_code(signal), name(signal)), (code, text));
        check(2, 130, "SIGINT");
        check(15, 143, "SIGTERM");
        check(1, 129, "SIGHUP");
    }
}
