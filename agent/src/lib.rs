//! Finds, downloads, builds and installs the drivers a machine lacks.
