"""Training of the codecs: the only home of CompressAI's entropy models and losses."""
