"""dlcodec bench: how long every part of the codec takes, on what, and beside which others."""
