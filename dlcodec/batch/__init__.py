"""Many files: which there are (plan), how they run (run), which are done already (resume)."""
