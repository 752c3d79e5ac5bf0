//! What is played on both programs. The sources copy a ready module instead of compiling, but for the story `compiled`.

mod directives;
mod life;
mod places;
mod refusals;

use dkms_tests::dkms::{Hello, Machine, Scenario};

const HELLO: Hello = Hello::quick("hello", "1");

fn hello(machine: &Machine) {
    HELLO.put(machine);
}

/// Every story.
pub(super) fn all() -> impl Iterator<Item = &'static Scenario<'static>> {
    [life::STORIES, refusals::STORIES, directives::STORIES, places::STORIES]
        .into_iter()
        .flatten()
}
