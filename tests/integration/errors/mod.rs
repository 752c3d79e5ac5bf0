//! Every error that can stop the agent, provoked for real: its exit code, its words, its hint, and that nothing is half done.

mod damage;
mod network;
mod runs;
mod servers;
mod space;
mod tools;
mod usage;
