//! The built binary, as its users run it: the whole job against real servers, and what it says to bad input.

mod project;
mod trees;
mod whole_job;
