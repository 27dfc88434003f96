"""Coverage-guided fuzzing of everything that reads untrusted bytes. ``docs/fuzzing.md`` says how to run it."""
