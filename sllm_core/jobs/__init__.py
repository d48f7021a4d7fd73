"""Jobs: a run folder each, done by a child process, watched by a thread."""
