//! The steps of a build: presets that know their tool, commands, and the processes they run.
