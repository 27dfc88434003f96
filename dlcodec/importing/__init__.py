"""The zoo's door: checkpoints of CompressAI become ours. The only home of ``torch.load``; one command imports it."""
