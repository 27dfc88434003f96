"""Latent-diffusion fusion: transforms a decoded latent before synthesis, by as much as the receiver asks for."""
